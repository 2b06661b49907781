"""Sends nothing at all."""

from specimens.good import deliver, settings

from router import hookimpl

__all__ = ["deliver", "settings"]

FAILS = {
    "test_something_is_sent": "give events that the plugin sends",
    "*": "give events that the plugin sends",
}


@hookimpl
def track(event):
    return None
