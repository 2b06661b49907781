"""Takes for granted what not every event has."""

from specimens.good import deliver, identify, settings, track

from router import hookimpl

__all__ = ["deliver", "identify", "settings", "track"]

FAILS = {"test_type[page]": "return None for what the plugin does not take"}


@hookimpl
def page(event):
    return {"campaign": event["context"]["campaign"]["name"]}
