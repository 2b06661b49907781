"""SQLite, as the log and the ledger use it: one writer at a time, behind a file lock.

SQLite's own way of waiting for the write lock is to poll, which under load makes the
slowest requests many times slower than a kernel lock does.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from router.errors import StorageUnavailable


class Held:
    """A thread's connection, closed once the thread has ended."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """A SQLite file: a connection for each thread, and one write at a time.

    Opens lazily, so that a process may fork before it is used. durable: whether a
    commit waits for the disk; without it a commit survives the death of a process,
    and a power cut may undo the last ones, newest first.

    steps: SQL that makes the schema, a string for each format there ever was; a file
    of an older one is brought forward when it is opened, as a whole or not at all.
    functions: what the steps use beside SQLite's own, of one argument each.
    """

    def __init__(
        self,
        path: Path,
        steps: Sequence[str],
        *,
        durable: bool,
        functions: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.path = path
        self._steps = steps
        self._functions = functions or {}
        self._synchronous = "FULL" if durable else "NORMAL"
        self._threads = threading.local()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection; raises StorageUnavailable for what fails in it."""
        try:
            yield self._connection()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StorageUnavailable(f"{self.path.name}: {error}") from error

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end, undone if anything is raised.

        Raises StorageUnavailable when it could not be committed.
        """
        with self.read() as connection, self._alone():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A commit that failed may have undone the transaction already.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self.read() as connection:
            return connection.execute(sql, values).fetchall()

    def execute(self, sql: str, *values: Any) -> int:
        """Runs one statement in a transaction of its own; how many rows it changed."""
        with self.write() as connection:
            return connection.execute(sql, values).rowcount

    def close(self) -> None:
        """Closes this thread's connection, so that no child inherits it; its next use
        opens another."""
        held = self._threads.__dict__.pop("held", None)
        if held is not None:
            held.connection.close()

    def bytes_on_disk(self) -> int:
        """The size of the database and of its write-ahead log."""
        paths = [self.path, self.path.with_name(self.path.name + "-wal")]
        return sum(os.path.getsize(path) for path in paths if os.path.exists(path))

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._threads, "held"):
            self._threads.held = Held(self._open())
        connection: sqlite3.Connection = self._threads.held.connection
        return connection

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
        try:
            with self._alone():
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA synchronous = {self._synchronous}")
                self._bring_forward(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_forward(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        known = len(self._steps)
        if version > known:
            raise sqlite3.DatabaseError(
                f"written by a newer router (format {version}, known: {known})"
            )
        if version < known:
            for name, function in self._functions.items():
                connection.create_function(name, 1, function, deterministic=True)
            steps = "".join(self._steps[version:])
            connection.executescript(
                f"BEGIN; {steps} PRAGMA user_version = {known}; COMMIT;"
            )
            _sync_directory(self.path.parent)

    def _alone(self) -> AbstractContextManager[int]:
        return locked(self.path.with_suffix(".lock"))


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """The handle of a file, while nobody else has it, in this process or another: the
    lock is the open file's, and each opens it anew. Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
