"""How the emulated clients keep events until they are taken."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import uuid4

from emulated.wire import Dialect, Wire

Event = dict[str, Any]
Call = Mapping[str, Any]


def milliseconds(at: datetime | None = None) -> str:
    """A time as JavaScript and most mobile clients write it."""
    at = at or datetime.now(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def stamped(call: Call) -> dict[str, str]:
    """What each client adds to a call, unless it was given."""
    return {
        "messageId": call.get("messageId", str(uuid4())),
        "timestamp": call.get("timestamp", milliseconds()),
    }


class Emulated:
    """A client. Subclasses say what an event and a request look like, and how the
    answer is read."""

    name: ClassVar[str]
    json: ClassVar[Dialect]

    def __init__(self, url: str, batch: int) -> None:
        self.wire = Wire(url)
        self.batch = batch
        self.queue: list[Event] = []
        self.errors: list[str] = []

    def call(self, call: Call) -> None:
        self.queue.append(self.event(call))
        if len(self.queue) >= self.batch:
            self.flush()

    def event(self, call: Call) -> Event:
        raise NotImplementedError

    def flush(self) -> None:
        """Sends what is there, as far as it can now."""
        raise NotImplementedError

    def is_done(self) -> bool:
        """Whether there is nothing left to send."""
        return not self.queue


class Filing(Emulated):
    """A client that closes a file for each batch, and deletes it when it is done with.

    Each flush tries all of them, and does not stop at one that failed: a later batch
    overtakes it.
    """

    def __init__(self, url: str, batch: int) -> None:
        super().__init__(url, batch)
        self.files: list[bytes] = []
        self.resting_until = 0.0

    def flush(self) -> None:
        if self.queue:
            self.files.append(self.file(self.queue))
            self.queue = []
        for file in list(self.files):
            if time.monotonic() < self.resting_until:
                return
            if self.is_finished(file):
                self.files.remove(file)

    def is_done(self) -> bool:
        return super().is_done() and not self.files

    def file(self, events: list[Event]) -> bytes:
        raise NotImplementedError

    def is_finished(self, file: bytes) -> bool:
        """Uploads a file; whether it can be deleted."""
        raise NotImplementedError
