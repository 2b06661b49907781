"""The objects of a call, as a request of its own would hold them. Pure: reads the
event, never changes it."""

from typing import Any

from router import hookimpl
from router.hookspecs import Event

from .attributes import attributes
from .identity import who
from .purchases import is_order, purchases
from .settings import Settings
from .values import known, members, when

# Of an event Braze knows these by themselves, and takes no property of that name.
RESERVED = {"time", "event_name"}

# For every kind of page one name, as Braze counts, and blocks, events by name.
PAGE_VIEWED, SCREEN_VIEWED = "Page Viewed", "Screen Viewed"

Payload = dict[str, list[dict[str, Any]]]


@hookimpl
def identify(event: Event, settings: Settings) -> Payload | None:
    person, found = who(event, settings), attributes(event)
    # Who is only named costs a request, and changes nothing.
    return {"attributes": [found | person]} if person and found else None


@hookimpl
def track(event: Event, settings: Settings) -> Payload | None:
    person = who(event, settings)
    if person is None:
        return None
    if is_order(event["event"]):
        of_app = person | _app(settings)
        return {"purchases": purchases(event, of_app, settings)}
    return _event(str(event["event"]).strip(), event, {}, settings)


@hookimpl
def page(event: Event, settings: Settings) -> Payload | None:
    return _viewed(PAGE_VIEWED, event, settings)


@hookimpl
def screen(event: Event, settings: Settings) -> Payload | None:
    return _viewed(SCREEN_VIEWED, event, settings)


def _viewed(name: str, event: Event, settings: Settings) -> Payload | None:
    if not settings.pages:
        return None
    named = {key: event[key] for key in ("name", "category") if event.get(key)}
    return _event(name, event, named, settings)


def _event(
    name: str, event: Event, more: dict[str, Any], settings: Settings
) -> Payload | None:
    person = who(event, settings)
    if person is None:
        return None
    properties = known({**more, **members(event, "properties")}, RESERVED)
    made = {**person, **_app(settings), "name": name, "time": when(event)}
    if properties:
        made["properties"] = properties
    return {"events": [made]}


def _app(settings: Settings) -> dict[str, str]:
    return {"app_id": settings.app_id} if settings.app_id else {}
