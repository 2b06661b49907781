"""Sends the newest first."""

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_order_is_kept": "neither sorted, nor grouped"}


@hookimpl
def deliver(payloads, settings, client):
    read(post(payloads[::-1], settings, client), payloads)
