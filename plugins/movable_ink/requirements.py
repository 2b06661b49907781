"""What the properties of an event must hold before it can be sent."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router import hookimpl
from router.requirements import (
    Requirement,
    absolute_url,
    any_of,
    each,
    in_event,
    lookup,
    number,
    required,
)

from .ecommerce import ADDED, LIST_EVENTS, ORDER, REMOVED, SEARCH, VIEWED, spellings
from .settings import Settings
from .values import categories

Needs = dict[str, Sequence[Requirement]]


@hookimpl
def requirements(settings: Settings) -> Mapping[str, Sequence[Requirement]]:
    needs = _always(settings)
    if settings.payload == "normalized":
        needs |= _normalized()
    return {
        spelling: found for name, found in needs.items() for spelling in spellings(name)
    }


def _always(settings: Settings) -> Needs:
    return {
        VIEWED: [_product_id(), _page(settings)],
        ADDED: [_product_id(), absolute_url("url")],
        ORDER: [_total(settings), each("products", _product_id(), number("price"))],
    }


def _normalized() -> Needs:
    list_id = any_of("category_id", "list_id", _first_category(), "id", "category")
    return {
        REMOVED: [_product_id()],
        **{name: [list_id] for name in LIST_EVENTS},
        SEARCH: [required("query")],
    }


def _product_id() -> Requirement:
    return any_of("product_id", "sku")


def _page(settings: Settings) -> Requirement:
    url = absolute_url("url")
    if settings.page_url_fallback:
        return any_of(url, in_event(absolute_url("context.page.url")))
    return url


def _total(settings: Settings) -> Requirement:
    total = number("total")
    if settings.total_fallback:
        return any_of(total, *map(number, settings.total_fallback))
    return total


def _first_category() -> Requirement:
    """A category in `categories` that has an id, by which a list can be known."""
    name = "categories[0].id"

    def problems(value: Any, path: str, event: Any) -> Iterator[str]:
        if not categories(lookup(value, "categories")):
            yield f"{path}.{name}: required"

    return Requirement(name, name, problems)
