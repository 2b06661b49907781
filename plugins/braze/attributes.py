"""The attributes of an identify call: Braze's own fields, and custom attributes."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from router import timestamps
from router.hookspecs import Event

from .values import known, members

# Segment's name of a trait -> Braze's field.
FIELDS = {
    "firstName": "first_name",
    "lastName": "last_name",
    "birthday": "dob",
    "avatar": "image_url",
}
ADDRESS_FIELDS = {"city": "home_city", "country": "country"}

# What says whose attributes they are, and how they are taken: not for a trait to say.
IDENTITY = {
    "external_id",
    "user_alias",
    "braze_id",
    "_update_existing_only",
    "push_token_import",
}

GENDERS = {
    "M": ("m", "male", "man"),
    "F": ("f", "female", "woman"),
    "O": ("o", "other"),
    "N": ("n", "not applicable"),
    "P": ("p", "prefer not to say"),
}
_GENDER = {word: letter for letter, words in GENDERS.items() for word in words}

DATE = re.compile(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})")


def attributes(event: Event) -> dict[str, Any]:
    """What the traits say, in Braze's words; null stays, and removes an attribute."""
    traits = members(event, "traits")
    found = {
        name: value
        for name, value in traits.items()
        if name not in IDENTITY and name not in FIELDS and name != "address"
    }
    # Who writes Braze's name means it.
    found = _renamed(members(event, "traits.address"), ADDRESS_FIELDS) | found
    found = _renamed(traits, FIELDS) | found
    read = {name: _read(name, value) for name, value in found.items()}
    # What is null was null, or it cannot be read: then it is left out.
    return {n: v for n, v in read.items() if v is not None or found[n] is None}


def _renamed(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names[name]: value for name, value in given.items() if name in names}


def _read(name: str, value: Any) -> Any:
    """The value, in the form that Braze has for the field."""
    return READERS.get(name, known)(value)


def _gender(value: Any) -> str | None:
    return _GENDER.get(value.strip().casefold()) if isinstance(value, str) else None


def _date(value: Any) -> str | None:
    """The day, as it was written: a birthday has no time zone."""
    milliseconds = timestamps.parse(value)
    if milliseconds is None:
        return None
    match = DATE.match(value) if isinstance(value, str) else None
    if match is None:
        return timestamps.format_iso(milliseconds)[:10]
    year, month, day = match.groups()
    return f"{year}-{month:0>2}-{day:0>2}"


READERS: dict[str, Callable[[Any], Any]] = {"gender": _gender, "dob": _date}
