"""Replays: ranges of the log that are sent to one destination again.

    running <-> paused
       |           |
       +-> done    +-> cancelled   (from running, too)

In the ledger a replay has offsets and counts of its own, under a name of its own (its
account), so that it goes on where it was after a crash, and the account of its
destination stays what it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

from router.letters import account
from router.log import Record
from router.store import Database

SCHEMA = """
CREATE TABLE replays (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL,
    since INTEGER NOT NULL, until INTEGER NOT NULL,
    event TEXT, user TEXT,
    rate REAL NOT NULL, chosen INTEGER NOT NULL, started_at INTEGER NOT NULL,
    state TEXT NOT NULL, ended_at INTEGER
);
ALTER TABLE offsets ADD COLUMN finish INTEGER;  -- of a replay: where it ends
"""

RUNNING, PAUSED, CANCELLED, DONE = "running", "paused", "cancelled", "done"

# What may become of a replay when somebody asks for it.
MOVES = {PAUSED: (RUNNING,), RUNNING: (PAUSED,), CANCELLED: (RUNNING, PAUSED)}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which events: received from `since` on and before `until`, in milliseconds since
    the epoch; event: a glob of the names of track calls; user: a userId or
    anonymousId."""

    since: int
    until: int
    event: str | None = None
    user: str | None = None

    def takes(self, record: Record) -> bool:
        """Whether it is one of them."""
        return (
            self.since <= record.received_at < self.until
            and (self.event is None or self._is_named(record.event.get("event")))
            and (self.user is None or self._is_by_user(record))
        )

    def _is_named(self, name: object) -> bool:
        return isinstance(name, str) and fnmatchcase(name, self.event or "*")

    def _is_by_user(self, record: Record) -> bool:
        ids = (record.event.get("userId"), record.event.get("anonymousId"))
        return self.user in ids


@dataclass(frozen=True, kw_only=True)
class Replay(Choice):
    """A replay and how it stands.

    rate: events a second, all its lanes together; chosen: how many events it is of;
    started_at, ended_at in milliseconds since the epoch.
    """

    destination: str
    rate: float
    chosen: int
    started_at: int
    state: str = RUNNING
    ended_at: int | None = None
    id: int = 0

    @property
    def account(self) -> str:
        """Its name in the ledger."""
        return account(self.destination, self.id)


COLUMNS = ", ".join(field.name for field in fields(Replay))
MARKS = ", ".join(f":{field.name}" for field in fields(Replay))


class Replays:
    """The replays in the ledger's database. All methods raise StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def start(self, replay: Replay, spans: Mapping[int, tuple[int, int]]) -> int:
        """Adds a replay, to be done by whoever delivers; returns its id.

        spans: for each partition from where to where.
        """
        with self._db.write() as connection:
            values = vars(replay) | {"id": None}
            insert = f"INSERT INTO replays ({COLUMNS}) VALUES ({MARKS})"
            number = connection.execute(insert, values).lastrowid or 0
            name = account(replay.destination, number)
            connection.executemany(
                "INSERT INTO offsets (destination, partition, start, offset, finish) "
                "VALUES (?, ?, ?, ?, ?)",
                [(name, n, start, start, end) for n, (start, end) in spans.items()],
            )
        self._db.sync()
        return number

    def find(self, replay_id: int) -> Replay | None:
        """That replay."""
        return next(iter(self._find("id = ?", replay_id)), None)

    def running(self) -> list[Replay]:
        """Those that lanes are to work on."""
        return self._find("state = ?", RUNNING)

    def all(self, destination: str | None = None, limit: int = 100) -> list[Replay]:
        """Replays, of a destination if one is given; the newest first."""
        where = "destination = ifnull(?, destination) ORDER BY id DESC LIMIT ?"
        return self._find(where, destination, limit)

    def spans(self, replay: Replay) -> dict[int, tuple[int, int]]:
        """For each partition that it is not through: where it is, and where it ends."""
        rows = self._db.rows(
            "SELECT partition, offset, finish FROM offsets "
            "WHERE destination = ? AND offset < finish",
            replay.account,
        )
        return {partition: (offset, finish) for partition, offset, finish in rows}

    def move(self, replay: Replay, state: str, now: int) -> bool:
        """Pauses, resumes or cancels a replay; whether it could be. now: in
        milliseconds."""
        return self._move(
            replay, MOVES[state], state, now if state == CANCELLED else None
        )

    def finish(self, replay: Replay, now: int) -> bool:
        """Ends a running replay that is through; whether that was still to be done."""
        return self._move(replay, (RUNNING,), DONE, now)

    def _move(
        self, replay: Replay, old: Sequence[str], new: str, ended_at: int | None
    ) -> bool:
        where = f"id = ? AND state IN ({', '.join('?' * len(old))})"
        update = f"UPDATE replays SET state = ?, ended_at = ? WHERE {where}"
        with self._db.write() as connection:
            values = (new, ended_at, replay.id, *old)
            is_moved = connection.execute(update, values).rowcount == 1
            if is_moved and ended_at is not None:
                # What its lanes waited for they wait for no more.
                delete = "DELETE FROM holds WHERE destination = ?"
                connection.execute(delete, (replay.account,))
        # Nobody would ask for it again after a power cut.
        self._db.sync()
        return is_moved

    def _find(self, where: str, *values: object) -> list[Replay]:
        query = f"SELECT {COLUMNS} FROM replays WHERE {where}"
        names = [field.name for field in fields(Replay)]
        rows = self._db.rows(query, *values)
        return [Replay(**dict(zip(names, row, strict=True))) for row in rows]
