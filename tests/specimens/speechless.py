"""Refuses an event without a word."""

from specimens.good import deliver, identify, settings, track

from router import Rejected, hookimpl

__all__ = ["deliver", "identify", "settings", "track"]

FAILS = {"test_type[group]": "give Rejected a sentence"}


@hookimpl
def group(event):
    raise Rejected("")
