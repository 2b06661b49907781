"""What a destination's rules take from an event before its plugin sees it.

    keep = ["properties.product_id", "traits.email"]   drop = ["context.ip"]
    hash = ["traits.email", "properties.products.barcode"]

A path is of members, with dots between; a list on the way stands for each of its items.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from router.codec import Numeral
from router.errors import RouterError

# What `keep` leaves nothing of but what it names; the rest tells what the event is.
TRIMMED = ("context", "properties", "traits")
NOTHING: Mapping[str, Any] = {name: {} for name in TRIMMED}

# The router and plugins go by these, and no event is one without them.
FIXED = ("type", "messageId", "event", "timestamp", "receivedAt")

# Members by name; None where a path ends.
Tree = Mapping[str, Any]
GONE = object()


class CannotTransform(RouterError):
    """A rule cannot do what it is for; so the event must not go out."""


@dataclass(frozen=True)
class Transforms:
    """The rules of a destination, ready to be applied."""

    keep: Tree
    drop: Tree
    hash: Tree

    @classmethod
    def of(
        cls, keep: Sequence[str], drop: Sequence[str], hash: Sequence[str]
    ) -> "Transforms":
        """The rules with these paths, which `check_path` has seen."""
        return cls(_tree(keep), _tree(drop), _tree(hash))

    def apply(
        self, event: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Sequence[str]]:
        """The event after the rules, and what they did, as `drop context.ip`.

        The event itself is not changed. Raises CannotTransform.
        """
        if not (self.keep or self.drop or self.hash):
            return event, []
        done: list[str] = []
        if self.keep:
            tree: Tree = {**dict.fromkeys(event), **NOTHING, **self.keep}
            event = _kept(event, tree, "", done)
        if self.drop:
            event = _changed(event, self.drop, "", partial(_drop, done))
        if self.hash:
            event = _changed(event, self.hash, "", partial(_hash, done))
        return event, list(dict.fromkeys(done))


def check_path(path: str) -> str:
    """The path, if a rule can have it; raises ValueError."""
    names = path.split(".")
    if not all(names) or set(path) & set("[]*"):
        raise ValueError('expected a path such as "context.ip", by names alone')
    if names[0] in FIXED:
        raise ValueError(f"{names[0]} is what the event is known by, and stays")
    return path


def check_kept(path: str) -> str:
    """The path, if `keep` can have it; raises ValueError."""
    if check_path(path).split(".")[0] not in TRIMMED:
        raise ValueError(f"expected a path in {', '.join(TRIMMED)}; the rest stays")
    return path


def _tree(paths: Sequence[str]) -> Tree:
    tree: dict[str, Any] = {}
    # The shorter first, as it takes in those that go on from it.
    for path in sorted(paths):
        *way, last = path.split(".")
        place: Any = tree
        for name in way:
            place = place.setdefault(name, {})
            if place is None:
                break
        else:
            place[last] = None
    return tree


def _kept(value: Any, tree: Tree | None, path: str, done: list[str]) -> Any:
    """What is left of a value; GONE where the tree goes on and the value does not."""
    if tree is None:
        return value
    if isinstance(value, list):
        items = (_kept(item, tree, path, done) for item in value)
        return [item for item in items if item is not GONE]
    if not isinstance(value, Mapping):
        done.append(f"keep: not {path}")
        return GONE
    left = {}
    for name, member in value.items():
        place = f"{path}.{name}" if path else name
        if name not in tree:
            done.append(f"keep: not {place}")
        elif (found := _kept(member, tree[name], place, done)) is not GONE:
            left[name] = found
    return left


def _changed(
    value: Any, tree: Tree | None, path: str, change: Callable[[str, Any], Any]
) -> Any:
    """The value with what the tree leads to changed, or GONE."""
    if tree is None:
        return change(path, value)
    if isinstance(value, list):
        return [_changed(item, tree, path, change) for item in value]
    if value is None:
        return None
    if not isinstance(value, Mapping):
        # What a rule below it was for may be in it.
        raise CannotTransform(f"{path}: is no object, and a rule is for what is in it")
    left = dict(value)
    for name in filter(value.__contains__, tree):
        place = f"{path}.{name}" if path else name
        left[name] = _changed(value[name], tree[name], place, change)
        if left[name] is GONE:
            del left[name]
    return left


def _drop(done: list[str], path: str, value: Any) -> Any:
    done.append(f"drop {path}")
    return GONE


def _hash(done: list[str], path: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_hash(done, path, item) for item in value]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Numeral):
        kind = "true or false" if isinstance(value, bool) else "an object"
        raise CannotTransform(f"hash {path}: is {kind}, no text or number")
    done.append(f"hash {path}")
    return hashlib.sha256(str(value).encode("utf-8", "surrogatepass")).hexdigest()
