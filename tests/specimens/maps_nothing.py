"""Has a bug for every event."""

from specimens.good import deliver, settings

from router import hookimpl

__all__ = ["deliver", "settings"]

FAILS = {"*": "KeyError: 'no_such_field' ("}


@hookimpl
def track(event):
    return {"id": event["no_such_field"]}
