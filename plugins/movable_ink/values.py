"""How a value of an event is read: what it means, or None where it means nothing."""

from collections.abc import Mapping
from typing import Any

import ujson

from router.requirements import is_absent, is_absolute_url, to_number, to_text


def quantity(value: Any) -> int | None:
    """A whole number from 1."""
    found = to_number(value)
    if found is None or found < 1 or found != int(found):
        return None
    return int(found)


def absolute_url(value: Any) -> str | None:
    """An absolute http(s) address."""
    return value.strip() if is_absolute_url(value) else None


def currency(value: Any) -> str | None:
    """A currency's code, in capitals."""
    found = to_text(value)
    return found.upper() if found else None


def searched(value: Any) -> str | None:
    """What was searched for: text, or anything else as compact JSON, keys sorted."""
    if is_absent(value) or isinstance(value, str):
        return to_text(value)
    return ujson.dumps(
        value, sort_keys=True, ensure_ascii=False, escape_forward_slashes=False
    )


def categories(value: Any) -> list[dict[str, str]] | None:
    """The categories of a list that have an id; names may stand for them."""
    if not isinstance(value, list):
        return None
    return [found for one in value if (found := _category(one))] or None


def present(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value: what is absent is left out, never null."""
    return {name: value for name, value in members.items() if value is not None}


def _category(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        value = {"id": value}
    ids = (to_text(value.get(name)) for name in ("id", "category_id", "name"))
    found = {
        "id": next(filter(None, ids), None),
        "title": to_text(value.get("title")),
        "url": to_text(value.get("url")),
    }
    return present(found) if found["id"] else None
