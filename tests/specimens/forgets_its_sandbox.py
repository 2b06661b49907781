"""Builds a sandbox, and does not return it."""

import falcon
from specimens.good import deliver, identify, settings, take, track

from router import hookimpl

__all__ = ["deliver", "identify", "settings", "track"]

FAILS = {"test_sandbox": "return the app"}


@hookimpl
def sandbox():
    app = falcon.App()
    app.add_sink(take)
