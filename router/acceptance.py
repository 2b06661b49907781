"""From a request's bytes to events in the log: authenticate, decode, validate, append.

It knows nothing of destinations, and nothing of falcon.
"""

import base64
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from router import codec, events
from router.config import IngestSettings, SourceSettings
from router.errors import InvalidEvent, Refused, StorageUnavailable
from router.events import Accepted
from router.log import Log
from router.requirements import is_identifier

# What a client is told to wait when the disk does not take its events, in seconds.
STORAGE_RETRY_AFTER = 5

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


class Acceptance:
    """Accepts requests for all sources.

    appended: called with the partitions that grew. clock: epoch seconds.
    """

    def __init__(
        self,
        log: Log,
        sources: Mapping[str, SourceSettings],
        limits: IngestSettings,
        appended: Callable[[set[int]], None],
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = events.new_id,
    ) -> None:
        self.limits = limits
        self._log, self._appended = log, appended
        self._clock, self._new_id = clock, new_id
        self._is_refusing = False
        self._sources = {
            _digest(source.write_key.get_secret_value()): (name, source)
            for name, source in sources.items()
        }

    def accept_one(self, kind: str, body: bytes, caller: Caller) -> dict[str, Any]:
        """Accepts one event of that type; returns the answer, raises Refused."""
        content = self._decoded(body)
        source = self._source(content, caller)
        try:
            event = self._event(content, source, self._now(), kind=kind)
        except InvalidEvent as error:
            raise Refused(400, error.code, error.reason) from None
        self._append([event])
        return {"success": True}

    def accept_batch(self, body: bytes, caller: Caller) -> dict[str, Any]:
        """Accepts the good events of a batch and lists the bad ones; raises Refused."""
        content = self._decoded(body)
        source = self._source(content, caller)
        batch = content.get("batch")
        if not isinstance(batch, list):
            raise Refused(400, "invalid_body", 'expected {"batch": [event, ...]}')
        most = self.limits.max_batch_events
        if len(batch) > most:
            counted = f"{len(batch)} events, at most {most}"
            message = f"{counted}: send them in several requests"
            raise Refused(400, "too_many_events", message)
        good: list[Accepted] = []
        rejected: list[dict[str, Any]] = []
        received_at = self._now()
        for index, raw in enumerate(batch):
            try:
                good.append(self._event(raw, source, received_at, envelope=content))
            except InvalidEvent as error:
                why = {"code": error.code, "message": error.reason}
                rejected.append({"index": index, "messageId": _message_id(raw), **why})
        self._append(good)
        if not rejected:
            return {"success": True}
        return {"success": True, "accepted": len(good), "rejected": rejected}

    def _event(self, raw: Any, source: str, received_at: int, **how: Any) -> Accepted:
        event = events.accept(raw, source, received_at, self._new_id, **how)
        most = self.limits.max_event
        if len(event.body) > most:
            # Counted as its client does: without what was added here.
            size = len(codec.dumps(raw))
            if size > most:
                raise InvalidEvent("event_too_large", f"{size} bytes, at most {most}")
        return event

    def _decoded(self, body: bytes) -> dict[str, Any]:
        most = self.limits.max_batch
        if len(body) > most:
            message = f"at most {most} bytes in one request"
            raise Refused(400, "payload_too_large", message)
        try:
            content = codec.loads(body)
        except ValueError as error:
            message = f"the body is no JSON: {error}"
            raise Refused(400, "invalid_json", message) from None
        if not isinstance(content, dict):
            raise Refused(400, "invalid_body", "the body must be a JSON object")
        return content

    def _source(self, content: Mapping[str, Any], caller: Caller) -> str:
        """The name of the source whose write key this is; raises Refused."""
        key = _basic_user(caller.authorization) or content.get("writeKey")
        if not isinstance(key, str) or not key:
            raise Refused(401, "missing_write_key", MISSING_WRITE_KEY)
        name, source = self._sources.get(_digest(key), ("", None))
        if source is None:
            raise Refused(401, "invalid_write_key", "no source has this write key")
        if not source.enabled:
            raise Refused(403, "source_disabled", f"source {name} is disabled")
        return name

    def _append(self, good: Sequence[Accepted]) -> None:
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

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _message_id(raw: Any) -> Any:
    found = raw.get("messageId") if isinstance(raw, dict) else None
    return found if is_identifier(found) else None


def _digest(key: str) -> bytes:
    """Keys are looked up by digest: how long that takes says nothing of the key."""
    return sha256(key.encode(errors="surrogatepass")).digest()


def _basic_user(authorization: str | None) -> str | None:
    """The user of Basic authentication; None for anything else."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8
        return None
    return user.partition(":")[0]
