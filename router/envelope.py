"""The body of a request, read one member at a time.

So an event is measured as its client wrote it, and one that is nested too deeply costs
only itself.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from router import codec
from router.errors import Refused

# How deep an event may be nested, its own object being 1: RudderStack's number.
MAX_NESTING = 200
TOO_DEEP = f"nested deeper than {MAX_NESTING} levels"

# What a single event carries for its envelope; not counted in its size.
ENVELOPE_MEMBERS = ("writeKey", "sentAt", "_metadata")

BLANKS = codec.BLANKS.pattern
COMMA = re.compile(f"{BLANKS},")

# A name with nothing in it to decode, and its colon.
PLAIN_NAME = re.compile(rf'{BLANKS}"([^"\\\x00-\x1f]*)"{BLANKS}:')

BRACKETS = re.compile(rf"{codec.STRING}|([\[{{])|[\]}}]", re.DOTALL)


class Item(NamedTuple):
    """A value in a body. size: in bytes, as it was received."""

    value: Any
    size: int
    is_too_deep: bool = False


@dataclass(frozen=True)
class Envelope:
    """A request's JSON object. items: the events in its member `batch`, or None where
    that is no list. A single event is its own envelope, and the only item."""

    members: dict[str, Any]
    items: list[Item] | None


def read(data: bytes, *, is_batch: bool) -> Envelope:
    """The envelope that data holds; raises Refused."""
    reader = _Reader(codec.decoded(data))
    try:
        return reader.envelope(is_batch=is_batch)
    except json.JSONDecodeError as error:
        what = f"the body is no JSON: {error}; no event of the request was taken"
        raise Refused(400, "invalid_json", what) from None


class _Reader:
    """Reads on from `at`. Its methods raise JSONDecodeError."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.is_ascii = text.isascii()

    def envelope(self, *, is_batch: bool) -> Envelope:
        members: dict[str, Any] = {}
        items: list[Item] | None = None
        aside = 0
        if not self._stands_at("{"):
            self._item(MAX_NESTING)
            self._end()
            raise Refused(400, "invalid_body", "the body must be a JSON object")
        start = self.at
        for _ in self._elements("{", "}"):
            begin = self.at
            name = self._name()
            if is_batch and name == "batch":
                # As everywhere, the last of two members of one name counts.
                items = None
                if self._stands_at("["):
                    items = [self._item(MAX_NESTING) for _ in self._elements("[", "]")]
                    continue
            item = self._item(MAX_NESTING - 1)
            if item.is_too_deep:
                raise Refused(400, "nesting_too_deep", f"the body is {TOO_DEEP}")
            members[name] = item.value
            if name in ENVELOPE_MEMBERS:
                aside += self._size(begin, self.at)
        if not is_batch:
            items = [Item(members, self._size(start, self.at) - aside)]
        self._end()
        return Envelope(members, items)

    def _elements(self, opening: str, closing: str) -> Iterator[None]:
        """Stands before each element between the brackets in turn."""
        self._take(opening)
        if self._stands_at(closing):
            self.at += 1
            return
        while True:
            yield
            comma = COMMA.match(self.text, self.at)
            if not comma:
                break
            self.at = comma.end()
        self._take(closing, f"expected , or {closing}")

    def _name(self) -> str:
        if plain := PLAIN_NAME.match(self.text, self.at):
            self.at = plain.end()
            return plain[1]
        if not self._stands_at('"'):
            raise self._error("expected a name in double quotes")
        name, self.at = codec.read_value(self.text, self.at)
        self._take(":")
        return str(name)

    def _item(self, deepest: int) -> Item:
        start = self._skip_blanks()
        try:
            value, self.at = codec.read_value(self.text, start)
            count = self.text.count
            # Most are too short to be so deep, or open too little.
            is_too_deep = (
                self.at - start > deepest
                and count("{", start, self.at) + count("[", start, self.at) > deepest
                and self._measure(start)[1] > deepest
            )
        except RecursionError:
            value, is_too_deep = None, True
            self.at, _ = self._measure(start)
        return Item(value, self._size(start, self.at), is_too_deep)

    def _measure(self, start: int) -> tuple[int, int]:
        """Where the list or object that begins at start ends, and how deep it is."""
        depth = deepest = 0
        for bracket in BRACKETS.finditer(self.text, start):
            if bracket[1]:
                depth += 1
                deepest = max(deepest, depth)
            elif bracket[0] in "]}":
                depth -= 1
                if depth == 0:
                    return bracket.end(), deepest
        raise json.JSONDecodeError("unclosed", self.text, start)

    def _size(self, start: int, end: int) -> int:
        return end - start if self.is_ascii else len(self.text[start:end].encode())

    def _skip_blanks(self) -> int:
        self.at = codec.after_blanks(self.text, self.at)
        return self.at

    def _stands_at(self, character: str) -> bool:
        return self.text.startswith(character, self._skip_blanks())

    def _take(self, character: str, expected: str = "") -> None:
        if not self._stands_at(character):
            raise self._error(expected or f"expected {character}")
        self.at += 1

    def _end(self) -> None:
        if self._skip_blanks() < len(self.text):
            raise self._error("extra data")

    def _error(self, what: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(what, self.text, self.at)
