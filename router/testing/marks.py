"""Which events a request holds, whatever the form in which a plugin writes them.

The payloads of a test differ in their users, so each has a text or a number that no
other has. Where one of these stands in a request, there the payload is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from router import codec
from router.destination import Delivery
from router.testing.scripted import Request
from router.testing.trial import fail

# What JSON, a form and an address write alike; shorter ones stand anywhere by chance.
PLAIN = re.compile(r"[A-Za-z0-9._-]{6,}")


class Marks:
    """What the payloads are known by, by position."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        payloads = [delivery.payload for delivery in deliveries]
        self._texts = [codec.dumps(payload).decode() for payload in payloads]
        self._marks = [self._marks_of(payload) for payload in payloads]
        if not all(self._marks):
            fail(
                "the payloads of different users' events", "different ones",
                f"the same id or none: {payloads[0]!s:.300}",
                "let a payload hold what the event is known by: userId or anonymousId, "
                "and best messageId, by which a partner sees what it had before",
            )  # fmt: skip

    def _marks_of(self, payload: Any) -> set[str]:
        """What stands in this payload only."""
        whole = list(leaves(payload))
        # Where no value is plain, as in a row of a table or in XML, words of it are.
        words = [word for value in whole for word in PLAIN.findall(value)]
        return self._alone(filter(PLAIN.fullmatch, whole)) or self._alone(words)

    def _alone(self, found: Iterable[str]) -> set[str]:
        return {one for one in found if sum(one in text for text in self._texts) == 1}

    def within(self, request: Request) -> list[int]:
        """The positions of the payloads that a request holds, in its order."""
        text = f"{request.line}\n{request.content.decode(errors='replace')}"
        places = {}
        for position, marks in enumerate(self._marks):
            found = [text.find(mark) for mark in marks if mark in text]
            if found:
                places[position] = min(found)
        return sorted(places, key=lambda position: places[position])


def leaves(value: Any) -> Iterator[str]:
    """The values in a payload, as text."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield str(value)
