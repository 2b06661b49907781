"""Completes payloads where they are."""

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_payloads_are_not_changed": "build what is sent anew"}


@hookimpl
def deliver(payloads, settings, client):
    payloads[0]["is_first"] = 1
    read(post(payloads, settings, client), payloads)
