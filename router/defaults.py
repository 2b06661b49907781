"""What a plugin need not say: the hooks that answer where it has none of its own."""

from typing import Any

from router.client import Session
from router.hookspecs import hookimpl
from router.settings import DestinationSettings


@hookimpl(trylast=True)
def settings() -> type[DestinationSettings]:
    return DestinationSettings


@hookimpl(trylast=True)
def requirements() -> dict[str, Any]:
    return {}


@hookimpl(trylast=True)
def connect(settings: DestinationSettings) -> Session:
    return Session(settings.timeout)
