"""Has a sandbox that takes something else than what is sent."""

import falcon
from specimens.good import deliver, identify, settings, track

from router import hookimpl

__all__ = ["deliver", "identify", "settings", "track"]

FAILS = {"test_sandbox": "sandbox and mapping must agree"}


@hookimpl
def sandbox():
    app = falcon.App()
    app.add_sink(refuse)
    return app


def refuse(req, resp):
    raise falcon.HTTPUnprocessableEntity
