"""The payload in one form, in snake_case, whatever the client called things.

What an event has beyond the known properties goes into `meta`; what is absent is
left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

from router.hookspecs import Event
from router.requirements import is_absent, lookup, to_number, to_text

from . import fallbacks
from .ecommerce import LIST_EVENTS, ORDER, PRODUCT_EVENTS, SEARCH, VIEWED, plain
from .identity import Person
from .moments import when
from .settings import Settings
from .values import absolute_url, categories, currency, present, quantity, searched

# The same order for every event, so that orders join product views.
PRODUCT_IDS = {
    "product_id": ("product_id", "sku", "id"),
    "sku": ("sku", "product_id", "id"),
}


def normalized(
    event: Event, name: str | None, person: Person, settings: Settings
) -> dict[str, Any]:
    """name: the track event's, as `mapping.recognise` gives it."""
    return present(
        {
            "type": "identify" if name is None else "track",
            "event": None if name is None else spelt(name, settings),
            "event_id": to_text(event.get("messageId")),
            "user_id": person.user_id,
            "anonymous_id": person.anonymous_id,
            "timestamp": when(event, settings),
            "timezone": _timezone(event),
            "traits": _traits(event) if name is None else None,
            "properties": None if name is None else _properties(event, name, settings),
        }
    )


def spelt(name: str, settings: Settings) -> str:
    """The name as it is sent."""
    if isinstance(settings.event_names, dict):
        return settings.event_names.get(plain(name), name)
    if settings.event_names == "snake":
        return "_".join(name.lower().split())
    return name


class Left:
    """Properties that have not been used yet."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._left = dict(properties)

    def take(self, read: Callable[[Any], Any], *names: str) -> Any:
        """The first of the named properties that can be read so; it is used up."""
        left = self._left
        for name in names:
            value = left.get(name)
            if value is not None and (found := read(value)) is not None:
                del left[name]
                return found
        return None

    def peek(self, read: Callable[[Any], Any], name: str) -> Any:
        """The property, left where it is."""
        return read(self._left.get(name))

    def meta(self) -> dict[str, Any] | None:
        """All that is left, with the members of `meta` and `metadata` beside it."""
        metadata = self.take(_object, "metadata") or {}
        meta = self.take(_object, "meta") or {}
        merged = {**metadata, **meta, **self._left}
        return {n: v for n, v in merged.items() if not is_absent(v)} or None


class View(Left):
    """A track event on its way into one of the shapes below.

    The shapes read in the order written, and a property is used once: `sku` is there
    beside `id` only where it is not the id.
    """

    def __init__(
        self, event: Event, name: str, settings: Settings, properties: Mapping[str, Any]
    ) -> None:
        super().__init__(properties)
        self._event, self._name, self._settings = event, name, settings

    def product(self) -> dict[str, Any]:
        return {
            "id": self.take(to_text, *PRODUCT_IDS[self._settings.product_id_source]),
            "sku": self.take(to_text, "sku"),
            "title": self.take(to_text, "name", "title"),
            "price": self.take(to_number, "price"),
            "currency": self.take(currency, "currency"),
            "url": self._url(),
            "image_url": self.take(to_text, "image_url"),
            "categories": self.take(categories, "categories") or self._category(),
            **(self._in_cart() if self._name != VIEWED else {}),
        }

    def listing(self) -> dict[str, Any]:
        first = (self.peek(categories, "categories") or [{}])[0]
        return {
            "id": self.take(to_text, "category_id", "list_id")
            or first.get("id")
            or self.take(to_text, "id")
            or self.peek(to_text, "category"),
            "title": self.take(to_text, "category", "name", "title")
            or first.get("title"),
            "url": self.take(to_text, "url")
            or first.get("url")
            or fallbacks.page_url(self._event, self._settings),
            "products": self.take(self._items, "products"),
        }

    def search(self) -> dict[str, Any]:
        return {"query": self.take(searched, "query"), "url": self.take(to_text, "url")}

    def order(self) -> dict[str, Any]:
        total = self.take(to_number, "total")
        if total is None:
            total = fallbacks.total(self._event.get("properties"), self._settings)
        revenue = self.take(to_number, "revenue")
        return {
            "order_id": self.take(to_text, "order_id"),
            "total": total,
            "revenue": total if revenue is None else revenue,
            "currency": self.take(currency, "currency"),
            "products": self.take(self._items, "products"),
        }

    def _items(self, products: Any) -> list[dict[str, Any]] | None:
        if not isinstance(products, list):
            return None
        return [self._item(one) for one in products if isinstance(one, dict)] or None

    def _item(self, product: Mapping[str, Any]) -> dict[str, Any]:
        left = Left(product)
        item = {
            "id": left.take(to_text, *PRODUCT_IDS[self._settings.product_id_source]),
            "sku": left.take(to_text, "sku"),
            "title": left.take(to_text, "name", "title"),
            "price": left.take(to_number, "price"),
            "quantity": left.take(quantity, "quantity"),
            "url": left.take(to_text, "url"),
        }
        item["meta"] = left.meta()
        return present(item)

    def _in_cart(self) -> dict[str, Any]:
        return {
            "quantity": self.take(quantity, "quantity"),
            "cart_id": self.take(to_text, "cart_id"),
        }

    def _category(self) -> list[dict[str, str]] | None:
        found = self.take(to_text, "category")
        return [{"id": found}] if found else None

    def _url(self) -> Any:
        found = self.take(absolute_url, "url")
        if not found and self._name == VIEWED:
            found = fallbacks.page_url(self._event, self._settings)
        return found or self.take(to_text, "url")


SHAPES: dict[str, Callable[[View], dict[str, Any]]] = {
    **dict.fromkeys(PRODUCT_EVENTS, View.product),
    **dict.fromkeys(LIST_EVENTS, View.listing),
    SEARCH: View.search,
    ORDER: View.order,
}


def _properties(event: Event, name: str, settings: Settings) -> dict[str, Any] | None:
    properties = _object(event.get("properties"))
    if name not in SHAPES:
        return properties
    view = View(event, name, settings, properties or {})
    shaped = SHAPES[name](view)
    shaped["meta"] = view.meta()
    return present(shaped)


def _timezone(event: Event) -> str | None:
    for holder in ("context", "properties"):
        found = lookup(event, (holder, "timezone"))
        if isinstance(found, str) and found.strip():
            return found
    return None


def _traits(event: Event) -> dict[str, Any] | None:
    return _object(event.get("traits")) or _object(lookup(event, "context.traits"))


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) and value else None
