"""The payload of an identify or track call. Pure: reads the event, never changes it."""

from typing import Any

from router import hookimpl
from router.hookspecs import Event

from .ecommerce import canonical, plain
from .entire_event import entire_event
from .identity import who
from .normalized import normalized
from .settings import ANY, Settings

PAYLOADS = {"entire_event": entire_event, "normalized": normalized}


@hookimpl
def identify(event: Event, settings: Settings) -> dict[str, Any]:
    return PAYLOADS[settings.payload](event, None, who(event, settings), settings)


@hookimpl
def track(event: Event, settings: Settings) -> dict[str, Any] | None:
    name = recognise(event.get("event"), settings)
    if name is None:
        return None
    return PAYLOADS[settings.payload](event, name, who(event, settings), settings)


def recognise(name: Any, settings: Settings) -> str | None:
    """The event's name as the specification or `custom_events` spells it, or None."""
    if not isinstance(name, str):
        return None
    return canonical(name) or _custom(name, settings)


def _custom(name: str, settings: Settings) -> str | None:
    if settings.custom_events == ANY:
        return name.strip() or None
    return settings.custom_names.get(plain(name))
