"""Asks the partner for more, event by event."""

import requests
from specimens.good import deliver, settings, track

from router import hookimpl

__all__ = ["deliver", "settings", "track"]

FAILS = {"test_mapping_does_no_io": "ask the partner in `deliver`"}


@hookimpl
def group(event, settings):
    known = requests.head(settings.url, timeout=5).ok
    return {"who": event.get("userId"), "known": known}
