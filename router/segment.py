"""One file of the log."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from router.errors import Damaged
from router.lazy import lazy
from router.store import FileLock, naming

# How a segment is opened; mode as in `store.connect`.
Connect = Callable[..., sqlite3.Connection]

STARTS = "SELECT partition, offset FROM starts"
NEWEST = "SELECT value FROM facts WHERE name = 'newest'"
HEAD = "SELECT max(offset) + 1 FROM events WHERE partition = ?"
START = "SELECT offset FROM starts WHERE partition = ?"
LAST_POSITION = "SELECT ifnull(max(position), 0) FROM events"
EVENT = "SELECT source, message_id, received_at FROM events WHERE position = ?"
IDS_AFTER = (
    "SELECT position, message_id, received_at FROM events WHERE position > ? "
    "ORDER BY position LIMIT ?"
)
FIRST = "SELECT received_at FROM events ORDER BY position LIMIT 1"


class Segment:
    """One file of the log; readers take turns at one connection.

    All methods raise StorageUnavailable, which names the file.
    """

    def __init__(self, path: Path, lock: FileLock, connect: Connect) -> None:
        self.path = path
        self.number = int(path.stem)
        self._names = (str(path), f"{path}-wal")
        self._lock, self._connect = lock, connect
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with naming(path):
            self._inode = path.stat().st_ino

    def check(self) -> None:
        """Raises StorageUnavailable if its file is another than at first."""
        with naming(self.path):
            if os.stat(self.path).st_ino != self._inode:
                raise OSError("is another file than at the start; restart")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries. It sees what was committed before."""
        with naming(self.path):
            while (connection := self._take_turn()) is None:
                self._open()
            try:
                yield connection
            except sqlite3.Error:
                self._let_go()
                raise
            finally:
                self._turn.release()

    def open(self) -> None:
        """Opens it, so that it can be read whatever becomes of the file."""
        with self.reading():
            pass

    def close(self) -> None:
        """Closes it, after whoever reads; its next use opens it again."""
        with self._turn:
            self._let_go()

    @lazy
    def starts(self) -> dict[int, int]:
        """The offset that its first event of a partition has or would have; 0 for a
        partition that is not there."""
        with self.reading() as connection:
            return dict(connection.execute(STARTS).fetchall())

    def heads(self, partitions: int) -> dict[int, int]:
        """For each partition the offset behind its last event."""
        with self.reading() as connection:
            return {n: head(connection, n) for n in range(partitions)}

    def newest(self) -> int:
        """An instant that none of its events was received after, within a second of
        the last; in milliseconds, 0 without events."""
        with self.reading() as connection:
            found = connection.execute(NEWEST).fetchone()
            return int(found[0]) if found else 0

    @lazy
    def newest_when_sealed(self) -> int:
        """The same, once: only for a segment that is not written to any more."""
        return self.newest()

    @lazy
    def size_when_sealed(self) -> int:
        return self.size()

    def last_position(self) -> int:
        """Where its last event is; 0 without events."""
        with self.reading() as connection:
            return last_position(connection)

    def event_at(self, position: int) -> tuple[str, str, int] | None:
        """Source, message id and instant of the event there, if there is one."""
        with self.reading() as connection:
            found: tuple[str, str, int] | None
            found = connection.execute(EVENT, (position,)).fetchone()
            return found

    def ids_after(self, position: int, limit: int) -> list[tuple[int, str, int]]:
        """Position, message id and instant of the events behind a position."""
        with self.reading() as connection:
            return connection.execute(IDS_AFTER, (position, limit)).fetchall()

    def damage(self) -> str:
        """Why not even its beginning can be read, or nothing."""
        try:
            with self.reading() as connection:
                connection.execute(STARTS).fetchall()
                connection.execute(FIRST).fetchone()
        except Damaged as error:
            return str(error)
        return ""

    def size(self) -> int:
        """Bytes on disk, with the write-ahead log."""
        size = 0
        for name in self._names:
            with suppress(FileNotFoundError):
                size += os.stat(name).st_size
        return size

    def _take_turn(self) -> sqlite3.Connection | None:
        self._turn.acquire()
        connection = self._connection
        if connection is None:
            self._turn.release()
        return connection

    def _open(self) -> None:
        with self._lock.held(), self._turn:
            if self._connection is None:
                self._connection = self._connect(self.path)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def head(connection: sqlite3.Connection, partition: int) -> int:
    """The offset that the next event of a partition gets, in that segment."""
    (offset,) = connection.execute(HEAD, (partition,)).fetchone()
    if offset is None:
        (offset,) = connection.execute(START, (partition,)).fetchone() or (0,)
    return int(offset)


def last_position(connection: sqlite3.Connection) -> int:
    """Where the last event of that segment is; 0 without events."""
    return int(connection.execute(LAST_POSITION).fetchone()[0])
