"""Raises for an event that it has a payload for."""

from specimens.good import identify, post, read, settings, track

from router import Rejected, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_events_are_taken": "refuse in the mapping, with a reason"}


@hookimpl
def group(event):
    return {"id": event["messageId"], "members": event["traits"]}


@hookimpl
def deliver(payloads, settings, client):
    if any("members" in payload for payload in payloads):
        raise Rejected("knows no groups")
    read(post(payloads, settings, client), payloads)
