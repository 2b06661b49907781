"""Relies on the kind of a property that it does not require."""

from specimens.good import deliver, identify, settings

from router import hookimpl

__all__ = ["deliver", "identify", "settings"]

FAILS = {"test_odd_events": "declare in `requirements` what the mapping relies on"}


@hookimpl
def track(event):
    price = event["properties"].get("price", 0)
    return {"id": event["messageId"], "who": event["userId"], "cents": 100 * price + 0}
