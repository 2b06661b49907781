"""The hooks of a plugin. A hook takes only the arguments it needs; all may be left out
except `deliver`. docs/hooks.md describes them at length."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pluggy

from router.requirements import Requirement
from router.settings import DestinationSettings

PROJECT = "event_router"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Event = Mapping[str, Any]
WSGIApp = Callable[..., Any]


@hookspec(firstresult=True)
def settings() -> type[DestinationSettings]:  # type: ignore[empty-body]
    """The plugin's settings: a subclass of DestinationSettings."""


@hookspec(firstresult=True)
def requirements(  # type: ignore[empty-body]
    settings: DestinationSettings,
) -> Mapping[str, Sequence[Requirement]]:
    """What the properties of each named track event must hold; data, no code."""


@hookspec(firstresult=True)
def identify(event: Event, settings: DestinationSettings) -> Any:
    """The payload for a call of this type, or None: not for this destination. Pure."""


# There is such a hook for each type of call.
track = page = screen = group = alias = identify


@hookspec(firstresult=True)
def connect(settings: DestinationSettings) -> Any:
    """The client that `deliver` gets; by default a `router.client.Session`."""


@hookspec(firstresult=True)
def deliver(
    payloads: Sequence[Any], settings: DestinationSettings, client: Any
) -> None:
    """Hands payloads to the partner; returns when all were taken, else raises."""


@hookspec(firstresult=True)
def sandbox(settings: DestinationSettings) -> WSGIApp | None:
    """A small WSGI app that imitates the partner, for trying out and for tests."""
