"""Which message ids a segment of the log has, so that an event is stored once.

Eight bytes stand for an id, as some clients' are long; the event itself tells whether
it is the one.
"""

import logging
import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from itertools import count

from router import codec
from router.errors import StorageUnavailable
from router.events import Accepted
from router.segments import Segments

logger = logging.getLogger("router.log")

SCHEMA = """
CREATE TABLE ids (
    hash INTEGER, position INTEGER, PRIMARY KEY (hash, position)
) WITHOUT ROWID;
INSERT INTO ids SELECT id_hash(message_id), position FROM events ORDER BY 1, 2;
"""

KNOWN_HASHES = (
    "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM ids WHERE hash = value)"
)
NEWEST_INSTANT = (
    "SELECT received_at FROM ids JOIN events USING (position) "
    "WHERE hash = ? AND source = ? AND message_id = ? ORDER BY position DESC LIMIT 1"
)


def id_hash(message_id: str) -> int:
    """The eight bytes that stand for a message id, as a signed number."""
    digest = blake2b(message_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def instants(
    connection: sqlite3.Connection, events: Sequence[Accepted]
) -> dict[tuple[str, str], int]:
    """When the newest event with the id of each was received, by source and id; only
    of those that are in this segment."""
    hashes = [id_hash(event.message_id) for event in events]
    # In the index's order. Most ids are new, so one query rules most of them out.
    values = (codec.dumps(sorted(hashes)),)
    known = {value for (value,) in connection.execute(KNOWN_HASHES, values)}
    found = {}
    for hash_, event in zip(hashes, events, strict=True):
        if hash_ in known:
            key = (event.source, event.message_id)
            row = connection.execute(NEWEST_INSTANT, (hash_, *key)).fetchone()
            if row:
                found[key] = row[0]
    return found


def remember(
    connection: sqlite3.Connection, events: Sequence[Accepted], first: int
) -> None:
    """Notes the ids of events, which are at the positions from first on."""
    hashes = [id_hash(event.message_id) for event in events]
    # In the table's order: so each of its pages is changed only once.
    ids = sorted(zip(hashes, count(first), strict=False))
    connection.executemany("INSERT INTO ids VALUES (?, ?)", ids)


class Dedupe:
    """Tells which events the log does not have yet. window: milliseconds for which a
    source's message id stands for one event."""

    def __init__(self, segments: Segments, window: int) -> None:
        self._segments, self._window = segments, window
        self._reported: set[str] = set()

    def new(
        self, connection: sqlite3.Connection, events: Sequence[Accepted]
    ) -> Sequence[Accepted]:
        """The events without the duplicates; connection: to the newest segment."""
        unique: dict[tuple[str, str], Accepted] = {}
        for event in events:
            unique.setdefault((event.source, event.message_id), event)
        known = self._known(connection, list(unique.values()))
        return [
            event
            for key, event in unique.items()
            # Of those with one id each came a window after the one before.
            if key not in known or known[key] <= event.received_at - self._window
        ]

    def _known(
        self, connection: sqlite3.Connection, events: Sequence[Accepted]
    ) -> dict[tuple[str, str], int]:
        """When the newest event with the id of each was received, as far as that can
        matter."""
        since = min((event.received_at for event in events), default=0) - self._window
        known = instants(connection, events)
        for segment in reversed(self._segments.all()[:-1]):
            try:
                if segment.newest_when_sealed > since:
                    with segment.reading() as older:
                        known = instants(older, events) | known
            except StorageUnavailable as error:
                # Rather an event twice than none.
                self._report(error)
        return known

    def _report(self, error: StorageUnavailable) -> None:
        if str(error) not in self._reported:
            self._reported.add(str(error))
            logger.error("what was sent before is not known from %s", error)
