"""The log: every accepted event, in order, in partitions by user key, on disk.

It has the semantics of a partitioned Kafka topic: append by key; read a partition
from an offset. Offsets count from 0 in each partition, without gaps.
"""

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from router import codec
from router.errors import Damaged, StorageUnavailable
from router.events import Accepted
from router.groups import GroupCommit, Take
from router.id_index import IdIndex, parts_of, place_of
from router.ids import Dedupe
from router.lazy import lazy
from router.segment import Segment, head, last_position
from router.segments import SHARES_OF_SPACE, SHARES_OF_TIME, Segments
from router.store import connect, copy

logger = logging.getLogger("router.log")

SCHEMA = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY,  -- over all partitions, by order of commits
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

# Where the segment begins; and an instant that none of its events was received after.
SEGMENT = """
CREATE TABLE starts (partition INTEGER PRIMARY KEY, offset INTEGER NOT NULL);
INSERT INTO facts
    SELECT 'newest', max(received_at) FROM events HAVING max(received_at) IS NOT NULL;
"""

# Before the fourth, each segment had a table of its message ids (id_index.py).
STEPS = (SCHEMA, "", SEGMENT, "")

COLUMNS = "partition, offset, source, message_id, received_at, body"
INSERT_EVENT = f"INSERT INTO events (position, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"

# SQLite leaves out a write that changes nothing; so this writes once a second.
NOTE_NEWEST = (
    "INSERT INTO facts VALUES ('newest', ?) ON CONFLICT DO UPDATE "
    "SET value = excluded.value WHERE value < excluded.value"
)


# Not frozen: so it is made in a quarter of the time.
@dataclass
class Record:
    """An event as it is in the log; received_at in milliseconds since the epoch."""

    partition: int
    offset: int
    source: str
    message_id: str
    received_at: int
    body: bytes

    @lazy
    def event(self) -> dict[str, Any]:
        """The event, parsed; every lane has a copy of its own."""
        event: dict[str, Any] = codec.unpack(self.body)
        return event


@dataclass(frozen=True)
class Appended:
    """What became of an append: the partitions that grew, and how many of the events
    were left out, as the log had them already. Of appends that went in one transaction
    the first has the partitions of all."""

    grown: set[int]
    duplicates: int


class Log:
    """The log in `data_dir/log/`. All methods raise StorageUnavailable.

    max_disk: bytes beyond which nothing more is appended. dedupe_window: seconds for
    which a source's message id stands for one event. retention: seconds for which
    events are kept. segment: bytes at which a new file is begun. beside: the bytes of
    what `max_disk` is for too.
    """

    def __init__(
        self,
        data_dir: Path,
        partitions: int,
        max_disk: int,
        dedupe_window: float = 24 * 3600.0,
        *,
        retention: float = 7 * 86400.0,
        segment: int | None = None,
        beside: Callable[[], int] = lambda: 0,
    ) -> None:
        self.partitions = partitions
        self._beside = beside
        self.max_disk = max_disk
        self._group = GroupCommit(self._append)
        self._segments = Segments(
            data_dir,
            partitions,
            partial(
                connect,
                steps=STEPS,
                synchronous="FULL",
                mode="rw",  # none is made by opening it
            ),
            segment or max_disk // SHARES_OF_SPACE,
            retention * 1000 / SHARES_OF_TIME,
        )
        self._index = IdIndex(self._segments, max_disk)
        self._dedupe = Dedupe(self._segments, self._index, int(dedupe_window * 1000))
        self.directory = self._segments.directory
        self.exists = self._segments.exist
        self.close = self._segments.close

    def partition_of(self, user_key: str) -> int:
        """The partition that holds a user's events."""
        return zlib.crc32(user_key.encode()) % self.partitions

    def append(self, events: Sequence[Accepted]) -> Appended:
        """Appends events, in one transaction with those of other threads; they are on
        disk when this returns.

        Leaves out duplicates: an event with a message id that the same source sent
        before, among these events or no longer than the window ago by `received_at`.
        """
        return self._group.write(events)

    def _append(self, take: Take[Sequence[Accepted]]) -> list[Appended]:
        self.check_room()
        newest = max((one.received_at for part in take() for one in part), default=0)
        with self._segments.writing(newest) as connection:
            # Others may have come while this waited for the lock.
            parts = take()
            last = last_position(connection)
            end = place_of(self._segments.all()[-1].number, last)
            with self._index.opened(end) as index:
                # Before the commit: an event without an entry might come in twice.
                events = list(chain.from_iterable(parts))
                # By partition: who reads one finds its events side by side.
                new = self._dedupe.new(index, events, end + 1, self.partition_of)
            heads: dict[int, int] = {}
            rows = []
            for position, event in enumerate(new, last + 1):
                partition = self.partition_of(event.user_key)
                if partition not in heads:
                    heads[partition] = head(connection, partition)
                rows.append((position, partition, heads[partition], *event.columns()))
                heads[partition] += 1
            connection.executemany(INSERT_EVENT, rows)
            if new:
                newest = max(event.received_at for event in new)
                connection.execute(NOTE_NEWEST, (-(-newest // 1000) * 1000,))
        grown = [set(heads), *(set[int]() for _ in parts[1:])]
        return list(map(Appended, grown, _left_out(parts, new)))

    def read(
        self, partition: int, offset: int, limit: int, max_bytes: int = 1 << 20
    ) -> list[Record]:
        """Records from an offset on, in order: at most `limit` of them, and no more
        once their bodies reach `max_bytes`."""
        records: list[Record] = []
        size = 0
        where = "WHERE partition = ? AND offset >= ? ORDER BY offset LIMIT ?"
        query = f"SELECT {COLUMNS} FROM events {where}"
        for segment in self._from(partition, offset):
            try:
                with segment.reading() as connection:
                    values = (partition, offset, limit - len(records))
                    for row in connection.execute(query, values):
                        records.append(Record(*row))
                        size += len(row[-1])
                        if size >= max_bytes:
                            return records
            except StorageUnavailable:
                if records:
                    break
                raise
            if len(records) == limit:
                break
        return records

    def starts(self) -> dict[int, int]:
        """For each partition the offset of the oldest event that is kept, and can be
        read."""
        starts: Mapping[int, int] = {}
        for segment in self._segments.all():
            with suppress(Damaged):
                starts = segment.starts
                break
        return {n: starts.get(n, 0) for n in range(self.partitions)}

    def starts_of(self, instant: int) -> dict[int, int]:
        """For each partition an offset before which all events were received before an
        instant of milliseconds: where a segment begins."""
        segments = self._segments.all()
        for segment in segments[:-1]:
            # One that is damaged is as old as the next that can be read.
            with suppress(Damaged):
                if segment.newest_when_sealed >= instant:
                    return segment.starts
        return segments[-1].starts if segments else {}

    def heads(self) -> dict[int, int]:
        """For each partition the offset that its next event will get."""
        segments = self._segments.all()
        if not segments:
            return dict.fromkeys(range(self.partitions), 0)
        return segments[-1].heads(self.partitions)

    def find(self, message_id: str) -> Record | None:
        """The newest record with that message id."""
        query = f"SELECT {COLUMNS} FROM events WHERE position = ? AND message_id = ?"
        for number, position in map(parts_of, self._index.places_of(message_id)):
            if segment := self._segments.numbered(number):
                with segment.reading() as connection:
                    values = (position, message_id)
                    if row := connection.execute(query, values).fetchone():
                        return Record(*row)
        return None

    def bytes_on_disk(self) -> int:
        """The size of all."""
        return self._segments.bytes_on_disk() + self._index.bytes_on_disk()

    def check_room(self) -> None:
        """Raises StorageUnavailable where `max_disk` is reached."""
        size, beside = self.bytes_on_disk(), self._beside()
        if size >= self.max_disk:
            raise StorageUnavailable("the log has reached max_disk")
        if size + beside >= self.max_disk:
            raise StorageUnavailable(
                f"log and dead letters ({beside} bytes of ledger.db) have reached "
                "max_disk; dead letters that are no use can be dropped"
            )

    def check_writable(self) -> None:
        """Raises StorageUnavailable if an append would."""
        self.check_room()
        with self._segments.writing() as connection:
            connection.execute(
                "INSERT INTO facts VALUES ('checks', 1) "
                "ON CONFLICT DO UPDATE SET value = value + 1"
            )

    def expired(self, before: int) -> dict[int, int]:
        """Where the oldest segment ends, if all its events were received before an
        instant of milliseconds; else nothing.

        For each partition the offset behind it. A segment that is still written to is
        ended for that.
        """
        segments = self._segments.all()
        if len(segments) == 1 and 0 < segments[0].newest() < before:
            self._segments.begin()
        ends = self._segments.expired(before)
        return ends and {n: ends.get(n, 0) for n in range(self.partitions)}

    def drop(self, ends: Mapping[int, int]) -> None:
        """Removes the segments that have nothing from these offsets on, and gives
        their space back."""
        keep = 0
        for segment in self._segments.all():
            with suppress(Damaged):
                if all(segment.starts.get(n, 0) <= end for n, end in ends.items()):
                    keep = segment.number
        self._segments.drop(keep)
        self._index.drop()

    def damage(self) -> list[str]:
        """What is wrong with files of which not even the beginning can be read."""
        return [one for s in self._segments.all() if (one := s.damage())]

    def go_on_from(self, offsets: Mapping[int, int]) -> bool:
        """Sees to it that no event gets an offset before these; whether that needed
        anything. It does where newest events were lost with their file."""
        heads = self.heads()
        ahead = {n: offset for n, offset in offsets.items() if offset > heads.get(n, 0)}
        if ahead:
            self._segments.begin(ahead)
        return bool(ahead)

    def copy(self, directory: Path) -> None:
        """Copies what is in it now to another data directory, file by file."""
        for segment in self._segments.all():
            with segment.reading() as connection:
                copy(connection, directory / "log" / segment.path.name)

    def settle_partitions(self) -> int:
        """Fixes the number of partitions at the first call, and returns it.

        A user's events stay in the partition that they began in, so the number of an
        existing log cannot change.
        """
        query = "SELECT value FROM facts WHERE name = 'partitions'"
        for segment in self._segments.all()[-1:]:
            with suppress(StorageUnavailable), self._index.whole():
                pass  # What is to be done for it is done before anybody waits.
            with segment.reading() as reading:
                if row := reading.execute(query).fetchone():
                    return int(row[0])
        with self._segments.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO facts VALUES ('partitions', ?)",
                (self.partitions,),
            )
            return int(connection.execute(query).fetchone()[0])

    def _from(self, partition: int, offset: int) -> Sequence[Segment]:
        """The segments that may have records from an offset on."""
        segments = self._segments.all()
        for place in range(len(segments) - 1, 0, -1):
            # One that is damaged is in the way only of who comes to it.
            with suppress(StorageUnavailable):
                if segments[place].starts.get(partition, 0) <= offset:
                    return segments[place:]
        return segments


def _left_out(
    parts: Sequence[Sequence[Accepted]], new: Sequence[Accepted]
) -> list[int]:
    """How many events of each part are not among the new ones."""
    left = {(event.source, event.message_id) for event in new}
    counts = []
    for part in parts:
        before = len(left)
        left -= {(event.source, event.message_id) for event in part}
        counts.append(len(part) - (before - len(left)))
    return counts
