"""The payload as Segment and RudderStack send it: the event, with its ids made text,
its user resolved and its time in one form. Nothing else is touched, but for what the
fallbacks of the settings fill in."""

from collections.abc import Mapping
from typing import Any

from router.hookspecs import Event
from router.requirements import to_number, to_text

from . import fallbacks
from .ecommerce import ORDER, VIEWED
from .identity import Person
from .moments import when
from .settings import Settings
from .values import absolute_url, present

PRODUCT_IDS = ("product_id", "sku")


def entire_event(
    event: Event, name: str | None, person: Person, settings: Settings
) -> dict[str, Any]:
    """A copy of the event along the paths that change; the rest is shared with it.

    name: the track event's, as `mapping.recognise` gives it.
    """
    payload = dict(event)
    _set_or_remove(payload, "userId", person.user_id)
    _set_or_remove(payload, "anonymousId", person.anonymous_id)
    _set_or_remove(payload, "timestamp", when(event, settings))
    properties = event.get("properties")
    if name is not None and isinstance(properties, Mapping):
        payload["properties"] = _with_text_ids(properties) | _filled(
            event, name, settings
        )
    return payload


def _filled(event: Event, name: str, settings: Settings) -> dict[str, Any]:
    # Movable Ink reads these where its mapping looks for them, in `properties`: so
    # a fallback is written there, or the event would pass here and be lost there.
    properties = event["properties"]
    if name == VIEWED and absolute_url(properties.get("url")) is None:
        return present({"url": fallbacks.page_url(event, settings)})
    if name == ORDER and to_number(properties.get("total")) is None:
        return present({"total": fallbacks.total(properties, settings)})
    return {}


def _with_text_ids(properties: Mapping[str, Any]) -> dict[str, Any]:
    copy = _product(properties)
    if isinstance(copy.get("products"), list):
        copy["products"] = [
            _product(one) if isinstance(one, Mapping) else one
            for one in copy["products"]
        ]
    return copy


def _product(product: Mapping[str, Any]) -> dict[str, Any]:
    copy = dict(product)
    for name in PRODUCT_IDS:
        if not isinstance(copy.get(name), str):
            _set_if_known(copy, name, to_text(copy.get(name)))
    return copy


def _set_if_known(target: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        target[name] = value


def _set_or_remove(target: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        target.pop(name, None)
    else:
        target[name] = value
