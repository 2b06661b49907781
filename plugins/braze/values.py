"""How a value of an event is read."""

from collections.abc import Mapping, Set
from typing import Any

from router import Rejected, timestamps
from router.hookspecs import Event
from router.requirements import lookup, to_number

# Deeper than anybody's data; without a limit somebody's nonsense would be a bug here.
DEEPEST = 100

# The most that Braze takes in a purchase, of which an order may be that many.
MOST_IN_PURCHASE = 100
MOST_QUANTITY = 75 * MOST_IN_PURCHASE


def members(event: Event, path: str) -> Mapping[str, Any]:
    """The object at a dotted path, or an empty one."""
    found = lookup(event, path)
    return found if isinstance(found, Mapping) else {}


def quantity(value: Any) -> int | None:
    """A whole number that an order can have of a product: 1 where it says nothing."""
    found = 1 if value is None else to_number(value)
    if found is None or not 1 <= found <= MOST_QUANTITY or found != int(found):
        return None
    return int(found)


def when(event: Event) -> str:
    """When it happened, in ISO 8601; raises Rejected where it does not say."""
    for name in ("timestamp", "receivedAt"):
        milliseconds = timestamps.parse(event.get(name))
        if milliseconds is not None:
            return timestamps.format_iso(milliseconds)
    raise Rejected("timestamp: required")


def known(value: Any, without: Set[str] = frozenset(), depth: int = 0) -> Any:
    """The value without its nulls, at every depth, and without those names on top.

    Braze drops all that is nested beside a null. Raises Rejected where it is deeper
    than DEEPEST.
    """
    if depth > DEEPEST:
        raise Rejected(f"nested more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        return {
            name: known(one, depth=depth + 1)
            for name, one in value.items()
            if one is not None and name not in without
        }
    if isinstance(value, list):
        return [known(one, depth=depth + 1) for one in value if one is not None]
    return value
