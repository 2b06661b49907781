"""What an event's properties must hold before a plugin can use it, as data.

    {"Order Completed": [number("total"), each("products", number("price"))]}

A requirement is checked against `properties`; every problem is reported, with its
path: `properties.products[2].price: required`. Names may be dotted paths.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.codec import Numeral
from router.errors import PluginError

ABSOLUTE_URL = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
NUMERAL = re.compile(r"\s*[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\s*", re.ASCII)
# Longer digits are read as a float: Python refuses to read them as an integer.
LONGEST_INTEGER = 300


@dataclass(frozen=True)
class Requirement:
    """One requirement, built by the functions below.

    words: what it is, for `router plugins NAME`. problems: a line for each thing that
    is wrong with an object, given the object, its path, and the whole event.
    """

    name: str
    words: str
    problems: Callable[[Any, str, Any], Iterable[str]]


def required(name: str) -> Requirement:
    """There, and neither null nor blank."""
    return _field(name, "", lambda value: not is_absent(value))


def identifier(name: str) -> Requirement:
    """An id: text that is not blank, or a whole number (0 is one)."""
    return _field(name, "an id: text or a whole number", is_identifier)


def number(name: str) -> Requirement:
    """A finite number, or text that is one without sign of currency or grouping."""
    return _field(name, "a number", lambda value: to_number(value) is not None)


def absolute_url(name: str) -> Requirement:
    """An absolute http or https address."""
    return _field(name, "an absolute http(s) URL", is_absolute_url)


def any_of(*alternatives: str | Requirement) -> Requirement:
    """At least one holds; a bare name stands for `identifier(name)`."""
    known = [_requirement(one) for one in alternatives]
    names = " or ".join(one.name for one in known)

    def problems(value: Any, path: str, event: Any) -> Iterable[str]:
        for one in known:
            if not any(one.problems(value, path, event)):
                return ()
        return [f"{path}: {names} required"]

    return Requirement(names, " or ".join(one.words for one in known), problems)


def each(name: str, *requirements: str | Requirement) -> Requirement:
    """A list that is not empty, of objects that each meet the requirements."""
    known = [_requirement(one) for one in requirements]

    def problems(value: Any, path: str, event: Any) -> Iterable[str]:
        items = lookup(value, name)
        if not isinstance(items, list) or not items:
            return [f"{path}.{name}: required non-empty list"]
        found: list[str] = []
        for index, item in enumerate(items):
            place = f"{path}.{name}[{index}]"
            if not isinstance(item, dict):
                found.append(f"{place}: must be an object")
                continue
            for one in known:
                found += one.problems(item, place, event)
        return found

    words = "; ".join(one.words for one in known)
    return Requirement(name, f"{name}, a non-empty list, each with: {words}", problems)


def in_event(inner: Requirement) -> Requirement:
    """The same requirement, with its path counted from the event's top."""

    def problems(value: Any, path: str, event: Any) -> Iterator[str]:
        found = inner.problems(event, "event", event)
        yield from (problem.removeprefix("event.") for problem in found)

    return Requirement(inner.name, f"the event's {inner.words}", problems)


def declared(returned: Any) -> dict[str, Sequence[Requirement]]:
    """What a plugin's hook `requirements` returned; raises PluginError, with the place
    of what is none."""
    if not isinstance(returned, Mapping):
        raise _unlike("its hook `requirements`", "a mapping of event names", returned)
    return {
        name: _listed(f'requirements["{name}"]', found)
        for name, found in returned.items()
    }


def check(requirements: Sequence[Requirement], event: Mapping[str, Any]) -> list[str]:
    """Every problem that the event's properties have, in the order declared."""
    properties = event.get("properties") or {}
    found: list[str] = []
    for one in requirements:
        found += one.problems(properties, "properties", event)
    return found


def is_absent(value: Any) -> bool:
    """Null and blank text count as not there."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_identifier(value: Any) -> bool:
    """Whether value can serve as an id; 0 can, true cannot."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def is_absolute_url(value: Any) -> bool:
    """Whether value is text that starts with http:// or https:// and a host."""
    return isinstance(value, str) and bool(ABSOLUTE_URL.fullmatch(value.strip()))


def to_number(value: Any) -> int | float | None:
    """The finite number that value is or spells, or None."""
    if isinstance(value, Numeral):
        value = str(value)
    if isinstance(value, str):
        match = NUMERAL.fullmatch(value)
        is_float = match and (match[1] or match[2] or len(value) > LONGEST_INTEGER)
        value = (float(value) if is_float else int(value)) if match else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def to_text(value: Any) -> str | None:
    """An id as text: what is not blank, trimmed, or a whole number in digits; None for
    anything else."""
    if isinstance(value, str):
        return value.strip() or None
    return str(int(value)) if is_identifier(value) else None


def lookup(value: Any, path: str | Sequence[str]) -> Any:
    """The member at a path, or None where the path ends early. path: names with dots
    between, or one after the other."""
    for name in path.split(".") if isinstance(path, str) else path:
        # What JSON calls an object; to ask for any Mapping would take far longer.
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _listed(place: str, found: Any) -> Sequence[Requirement]:
    if not isinstance(found, Iterable) or isinstance(found, str | Mapping):
        raise _unlike(place, "a list of requirements", found)
    known = tuple(found)
    for index, one in enumerate(known):
        if not isinstance(one, Requirement):
            what = 'a requirement, as required("total")'
            raise _unlike(f"{place}[{index}]", what, one)
    return known


def _unlike(place: str, expected: str, came: Any) -> PluginError:
    return PluginError(f"{place}: expected {expected}; came {type(came).__name__}")


def _requirement(one: str | Requirement) -> Requirement:
    return identifier(one) if isinstance(one, str) else one


def _field(name: str, kind: str, test: Callable[[Any], bool]) -> Requirement:
    first, *rest = name.split(".")

    def problems(value: Any, path: str, event: Any) -> Iterable[str]:
        found = value.get(first) if isinstance(value, dict) else None
        if rest:
            found = lookup(found, rest)
        if test(found):
            return ()
        what = "required" if is_absent(found) else f"must be {kind}"
        return [f"{path}.{name}: {what}"]

    return Requirement(name, f"{name} ({kind})" if kind else name, problems)
