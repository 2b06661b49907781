"""JSON, in one place: ujson, UTF-8, no blanks."""

import re
from typing import Any

import ujson

# In JSON that is all ASCII: an escaped backslash, a pair of surrogates, or a lone one.
SURROGATES = re.compile(
    r"\\\\|(?P<pair>\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|\\u[dD][89a-fA-F].."
)


def loads(data: bytes | str) -> Any:
    """The value in data; raises ValueError with the position of what is wrong."""
    return ujson.loads(data)


def dumps(value: Any, *, indent: int = 0) -> bytes:
    """The value as JSON in UTF-8; the same value always gives the same bytes.

    Lone surrogates, which JavaScript clients make when they cut an emoji in two,
    become U+FFFD. Raises ValueError for NaN and infinities, TypeError for what JSON
    cannot hold.
    """
    try:
        return _encode(value, ensure_ascii=False, indent=indent).encode()
    except UnicodeEncodeError:
        whole = SURROGATES.sub(_repaired, _encode(value, ensure_ascii=True))
        return dumps(loads(whole), indent=indent)


def _encode(value: Any, **options: Any) -> str:
    options |= {"escape_forward_slashes": False, "allow_nan": False}
    try:
        return ujson.dumps(value, **options)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _repaired(match: re.Match[str]) -> str:
    if match["pair"]:
        return str(ujson.loads(f'"{match["pair"]}"'))
    return match[0] if match[0] == r"\\" else "\ufffd"
