"""Has a set in a payload, which JSON has no word for."""

from specimens.good import deliver, settings, track

from router import hookimpl

__all__ = ["deliver", "settings", "track"]

FAILS = {"test_payload_is_json": "sets as sorted lists"}


@hookimpl
def identify(event):
    return {"who": event.get("userId"), "traits": set(event["traits"])}
