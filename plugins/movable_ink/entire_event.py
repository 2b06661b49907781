"""The payload as Segment and RudderStack send it: the event, with its ids made text,
its user resolved and its time in one form. Nothing else is touched, but for what the
fallbacks of the settings fill in."""

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
    if name is not None and isinstance(properties, dict):
        payload["properties"] = _properties(event, name, settings)
    return payload


def _properties(event: Event, name: str, settings: Settings) -> dict[str, Any]:
    properties = _with_text_ids(event["properties"])
    changed = _filled(event, name, settings)
    if isinstance(properties.get("products"), list):
        changed["products"] = [
            _with_text_ids(one) if isinstance(one, dict) else one
            for one in properties["products"]
        ]
    return {**properties, **changed} if changed else properties


def _filled(event: Event, name: str, settings: Settings) -> dict[str, Any]:
    # Movable Ink reads these where its mapping looks for them, in `properties`: so
    # a fallback is written there, or the event would pass here and be lost there.
    properties = event["properties"]
    url, total = properties.get("url"), properties.get("total")
    if name == VIEWED and settings.page_url_fallback and absolute_url(url) is None:
        return present({"url": fallbacks.page_url(event, settings)})
    if name == ORDER and settings.total_fallback and to_number(total) is None:
        return present({"total": fallbacks.total(properties, settings)})
    return {}


def _with_text_ids(product: dict[str, Any]) -> dict[str, Any]:
    """The product itself, or a copy where an id of it is no text."""
    texts = {
        name: to_text(product[name])
        for name in PRODUCT_IDS
        if not isinstance(product.get(name, ""), str)
    }
    return {**product, **present(texts)} if texts else product


def _set_or_remove(target: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        target.pop(name, None)
    else:
        target[name] = value
