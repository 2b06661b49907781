"""The log: every accepted event, in order, in partitions by user key, on disk.

It has the semantics of a partitioned Kafka topic: append by key; read a partition
from an offset. Offsets count from 0 in each partition, without gaps.
"""

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

from router import codec
from router.errors import StorageUnavailable
from router.events import Accepted
from router.store import Database

SCHEMA = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY,  -- the order of acceptance over all partitions
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    source TEXT NOT NULL,
    message_id TEXT NOT NULL,
    received_at INTEGER NOT NULL,  -- milliseconds since the epoch
    body BLOB NOT NULL             -- the event as JSON
);
CREATE UNIQUE INDEX events_by_offset ON events (partition, offset);
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""

# Where the events with a message id are. Eight bytes stand for the id, as some clients'
# are long; the event itself tells whether it is the one.
IDS = """
CREATE TABLE ids (
    hash INTEGER, position INTEGER, PRIMARY KEY (hash, position)
) WITHOUT ROWID;
INSERT INTO ids SELECT id_hash(message_id), position FROM events ORDER BY 1, 2;
"""

COLUMNS = "partition, offset, source, message_id, received_at, body"
INSERT_EVENT = f"INSERT INTO events (position, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"

NEWEST_INSTANT = (
    "SELECT received_at FROM ids JOIN events USING (position) "
    "WHERE hash = ? AND source = ? AND message_id = ? ORDER BY position DESC LIMIT 1"
)


@dataclass(frozen=True)
class Record:
    """An event as it is in the log; received_at in milliseconds since the epoch."""

    partition: int
    offset: int
    source: str
    message_id: str
    received_at: int
    body: bytes

    @cached_property
    def event(self) -> dict[str, Any]:
        """The event, parsed; every lane has a copy of its own."""
        event: dict[str, Any] = codec.loads(self.body)
        return event


@dataclass(frozen=True)
class Appended:
    """What became of an append: the partitions that grew, and how many of the events
    were left out, as the log had them already."""

    grown: set[int]
    duplicates: int


class Log:
    """The log in `data_dir/log.db`. All methods raise StorageUnavailable.

    max_disk: bytes beyond which nothing more is appended. dedupe_window: seconds for
    which a source's message id stands for one event.
    """

    def __init__(
        self,
        data_dir: Path,
        partitions: int,
        max_disk: int,
        dedupe_window: float = 24 * 3600.0,
    ) -> None:
        self.partitions = partitions
        self._max_disk = max_disk
        self._window = int(dedupe_window * 1000)
        self.path = data_dir / "log.db"
        functions = {"id_hash": id_hash}
        self._db = Database(self.path, [SCHEMA, IDS], durable=True, functions=functions)
        self.close = self._db.close

    def partition_of(self, user_key: str) -> int:
        """The partition that holds a user's events."""
        return zlib.crc32(user_key.encode()) % self.partitions

    def append(self, events: Sequence[Accepted]) -> Appended:
        """Appends in one transaction; they are on disk when this returns.

        Leaves out duplicates: an event with a message id that the same source sent
        before, among these events or no longer than the window ago by `received_at`.
        """
        self._check_room()
        with self._db.write() as connection:
            new = self._new(connection, events)
            first = _next_position(connection)
            heads: dict[int, int] = {}
            rows = []
            for position, event in enumerate(new, first):
                partition = self.partition_of(event.user_key)
                if partition not in heads:
                    heads[partition] = _head(connection, partition)
                rows.append((position, partition, heads[partition], *event.columns()))
                heads[partition] += 1
            connection.executemany(INSERT_EVENT, rows)
            self._remember(connection, new, first)
        return Appended(set(heads), len(events) - len(new))

    def read(
        self, partition: int, offset: int, limit: int, max_bytes: int = 1 << 20
    ) -> list[Record]:
        """Records from an offset on, in order: at most `limit` of them, and no more
        once their bodies reach `max_bytes`."""
        records: list[Record] = []
        size = 0
        where = "WHERE partition = ? AND offset >= ? ORDER BY offset LIMIT ?"
        query = f"SELECT {COLUMNS} FROM events {where}"
        with self._db.read() as connection:
            for row in connection.execute(query, (partition, offset, limit)):
                records.append(Record(*row))
                size += len(row[-1])
                if size >= max_bytes:
                    break
        return records

    def heads(self) -> dict[int, int]:
        """For each partition the offset that its next event will get."""
        with self._db.read() as connection:
            return {n: _head(connection, n) for n in range(self.partitions)}

    def find(self, message_id: str) -> Record | None:
        """The newest record with that message id."""
        where = "WHERE hash = ? AND message_id = ? ORDER BY position DESC LIMIT 1"
        query = f"SELECT {COLUMNS} FROM ids JOIN events USING (position) {where}"
        rows = self._db.rows(query, id_hash(message_id), message_id)
        return Record(*rows[0]) if rows else None

    def check_writable(self) -> None:
        """Raises StorageUnavailable if an append would."""
        self._check_room()
        # SQLite leaves out a write that changes nothing.
        self._db.execute(
            "INSERT INTO facts VALUES ('checks', 1) "
            "ON CONFLICT DO UPDATE SET value = value + 1"
        )

    def bytes_on_disk(self) -> int:
        """How large the log is."""
        return self._db.bytes_on_disk()

    def settle_partitions(self) -> int:
        """Fixes the number of partitions at the first call, and returns it.

        A user's events stay in the partition that they began in, so the number of an
        existing log cannot change.
        """
        query = "SELECT value FROM facts WHERE name = 'partitions'"
        if not self._db.rows(query):
            self._db.execute(
                "INSERT OR IGNORE INTO facts VALUES ('partitions', ?)", self.partitions
            )
        return int(self._db.rows(query)[0][0])

    def _new(
        self, connection: sqlite3.Connection, events: Sequence[Accepted]
    ) -> Sequence[Accepted]:
        """The events without the duplicates among them."""
        first: dict[tuple[str, str], Accepted] = {}
        for event in events:
            first.setdefault((event.source, event.message_id), event)
        return [
            event
            for event in first.values()
            if not self._is_duplicate(connection, event)
        ]

    def _is_duplicate(self, connection: sqlite3.Connection, event: Accepted) -> bool:
        values = (id_hash(event.message_id), event.source, event.message_id)
        # Of those with one id each came a window after the one before.
        newest = connection.execute(NEWEST_INSTANT, values).fetchone()
        return newest is not None and newest[0] > event.received_at - self._window

    def _remember(
        self, connection: sqlite3.Connection, events: Sequence[Accepted], first: int
    ) -> None:
        """Notes the ids of events, which are at the positions from first on."""
        hashes = [id_hash(event.message_id) for event in events]
        # In the table's order: so each of its pages is changed only once.
        ids = sorted(zip(hashes, count(first), strict=False))
        connection.executemany("INSERT INTO ids VALUES (?, ?)", ids)

    def _check_room(self) -> None:
        if self._db.bytes_on_disk() >= self._max_disk:
            raise StorageUnavailable("the log has reached max_disk")


def _head(connection: sqlite3.Connection, partition: int) -> int:
    query = "SELECT max(offset) + 1 FROM events WHERE partition = ?"
    return connection.execute(query, (partition,)).fetchone()[0] or 0


def id_hash(message_id: str) -> int:
    """The eight bytes that stand for a message id, as a signed number."""
    digest = blake2b(message_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _next_position(connection: sqlite3.Connection) -> int:
    query = "SELECT ifnull(max(position), 0) + 1 FROM events"
    return int(connection.execute(query).fetchone()[0])
