"""From a request's bytes to events in the log: authenticate, decode, validate, append.

It knows nothing of destinations, and nothing of falcon.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from router import envelope, events
from router.config import IngestSettings
from router.envelope import Envelope, Item
from router.episodes import Episode
from router.errors import InvalidEvent, Refused, StorageUnavailable
from router.events import Accepted, Arrival
from router.log import Log
from router.requirements import is_identifier
from router.sources import Sources

# What a client is told to wait when the disk does not take its events, in seconds.
STORAGE_RETRY_AFTER = 5

# More than this no SDK waits, in seconds.
LONGEST_RETRY_AFTER = 300

MISSING_WRITE_KEY = (
    "give a write key: as the user of Basic authentication, or as writeKey in the body"
)

logger = logging.getLogger("router.http")


@dataclass(frozen=True)
class Caller:
    """Who sends a request, as far as its headers and its query say.

    user: of Basic authentication, a write key. query_key: from the query, for beacons,
    which can set no header. address: the peer's. is_browser: whether the request came
    from a page.
    """

    user: str | None = None
    query_key: str | None = None
    address: str | None = None
    is_browser: bool = False


class Acceptance:
    """Accepts requests for all sources.

    appended: called with the partitions that grew. counted: called with a source's
    name (empty where the write key is none), a code and how many. limiter: called
    with a source's name and how many events it sends; the seconds that it must wait,
    or None. clock: epoch seconds.
    """

    def __init__(
        self,
        log: Log,
        sources: Sources,
        settings: IngestSettings,
        appended: Callable[[set[int]], None],
        counted: Callable[[str, str, int], None] = lambda source, code, number: None,
        limiter: Callable[[str, int], float | None] = lambda source, number: None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = events.new_id,
    ) -> None:
        self._log, self._sources, self._settings = log, sources, settings
        self._appended, self._counted, self._limiter = appended, counted, limiter
        self._clock, self._new_id = clock, new_id
        self.refusing = Episode(logger, "events are stored again")

    def accept(
        self, body: bytes, caller: Caller, kind: str | None = None
    ) -> dict[str, Any]:
        """Accepts one event of that type; without a type the good events of a batch.

        Returns the answer, which lists the bad ones; raises Refused.
        """
        source = self._sources.name(caller.user)
        try:
            content = envelope.read(body, is_batch=kind is None)
            source = self._admit(content, caller)
            if not source:
                return {"success": True}
            self._limit(source, len(content.items or ()))
            good, rejected = self._sorted(content, caller, source, kind)
            self._append(source, good)
        except Refused as error:
            error.source = error.source or source
            raise
        if not rejected:
            return {"success": True}
        return {"success": True, "accepted": len(good), "rejected": rejected}

    def _admit(self, content: Envelope, caller: Caller) -> str:
        """The name of the source that sends; raises Refused.

        "": its events are to be dropped, with unknown_key = "accept".
        """
        accepts = self._settings.unknown_key == "accept"
        in_body = content.members.get("writeKey")
        in_body = in_body if isinstance(in_body, str) else None
        given = [key for key in (caller.user, in_body, caller.query_key) if key]
        if not given:
            # Segment answers 400 where it answers 200 to an unknown key.
            status = 400 if accepts else 401
            raise Refused(status, "missing_write_key", MISSING_WRITE_KEY)
        try:
            source = self._sources.admit(given[0])
        except Refused as error:
            if not accepts:
                raise
            number = max(1, len(content.items or ()))
            self._counted(error.source, error.code, number)
            return ""
        if len(set(given)) > 1:
            self._counted(source, "key_mismatch", 1)
        return source

    def _limit(self, source: str, number: int) -> None:
        """Raises Refused where a source sends more than its rate limit."""
        wait = self._limiter(source, number)
        if wait is not None:
            seconds = min(math.ceil(wait), LONGEST_RETRY_AFTER)
            message = f"too many events; wait {seconds} s"
            raise Refused(429, "rate_limited", message, seconds)

    def _sorted(
        self, content: Envelope, caller: Caller, source: str, kind: str | None
    ) -> tuple[list[Accepted], list[dict[str, Any]]]:
        """The good events, and what is wrong with the others; raises Refused."""
        good: list[Accepted] = []
        rejected: list[dict[str, Any]] = []
        received_at, around = int(self._clock() * 1000), content.members
        arrival = Arrival(received_at, kind, around, caller.address, caller.is_browser)
        for index, item in enumerate(self._items(content, source)):
            try:
                good.append(self._event(item, source, arrival))
            except InvalidEvent as error:
                if kind is not None:
                    raise Refused(400, error.code, error.reason) from None
                self._counted(source, error.code, 1)
                why = {"code": error.code, "message": error.reason}
                known = {"index": index, "messageId": _message_id(item.value)}
                rejected.append(known | why)
        return good, rejected

    def _items(self, content: Envelope, source: str) -> Sequence[Item]:
        if content.items is None:
            raise Refused(400, "invalid_body", 'expected {"batch": [event, ...]}')
        number, most = len(content.items), self._settings.max_batch_events
        if number > most:
            message = f"{number} events, at most {most}: send several requests"
            raise Refused(400, "too_many_events", message)
        if not number:
            self._counted(source, "empty_batch", 1)
        return content.items

    def _event(self, item: Item, source: str, arrival: Arrival) -> Accepted:
        most = self._settings.max_event
        if item.is_too_deep:
            raise InvalidEvent("nesting_too_deep", envelope.TOO_DEEP)
        if item.size > most:
            code = "payload_too_large" if arrival.kind else "event_too_large"
            message = f"{item.size} bytes, at most {most} in one event"
            raise InvalidEvent(code, message)
        return events.accept(item.value, source, arrival, self._new_id)

    def _append(self, source: str, good: Sequence[Accepted]) -> None:
        if not good:
            return
        try:
            appended = self._log.append(good)
        except StorageUnavailable as error:
            self.refusing.begin("clients get 503: %s", error)
            raise unavailable() from error
        self.refusing.end()
        self._appended(appended.grown)
        codes = Counter(note for event in good for note in event.notes)
        codes["duplicate"] = appended.duplicates
        codes["accepted"] = len(good) - appended.duplicates
        for code, number in codes.items():
            if number:
                self._counted(source, code, number)


def unavailable() -> Refused:
    """What a client is told while the disk does not do what it should."""
    message = "events cannot be stored now; send them again"
    return Refused(503, "unavailable", message, STORAGE_RETRY_AFTER)


def _message_id(raw: Any) -> Any:
    found = raw.get("messageId") if isinstance(raw, dict) else None
    return found if is_identifier(found) else None
