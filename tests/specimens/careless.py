"""Relies on the kind of a property that it does not require."""

from specimens.good import deliver, identify, settings

from router import hookimpl

__all__ = ["deliver", "identify", "settings"]

FAILS = {"test_odd_events": "with {'properties.price': None}: expected a payload"}


@hookimpl
def track(event):
    price = event["properties"].get("price", 0)
    who = event.get("userId")
    return {"id": event["messageId"], "who": who, "cents": 100 * price + 0}
