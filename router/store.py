"""SQLite, as the log and the ledger use it: one writer at a time, behind a file lock.

SQLite's own way of waiting for the write lock is to poll, which under load makes the
slowest requests many times slower than a kernel lock does.
"""

import fcntl
import mmap
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from router.errors import Damaged, StorageUnavailable

# Pages that are freed in one transaction, which others wait for; and how many may stay
# free for what comes next: 1 MiB.
FREED_AT_ONCE = SPARE_PAGES = 256

# Bytes of a Sign.
SIGN = 8

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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


class FileLock:
    """`locked`, for a thread that may have it already. Its directory is made at first,
    and must stay: who goes on in another in its place loses what he had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._place: tuple[int, int] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds off everybody else; raises OSError."""
        if getattr(self._mine, "is_held", False):
            yield
            return
        self._find_place()
        with locked(self._path):
            self._mine.is_held = True
            try:
                yield
            finally:
                self._mine.is_held = False

    def _find_place(self) -> None:
        directory = self._path.parent
        if self._place is None:
            make_directory(directory)
        found = directory.stat()
        self._place = self._place or (found.st_dev, found.st_ino)
        if self._place != (found.st_dev, found.st_ino):
            raise OSError(f"{directory} is another than at the start; restart")


class Held:
    """A thread's connection, closed once the thread has ended."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """A SQLite file: a connection for each thread, and one write at a time.

    Opens lazily, so that a process may fork before it is used. A commit does not wait
    for the disk: it survives the death of a process, and a power cut may undo the last
    ones, newest first. steps: see `connect`.
    """

    def __init__(self, path: Path, steps: Sequence[str]) -> None:
        self.path = path
        self._steps = steps
        self._lock = FileLock(path.with_suffix(".lock"))
        self._threads = threading.local()
        self.sign = Sign(path.with_suffix(".sign"))

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection; raises StorageUnavailable for what fails in it."""
        with naming(self.path):
            try:
                yield self._connection()
            except (sqlite3.Error, OSError):
                self.close()
                raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end, undone if anything is raised.

        Raises StorageUnavailable when it could not be committed.
        """
        with self.read() as connection, self._lock.held(), transaction(connection):
            yield connection

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

    def size(self) -> int:
        """Bytes of the file, without what is yet in its write-ahead log."""
        with naming(self.path), suppress(FileNotFoundError):
            return self.path.stat().st_size
        return 0

    def shrink(self) -> None:
        """Gives the space of what was deleted back, some at a time."""
        # Stepped by a script: a cursor would end after the first page.
        free_some = f"PRAGMA incremental_vacuum({FREED_AT_ONCE})"
        with self.read() as connection:
            was, free = 0, _value(connection, "freelist_count")
            while free > SPARE_PAGES and free != was:
                with self._lock.held():
                    connection.executescript(free_some)
                was, free = free, _value(connection, "freelist_count")
            if was:
                with self._lock.held():
                    # The file itself is cut only now.
                    connection.execute("PRAGMA wal_checkpoint").fetchall()

    def sync(self) -> None:
        """What was committed is on the disk when this returns."""
        with naming(self.path), suppress(FileNotFoundError):
            # Only the write-ahead log: what is no longer in it SQLite has synced. And
            # closing a handle of the database would drop SQLite's locks on it.
            sync(self.path.with_name(self.path.name + "-wal"))

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._threads, "held"):
            with self._lock.held():
                connection = connect(
                    self.path, self._steps, synchronous="NORMAL", can_shrink=True
                )
            self._threads.held = Held(connection)
        held: Held = self._threads.held
        return held.connection


class Sign:
    """By which processes see at once that another has changed something: eight bytes in
    memory that they share. To look costs next to nothing, unlike a query. All methods
    raise StorageUnavailable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shared: mmap.mmap | None = None

    def value(self) -> bytes:
        """Another than before, if `change` was called anywhere."""
        return self._map()[:SIGN]

    def change(self) -> None:
        """To be called after the change."""
        self._map()[:SIGN] = os.urandom(SIGN)

    def _map(self) -> mmap.mmap:
        if self._shared is None:
            with naming(self._path):
                file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    # At its full length, as to touch what is beyond it would kill.
                    if os.fstat(file).st_size < SIGN:
                        os.pwrite(file, bytes(SIGN), 0)
                    self._shared = mmap.mmap(file, SIGN)
                finally:
                    os.close(file)
        return self._shared


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raises StorageUnavailable, with the file's name, for what fails in it; Damaged
    for what SQLite finds to be no database, or a broken one."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        # The low byte is the code, the rest says more of it.
        is_damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
        kind = Damaged if is_damaged else StorageUnavailable
        raise kind(f"{path.name}: {error}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Committed at the end, undone if anything is raised."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A commit that failed may have undone the transaction already.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def connect(
    path: Path,
    steps: Sequence[str],
    *,
    synchronous: str,
    functions: Mapping[str, Callable[[Any], Any]] | None = None,
    mode: str = "rwc",
    can_shrink: bool = False,
) -> sqlite3.Connection:
    """A connection for any thread, but one at a time; raises sqlite3.Error, OSError.

    Whoever connects holds the lock of the database.

    steps: SQL that makes the schema, a string for each format there ever was; a file
    of an older one is brought forward, as a whole or not at all. functions: what the
    steps use beside SQLite's own, of one argument each. mode: "rw" makes no new file.
    can_shrink: room is left for what `Database.shrink` needs to know.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=10.0,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        version = _value(connection, "user_version")
        # It writes a page each time; to read must not need room on the disk.
        if can_shrink and version < len(steps):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        _bring_forward(connection, path, steps, functions or {})
        if can_shrink and 0 < version < len(steps):
            with suppress(sqlite3.Error):  # one that is from before can do without
                connection.execute("VACUUM")
    except BaseException:
        connection.close()
        raise
    return connection


def _value(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _bring_forward(
    connection: sqlite3.Connection,
    path: Path,
    steps: Sequence[str],
    functions: Mapping[str, Callable[[Any], Any]],
) -> None:
    version = _value(connection, "user_version")
    known = len(steps)
    if version > known:
        raise sqlite3.DatabaseError(
            f"written by a newer router (format {version}, known: {known})"
        )
    if version < known:
        for name, function in functions.items():
            connection.create_function(name, 1, function, deterministic=True)
        script = "".join(steps[version:])
        connection.executescript(
            f"BEGIN; {script} PRAGMA user_version = {known}; COMMIT;"
        )
        sync(path.parent)


def copy(connection: sqlite3.Connection, path: Path, change: str = "") -> None:
    """Copies a database as it is at one instant, while others write; path: a new file.
    change: SQL to run in the copy.

    Raises sqlite3.Error, OSError; a page that cannot be read is an error.
    """
    make_directory(path.parent)
    with closing(sqlite3.connect(path)) as target:
        connection.backup(target)
        (found,) = target.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"is damaged: {found}")
        target.executescript(change)
    sync(path)
    sync(path.parent)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Makes a directory, and those it is in, as far as they are not there; they are on
    the disk when this returns. Raises OSError."""
    if path.is_dir():
        return
    if not path.parent.exists():
        make_directory(path.parent, mode)
    path.mkdir(mode, exist_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """What was written to a file, or which files a directory has, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
