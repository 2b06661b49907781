"""Starts a thread for each call, and never joins it."""

import threading

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_nothing_is_left_running": "join those that it starts"}


@hookimpl
def deliver(payloads, settings, client):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    read(post(payloads, settings, client), payloads)
