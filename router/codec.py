"""JSON, in one place: read without loss, written in UTF-8 without blanks.

orjson writes, and reads what it wrote, in a fraction of the time that others take. It
has no numbers beyond 64 bits: so Python's own parser reads what comes in, as it can be
told what to make of a number, and ujson writes what orjson cannot.
"""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
import ujson

# In JSON text: an escaped backslash, an escaped pair of surrogates, or a lone one.
HEX = "[0-9a-fA-F]"
SURROGATES = re.compile(
    rf"\\\\|\\u[dD][89abAB]{HEX}{{2}}\\u[dD][c-fC-F]{HEX}{{2}}"
    rf"|(?P<lone>\\u[dD][89a-fA-F]{HEX}{{2}})"
)
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

# A string, or what other languages' writers put where JSON has no number.
STRING = r'"(?:[^"\\]|\\.)*+"'
NO_NUMBER = re.compile(rf"{STRING}|(-?Infinity|NaN)", re.DOTALL)

BLANKS = re.compile(r"[ \t\n\r]*")

# A float has 15 significant digits for certain, and so many characters hold no more.
SURELY_EXACT = 15

# What else orjson would write by itself is no JSON to the other two.
STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS

# Before JSON that orjson has written, and reads without loss. It is a blank, so the
# whole is JSON; nobody else writes it before an event.
MARK = b"\t"

# Python refuses to read integers beyond 4300 digits, whose cost is quadratic.
LONGEST_INTEGER = 4000

# Each step on the way to what cannot be written is a look at what is below.
DEEPEST_SHOWN = 20


class Numeral:
    """A number that neither an int nor a float can hold, kept as it was written.

    It is written as it was read. `router.requirements.to_number` takes it for the
    number next to it, if there is one.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __json__(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Numeral({self.text})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numeral) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class _NoNumber(ValueError):
    """NaN or an infinity."""


def loads(data: bytes | str) -> Any:
    """The value in data; raises ValueError with the position of what is wrong."""
    text = decoded(data)
    try:
        value, end = read_value(text, after_blanks(text, 0))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if (end := after_blanks(text, end)) < len(text):
        raise json.JSONDecodeError("extra data", text, end)
    return value


def decoded(data: bytes | str) -> str:
    """JSON as text in which only the JSON itself can be wrong.

    What is no UTF-8 becomes U+FFFD, so it costs no more than a character of a string;
    so do the lone surrogates that JavaScript makes when it cuts an emoji in two. A
    byte order mark is left out.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    # Most text has no backslash, which shows much sooner.
    if "\\" in text and ESCAPED_SURROGATE.search(text):
        text = SURROGATES.sub(_repaired, text)
    return text.removeprefix("\ufeff")


def read_value(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at start, and where it ends.

    Raises json.JSONDecodeError, RecursionError.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except _NoNumber as error:
        found = (m.start() for m in NO_NUMBER.finditer(text, start) if m[1])
        what = f"{error} is no JSON, send null instead"
        raise json.JSONDecodeError(what, text, next(found)) from None


def dumps(value: Any, *, indent: int = 0) -> bytes:
    """The value as JSON in UTF-8; the same value always gives the same bytes.

    Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold; both
    say where in the value that is.
    """
    if not indent:
        try:
            written = orjson.dumps(value, option=STRICT)
            # It writes null for NaN, too: then ujson decides. (`rfind` takes half the
            # time of `in`.)
            if written.rfind(b"null") < 0:
                return written
        except TypeError:
            pass  # ujson can, or says what is wrong
    try:
        return _ujson(value, indent=indent)
    except TypeError as error:
        raise TypeError(f"{_place_of_fault(value)}{error}") from None
    except (ValueError, OverflowError) as error:
        # What holds itself has no place, and each look for it would take long.
        place = "" if "recursion" in str(error) else _place_of_fault(value)
        said = "NaN and infinities are not JSON" if "double" in str(error) else error
        raise ValueError(f"{place}{said}") from None


def pack(value: Any) -> bytes:
    """The value as JSON, for `unpack`; value: what `loads` has read."""
    try:
        return MARK + orjson.dumps(value, option=STRICT)
    except TypeError:
        return dumps(value)


def unpack(data: bytes) -> Any:
    """The value in what `pack` has written, or anybody else; raises ValueError."""
    return orjson.loads(data) if data[:1] == MARK else loads(data)


def dump_each(values: Sequence[Any]) -> Sequence[bytes]:
    """The JSON of each value; bytes are JSON already, as `deliver` gets payloads with
    `payloads_as_json`. Raises ValueError, TypeError, as `dumps` does."""
    return [one if isinstance(one, bytes) else dumps(one) for one in values]


def after_blanks(text: str, start: int) -> int:
    """Where the next character is that is no blank."""
    if text[start : start + 1] > " ":  # greater than any blank
        return start
    blanks = BLANKS.match(text, start)
    return blanks.end() if blanks else start


def _repaired(match: re.Match[str]) -> str:
    # As long as what it replaces: an event is measured as its client wrote it.
    return r"\ufffd" if match["lone"] else match[0]


def _ujson(value: Any, **more: Any) -> bytes:
    return ujson.dumps(
        value,
        ensure_ascii=False,
        escape_forward_slashes=False,
        allow_nan=False,
        default=_plain,
        **more,
    ).encode()


def _place_of_fault(value: Any) -> str:
    """The way to what cannot be written, as `products[2].price: `."""
    way = ""
    for _ in range(DEEPEST_SHOWN):
        for step, member in _members(value):
            try:
                _ujson(member)
            except (TypeError, ValueError, OverflowError):
                way, value = way + step, member
                break
        else:
            break
    return f"{way.removeprefix('.')}: " if way else ""


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((f".{key}", member) for key, member in value.items())
    items = value if isinstance(value, list | tuple) else ()
    return ((f"[{n}]", member) for n, member in enumerate(items))


def _plain(value: Any) -> Any:
    """What orjson would write for it, beyond what both know."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is not JSON")


def _float(text: str) -> float | Numeral:
    number = float(text)
    if len(text) <= SURELY_EXACT and "e" not in text and "E" not in text:
        return number
    try:
        is_exact = Decimal(repr(number)) == Decimal(text)
    except ArithmeticError:  # an exponent of astronomical length
        is_exact = False
    return number if is_exact else Numeral(text)


def _integer(text: str) -> int | Numeral:
    if len(text) > LONGEST_INTEGER or text == "-0":
        return Numeral(text)
    return int(text)


def _no_number(name: str) -> Any:
    raise _NoNumber(name)


_DECODER = json.JSONDecoder(
    parse_float=_float, parse_int=_integer, parse_constant=_no_number
)
