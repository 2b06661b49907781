"""The files that the log is kept in: `log/00000001.db`, `log/00000002.db`, and so on.

Only the newest, which has the highest number, is written to. A new one is complete
before it gets its name, and the oldest goes first, so whatever process is killed when,
the numbers of those that are there follow each other.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from router.errors import Damaged, StorageUnavailable
from router.segment import FIRST, Connect, Segment
from router.store import FileLock, naming, sync, transaction

# Of the retention, and of max_disk: how much of what is kept goes at once.
SHARES_OF_TIME = 14
SHARES_OF_SPACE = 20

FACT = "SELECT name, value FROM facts WHERE name = 'partitions'"


class Segments:
    """All files of the log, oldest first, and the connection that writes to the last.

    partitions: how many there are. most: bytes at which a new one is begun. longest:
    milliseconds after which one is, from the first event on. All methods raise
    StorageUnavailable.
    """

    def __init__(
        self,
        data_dir: Path,
        partitions: int,
        connect: Connect,
        most: int,
        longest: float,
    ) -> None:
        self.directory = data_dir / "log"
        self._only = data_dir / "log.db"  # of the first versions
        self._lock = FileLock(data_dir / "log.lock")
        self._partitions, self._connect = partitions, connect
        self._most, self._longest = most, longest
        # What there was at the last look, the file of the first, and that of the next.
        self._seen: tuple[list[Segment], str, str] = ([], "", "")
        # These are used only by who holds the lock. The second: when the first event of
        # a segment was received.
        self._writer: tuple[int, sqlite3.Connection] | None = None
        self._first: tuple[Segment | None, int] = (None, 0)

    def exist(self) -> bool:
        """Whether there is a log; asking makes none."""
        return self._only.exists() or bool(self._numbers())

    def all(self) -> Sequence[Segment]:
        """What there is, opened as far as it can be; empty before the first append."""
        known, first, next_ = self._seen
        # More are added only at one end, and taken away only at the other.
        is_same = known and os.path.exists(first) and not os.path.exists(next_)
        return known if is_same else self._look()

    def numbered(self, number: int) -> Segment | None:
        """The segment of that number, if it is there."""
        segments = self.all()
        at = number - segments[0].number if segments else -1
        return segments[at] if 0 <= at < len(segments) else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds off everybody else who writes."""
        with naming(self.directory), self._lock.held():
            yield

    @contextmanager
    def writing(self, instant: int = 0) -> Iterator[sqlite3.Connection]:
        """A transaction in the newest segment, which is a new one when the last is
        full or, at an instant of milliseconds, too old.

        Whoever writes holds off everybody else; committed and on disk at the end, or
        undone if anything is raised.
        """
        with naming(self.directory), self._lock.held():
            if not self.all():
                self._make(1, {}, [])
            if self._is_done(self.all()[-1], instant):
                self.begin()
            newest = self._seen[0][-1]
            with self._writing_to(newest) as connection, transaction(connection):
                yield connection

    def begin(self, starts: Mapping[int, int] | None = None) -> None:
        """Begins a new segment where the newest ends, or farther on, if starts says."""
        with naming(self.directory), self._lock.held():
            if not self.all():
                self._make(1, {}, [])
            newest = self.all()[-1]
            with newest.reading() as connection:
                facts = connection.execute(FACT).fetchall()
            ends = newest.heads(self._partitions)
            for partition, start in (starts or {}).items():
                # There may be more by now than when the caller looked.
                ends[partition] = max(start, ends.get(partition, 0))
            self._make(newest.number + 1, ends, facts)

    def expired(self, before: int) -> dict[int, int]:
        """Where the oldest segment ends, as the next one says, if all in it was
        received before an instant of milliseconds; else nothing.

        Those that are damaged go together with the one before them. They are as old as
        the next that can be read.
        """
        segments = self.all()
        for place, following in enumerate(segments[1:]):
            with suppress(Damaged):
                ends = following.starts
                try:
                    newest = segments[place].newest_when_sealed
                except Damaged:
                    newest = following.newest()
                return ends if newest < before else {}
        return {}

    def drop(self, keep: int) -> None:
        """Removes the segments before number keep, but never the newest; and what was
        left by a process that died here."""
        with naming(self.directory):
            with self._lock.held():
                for segment in self.all()[:-1]:
                    if segment.number < keep:
                        # Removing a large file takes time; renaming does not.
                        segment.path.rename(segment.path.with_suffix(".old"))
                first = self._look()[0].number
            for path in self.directory.iterdir():
                if path.stem.isdigit() and int(path.stem) < first:
                    path.unlink(missing_ok=True)

    def bytes_on_disk(self) -> int:
        """The size of all."""
        segments = self.all()
        size = sum(one.size_when_sealed for one in segments[:-1])
        return size + sum(one.size() for one in segments[-1:])

    def close(self) -> None:
        """Closes what this process has open, so that no child inherits it; the next
        use opens others."""
        with suppress(OSError), self._lock.held():
            self._stop_writing()
            known, self._seen = self._seen[0], ([], self._seen[1], "")
            for segment in known:
                segment.close()

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:08}.db"

    def _numbers(self) -> list[int]:
        found = self.directory.glob("*.db")
        return sorted(int(path.stem) for path in found if path.stem.isdigit())

    def _look(self) -> list[Segment]:
        if not self.exist():
            if self._seen[1]:
                raise StorageUnavailable(f"the files of {self.directory} are gone")
            return []
        with naming(self.directory), self._lock.held():
            if not self._numbers():
                self._take_over()
            known = {one.number: one for one in self._seen[0]}
            found = [
                known.pop(n)
                if n in known
                else Segment(self._path(n), self._lock, self._connect)
                for n in self._numbers()
            ]
            if self._writer and self._writer[0] != found[-1].number:
                self._stop_writing()
            next_ = self._path(found[-1].number + 1)
            self._seen = (found, str(found[0].path), str(next_))
            for segment in found:
                with suppress(StorageUnavailable):  # who reads it will be told
                    segment.open()
        for gone in known.values():
            gone.close()  # or the space that it takes would not come back
        return found

    def _take_over(self) -> None:
        """Makes the one file of the first versions the first segment."""
        with naming(self._only):
            # Fails while another process, of such a version, has it open. What is in
            # the write-ahead log is in the file afterwards.
            connection = sqlite3.connect(self._only, timeout=0.0, isolation_level=None)
            with closing(connection):
                connection.execute("PRAGMA journal_mode = DELETE")
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._only.rename(self._path(1))
            sync(self.directory)
            sync(self.directory.parent)

    def _make(
        self, number: int, starts: Mapping[int, int], facts: Sequence[tuple[str, int]]
    ) -> None:
        """A segment with nothing in it; it gets its name when that is on disk."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for path in self.directory.glob("new*"):
            path.unlink()  # of a process that died here
        new = self.directory / "new"
        with (
            closing(self._connect(new, mode="rwc")) as connection,
            transaction(connection),
        ):
            insert = "INSERT INTO starts VALUES (?, ?)"
            connection.executemany(insert, starts.items())
            connection.executemany("INSERT INTO facts VALUES (?, ?)", facts)
        for name in ("wal", "shm"):
            # Of a segment that somebody removed by hand: SQLite would put it in here.
            Path(f"{self._path(number)}-{name}").unlink(missing_ok=True)
        new.rename(self._path(number))
        sync(self.directory)
        sync(self.directory.parent)
        self._look()

    def _is_done(self, newest: Segment, instant: int) -> bool:
        if self._first[0] is not newest:
            with self._writing_to(newest) as connection:
                first = connection.execute(FIRST).fetchone()
            if first is None:
                return False
            self._first = (newest, first[0])
        is_old = instant - self._first[1] >= self._longest
        return is_old or newest.size() >= self._most

    @contextmanager
    def _writing_to(self, newest: Segment) -> Iterator[sqlite3.Connection]:
        newest.check()
        with naming(newest.path):
            try:
                if self._writer is None or self._writer[0] != newest.number:
                    self._stop_writing()
                    self._writer = (newest.number, self._connect(newest.path))
                yield self._writer[1]
            except (sqlite3.Error, OSError):
                self._stop_writing()
                raise

    def _stop_writing(self) -> None:
        if self._writer is not None:
            self._writer[1].close()
            self._writer = None
