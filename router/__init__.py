"""Event Router: customer events in over HTTP, a durable log, destinations out.

This is what a plugin imports, and what `gunicorn router` serves:

    from router import hookimpl, DestinationSettings
    from router import Retry, Rejected, Partial, TooLarge, Misconfigured

`application` is built when it is first asked for, so importing `router` reads no
file and starts nothing.
"""

from typing import Any

from router.errors import Misconfigured, Partial, Rejected, Retry, TooLarge
from router.hookspecs import hookimpl
from router.settings import DestinationSettings

__all__ = [
    "DestinationSettings",
    "Misconfigured",
    "Partial",
    "Rejected",
    "Retry",
    "TooLarge",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name != "application":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from router.app import application_from_environment

    application = globals()["application"] = application_from_environment()
    return application
