"""Puts the time of mapping into the payload."""

import time

from specimens.good import deliver, settings, track

from router import hookimpl

__all__ = ["deliver", "settings", "track"]

FAILS = {"test_payload_repeats": "take ids and times from the event"}


@hookimpl
def identify(event):
    return {"who": event.get("userId"), "sent": int(time.time())}
