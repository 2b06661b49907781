"""Has numbers as keys, which read back as text."""

from specimens.good import deliver, settings, track

from router import hookimpl

__all__ = ["deliver", "settings", "track"]

FAILS = {"test_payload_is_json": "numbers as keys with str(...)"}


@hookimpl
def identify(event):
    return {"who": event.get("userId"), "slots": dict(enumerate(event["traits"]))}
