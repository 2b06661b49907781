"""From a request's bytes to events in the log: authenticate, decode, validate, append.

It knows nothing of destinations, and nothing of falcon.
"""

import base64
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from router import envelope, events
from router.config import IngestSettings, SourceSettings
from router.envelope import Envelope, Item
from router.errors import InvalidEvent, Refused, StorageUnavailable
from router.events import Accepted, Arrival
from router.log import Log
from router.requirements import is_identifier

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

    write_key: from the query, for beacons, which can set no header. address: the
    peer's. is_browser: whether the request came from a page.
    """

    authorization: str | None = None
    write_key: str | None = None
    address: str | None = None
    is_browser: bool = False


@dataclass
class _Request:
    """A request on its way; source: whose it is, as soon as that is known."""

    caller: Caller
    basic_user: str | None
    source: str


class Acceptance:
    """Accepts requests for all sources.

    appended: called with the partitions that grew. counted: called with a source's
    name (empty where the write key is none), a code and how many. limiter: called
    with a source's name and how many events it sends; the seconds that it must wait,
    or None; it may raise OSError. clock: epoch seconds.
    """

    def __init__(
        self,
        log: Log,
        sources: Mapping[str, SourceSettings],
        settings: IngestSettings,
        appended: Callable[[set[int]], None],
        counted: Callable[[str, str, int], None] = lambda source, code, number: None,
        limiter: Callable[[str, int], float | None] = lambda source, number: None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = events.new_id,
    ) -> None:
        self._log, self._settings = log, settings
        self._appended, self._counted, self._limiter = appended, counted, limiter
        self._clock, self._new_id = clock, new_id
        self._is_refusing = self._is_unlimited = False
        self._sources = {
            _digest(source.write_key.get_secret_value()): (name, source)
            for name, source in sources.items()
        }

    def accept_one(self, kind: str, body: bytes, caller: Caller) -> dict[str, Any]:
        """Accepts one event of that type; returns the answer, raises Refused."""
        with self._attributed(caller) as request:
            content = envelope.read(body, batch=False)
            if not self._admit(request, content, 1):
                return {"success": True}
            most = self._settings.max_event
            if content.size > most:
                message = f"{content.size} bytes, at most {most} in one event"
                raise Refused(400, "payload_too_large", message)
            item = Item(content.members, content.size)
            arrival = self._arrival(caller, kind=kind)
            try:
                event = self._event(item, request.source, arrival)
            except InvalidEvent as error:
                raise Refused(400, error.code, error.reason) from None
            self._append(request.source, [event])
            return {"success": True}

    def accept_batch(self, body: bytes, caller: Caller) -> dict[str, Any]:
        """Accepts the good events of a batch and lists the bad ones; raises Refused."""
        with self._attributed(caller) as request:
            content = envelope.read(body, batch=True)
            number = len(content.batch or ())
            if not self._admit(request, content, number):
                return {"success": True}
            if content.batch is None:
                raise Refused(400, "invalid_body", 'expected {"batch": [event, ...]}')
            most = self._settings.max_batch_events
            if number > most:
                message = f"{number} events, at most {most}: send several requests"
                raise Refused(400, "too_many_events", message)
            if not number:
                self._counted(request.source, "empty_batch", 1)
            good, rejected = self._sorted(content, request.source, caller)
            self._append(request.source, good)
            if not rejected:
                return {"success": True}
            return {"success": True, "accepted": len(good), "rejected": rejected}

    def _sorted(
        self, content: Envelope, source: str, caller: Caller
    ) -> tuple[list[Accepted], list[dict[str, Any]]]:
        """The events of a batch that are good, and what is wrong with the others."""
        good: list[Accepted] = []
        rejected: list[dict[str, Any]] = []
        arrival = self._arrival(caller, envelope=content.members)
        for index, item in enumerate(content.batch or ()):
            try:
                good.append(self._event(item, source, arrival))
            except InvalidEvent as error:
                self._counted(source, error.code, 1)
                why = {"code": error.code, "message": error.reason}
                known = {"index": index, "messageId": _message_id(item.value)}
                rejected.append(known | why)
        return good, rejected

    def _arrival(self, caller: Caller, **how: Any) -> Arrival:
        received_at = int(self._clock() * 1000)
        how |= {"address": caller.address, "is_browser": caller.is_browser}
        return Arrival(received_at, **how)

    def _event(self, item: Item, source: str, arrival: Arrival) -> Accepted:
        most = self._settings.max_event
        if item.is_too_deep:
            raise InvalidEvent("nesting_too_deep", envelope.TOO_DEEP)
        if item.size > most:
            message = f"{item.size} bytes, at most {most}"
            raise InvalidEvent("event_too_large", message)
        return events.accept(item.value, source, arrival, self._new_id)

    @contextmanager
    def _attributed(self, caller: Caller) -> Iterator[_Request]:
        """A request whose refusal says what source it was of."""
        key = basic_user(caller.authorization)
        source, _ = self._sources.get(_digest(key or ""), ("", None))
        request = _Request(caller, key, source)
        try:
            yield request
        except Refused as error:
            error.source = request.source
            raise

    def _admit(self, request: _Request, content: Envelope, number: int) -> bool:
        """Finds the source whose write key this is; raises Refused.

        False: its events are to be dropped, with unknown_key = "accept".
        """
        accepts = self._settings.unknown_key == "accept"
        in_body = content.members.get("writeKey")
        in_body = in_body if isinstance(in_body, str) else None
        key = request.basic_user or in_body or request.caller.write_key
        if not key:
            # Segment answers 400 where it answers 200 to an unknown key.
            status = 400 if accepts else 401
            raise Refused(status, "missing_write_key", MISSING_WRITE_KEY)
        request.source, source = self._sources.get(_digest(key), ("", None))
        if source is not None and source.enabled:
            if in_body and in_body != key:
                self._counted(request.source, "key_mismatch", 1)
            wait = self._wait(request.source, number)
            if wait is not None:
                seconds = min(max(math.ceil(wait), 1), LONGEST_RETRY_AFTER)
                message = f"too many events; wait {seconds} s"
                raise Refused(429, "rate_limited", message, seconds)
            return True
        code = "source_disabled" if source else "invalid_write_key"
        if accepts:
            self._counted(request.source, code, max(number, 1))
            return False
        if source:
            message = f"source {request.source} is disabled"
            raise Refused(403, code, message)
        raise Refused(401, code, "no source has this write key")

    def _wait(self, source: str, number: int) -> float | None:
        try:
            seconds = self._limiter(source, number)
        except OSError as error:
            # The log will say so as well if it is the disk.
            if not self._is_unlimited:
                logger.error("the rate limit of %s is not in force: %s", source, error)
            self._is_unlimited = True
            return None
        self._is_unlimited = False
        return seconds

    def _append(self, source: str, good: Sequence[Accepted]) -> None:
        if not good:
            return
        try:
            appended = self._log.append(good)
        except StorageUnavailable as error:
            if not self._is_refusing:
                logger.error("clients get 503: %s", error)
            self._is_refusing = True
            message = "events cannot be stored now; send them again"
            raise Refused(503, "unavailable", message, STORAGE_RETRY_AFTER) from error
        if self._is_refusing:
            logger.warning("events are stored again")
        self._is_refusing = False
        self._appended(appended.grown)
        codes = Counter(note for event in good for note in event.notes)
        codes["duplicate"] = appended.duplicates
        codes["accepted"] = len(good) - appended.duplicates
        for code, number in codes.items():
            if number:
                self._counted(source, code, number)


def _message_id(raw: Any) -> Any:
    found = raw.get("messageId") if isinstance(raw, dict) else None
    return found if is_identifier(found) else None


def _digest(key: str) -> bytes:
    """Keys are looked up by digest: how long that takes says nothing of the key."""
    return sha256(key.encode(errors="surrogatepass")).digest()


def basic_user(authorization: str | None) -> str | None:
    """The user of Basic authentication; None for anything else."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8
        return None
    return user.partition(":")[0]
