"""Instants as integer milliseconds since 1970-01-01 UTC.

Segment clients write a timestamp in a dozen ways; this reads them all, so that
arithmetic with them is exact.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)

# A number this large is milliseconds, a smaller one seconds: 1e11 s is the year 5138.
MILLISECONDS_FROM = 1e11

ISO = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[Tt ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
    r"\s?([Zz]|[+-]\d{2}:?\d{2}|[+-]\d{2})?)?"
)

# As most SDKs write it, in two parts. Python reads the first itself, much faster, and
# to the same instant.
WHOLE_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d", re.ASCII)
FRACTION = re.compile(r"\.\d{3,9}(?:Z|\+00:00)", re.ASCII)
SECONDS_LENGTH = len("2024-03-04T15:32:56")
MILLISECONDS = {f".{n:03}Z": n for n in range(1000)}

# Events of one second come together, so few seconds are read and written, again and
# again.
SECONDS_KEPT = 1024


def parse(value: Any) -> int | None:
    """Milliseconds since the epoch, or None where value is no instant.

    Takes ISO 8601 with 0 to 9 fraction digits (cut to milliseconds), with any
    offset or none (then UTC), a date alone, and a number of seconds or
    milliseconds, also as a string.
    """
    if isinstance(value, str):
        found = _from_usual(value)
        return _from_text(value) if found is None else found
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_number(value)
    return None


def format_iso(milliseconds: int) -> str:
    """The instant as `2024-03-04T15:32:56.409Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(SECONDS_KEPT)
def _second(seconds: int) -> str:
    return (EPOCH + seconds * SECOND).isoformat().removesuffix("+00:00")


def _from_usual(text: str) -> int | None:
    rest = text[SECONDS_LENGTH:]
    milliseconds = MILLISECONDS.get(rest)
    if milliseconds is None:
        if not FRACTION.fullmatch(rest):
            return None
        milliseconds = int(rest[1:4])
    second = _read_second(text[:SECONDS_LENGTH])
    return None if second is None else second * 1000 + milliseconds


@lru_cache(SECONDS_KEPT)
def _read_second(text: str) -> int | None:
    if not WHOLE_SECONDS.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(f"{text}Z") - EPOCH) // SECOND
    except ValueError:  # no day of the calendar
        return None


def _from_text(text: str) -> int | None:
    text = text.strip()
    match = ISO.fullmatch(text)
    return _from_match(match) if match else _from_number(text)


def _from_number(value: str | float) -> int | None:
    try:
        number = float(value)
        is_milliseconds = abs(number) >= MILLISECONDS_FROM
        milliseconds = int(number if is_milliseconds else number * 1000)
        format_iso(milliseconds)
    except (ValueError, OverflowError):
        return None
    return milliseconds


def _from_match(match: re.Match[str]) -> int | None:
    *numbers, fraction, offset = match.groups()
    year, month, day, hour, minute, second = (int(text or 0) for text in numbers)
    try:
        instant = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        instant -= _offset(offset)
    except (ValueError, OverflowError):
        return None
    milliseconds = int((fraction or "0").ljust(3, "0")[:3])
    return (instant - EPOCH) // MILLISECOND + milliseconds


def _offset(text: str | None) -> timedelta:
    if text is None or text in "Zz":
        return timedelta()
    digits = text[1:].replace(":", "").ljust(4, "0")
    size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -size if text[0] == "-" else size
