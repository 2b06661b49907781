"""The log: every accepted event, in order, in partitions by user key, on disk.

It has the semantics of a partitioned Kafka topic: append by key; read a partition
from an offset. Offsets count from 0 in each partition, without gaps.
"""

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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

COLUMNS = "partition, offset, source, message_id, received_at, body"


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
    """What became of an append: the partitions that grew."""

    grown: set[int]


class Log:
    """The log in `data_dir/log.db`. All methods raise StorageUnavailable.

    max_disk: bytes beyond which nothing more is appended.
    """

    def __init__(self, data_dir: Path, partitions: int, max_disk: int) -> None:
        self.partitions = partitions
        self._max_disk = max_disk
        self.path = data_dir / "log.db"
        self._db = Database(self.path, [SCHEMA], durable=True)
        self.disconnect = self.close = self._db.disconnect

    def partition_of(self, user_key: str) -> int:
        """The partition that holds a user's events."""
        return zlib.crc32(user_key.encode()) % self.partitions

    def append(self, events: Sequence[Accepted]) -> Appended:
        """Appends in one transaction; they are on disk when this returns."""
        self._check_room()
        with self._db.write() as connection:
            heads: dict[int, int] = {}
            rows = []
            for event in events:
                partition = self.partition_of(event.user_key)
                if partition not in heads:
                    heads[partition] = _head(connection, partition)
                rows.append((partition, heads[partition], *event.columns()))
                heads[partition] += 1
            connection.executemany(
                f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
        return Appended(set(heads))

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
        """The newest record with that message id. Reads the whole log for it."""
        where = "WHERE message_id = ? ORDER BY position DESC LIMIT 1"
        rows = self._db.rows(f"SELECT {COLUMNS} FROM events {where}", message_id)
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

    def _check_room(self) -> None:
        if self._db.bytes_on_disk() >= self._max_disk:
            raise StorageUnavailable("the log has reached max_disk")


def _head(connection: sqlite3.Connection, partition: int) -> int:
    query = "SELECT max(offset) + 1 FROM events WHERE partition = ?"
    return connection.execute(query, (partition,)).fetchone()[0] or 0
