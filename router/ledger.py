"""The ledger: how far each destination has come, and what became of every event.

A lane commits its offset, its counts and its dead letters in one transaction, so
that at any instant, per destination and partition,

    offset - start = delivered + skipped + dead + expired + retrying

whatever process was killed when. What a lane has passed since its last commit is noted
at its claim (progress.py), and is in all that is asked for here but `committed`.
Retrying are dead letters that were put back to work (letters.py). The commits need not
wait for the disk: after a power cut a lane repeats what it sent since the last sync
(delivery.py).
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

from router.accounts import IDENTITY, NEW_IDENTITY, Accounts, Counts, Offsets
from router.arrivals import SCHEMA as ARRIVALS
from router.arrivals import Arrivals
from router.errors import RouterError
from router.groups import GroupCommit, Take
from router.letter_tables import CONTENTS, OF_REPLAYS, USERS
from router.letter_tables import SCHEMA as RETRIES
from router.letters import (
    ANY_RETRYING,
    KEPT_CLOSED,
    DeadLetter,
    Letters,
    add_counts,
    insert,
)
from router.replays import SCHEMA as REPLAYS
from router.replays import Replays
from router.store import Database, copy

SCHEMA = """
CREATE TABLE offsets (
    destination TEXT, partition INTEGER,
    start INTEGER NOT NULL, offset INTEGER NOT NULL,  -- of the next event
    PRIMARY KEY (destination, partition)
) WITHOUT ROWID;
CREATE TABLE counts (
    destination TEXT, partition INTEGER,
    state TEXT, code TEXT,        -- delivered, skipped, dead or expired, and why
    number INTEGER NOT NULL,
    PRIMARY KEY (destination, partition, state, code)
) WITHOUT ROWID;
CREATE TABLE dead_letters (
    destination TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    source TEXT NOT NULL, message_id TEXT NOT NULL,
    code TEXT NOT NULL, reason TEXT NOT NULL, problems TEXT NOT NULL, -- a JSON list
    detail TEXT NOT NULL, attempts INTEGER NOT NULL, died_at INTEGER NOT NULL,
    body BLOB NOT NULL,           -- a copy: a letter outlives the log's retention
    id INTEGER PRIMARY KEY AUTOINCREMENT
);
CREATE INDEX dead_letters_by_destination ON dead_letters (destination, id);
CREATE INDEX dead_letters_by_message ON dead_letters (message_id);
CREATE TABLE holds (
    destination TEXT, partition INTEGER,  -- -1: the whole destination
    kind TEXT NOT NULL, reason TEXT NOT NULL,
    since REAL NOT NULL, until REAL NOT NULL, probes INTEGER NOT NULL,
    PRIMARY KEY (destination, partition)
) WITHOUT ROWID;
"""

ALL_PARTITIONS = -1

# Seconds after which a lane looks for holds though there is no sign of one: the process
# that made it may have died before it could give the sign.
LOOK_EVERY = 1.0

# How many letters are removed in one transaction.
FORGOTTEN_AT_ONCE = 1000


class Fenced(RouterError):
    """Another lane has moved the offset: this one must stop, and repeat nothing."""


@dataclass(frozen=True)
class Hold:
    """Why a destination, or one lane of it, waits; since, until in epoch seconds.

    probes: how often it was tried again in vain. account: the destination, or the
    replay whose lane it is, once it is in the ledger.
    """

    kind: str
    reason: str
    since: float
    until: float
    partition: int = ALL_PARTITIONS
    probes: int = 0
    account: str = field(default="", compare=False)


HOLD_COLUMNS = ", ".join(field.name for field in fields(Hold)[:-1]) + ", destination"


def surplus(offsets: Offsets, counts: Counts) -> int:
    """How many events more were passed than counted; 0 in a ledger that adds up."""
    passed = sum(offset - start for start, offset in offsets.values())
    return passed - counts.total()


class Passed(NamedTuple):
    """Events that a lane is done with; see `Ledger.commit`."""

    destination: str
    partition: int
    span: tuple[int, int]
    counts: Mapping[tuple[str, str], int]
    letters: Sequence[DeadLetter]


def _move(connection: sqlite3.Connection, passed: Passed) -> bool:
    destination, partition, span, counts, letters = passed
    moved = connection.execute(
        "UPDATE offsets SET offset = ? "
        "WHERE destination = ? AND partition = ? AND offset = ?",
        (span[1], destination, partition, span[0]),
    )
    if moved.rowcount != 1:
        return False
    add_counts(connection, destination, partition, counts)
    insert(connection, letters)
    return True


class Ledger:
    """The ledger in `data_dir/ledger.db`. All methods raise StorageUnavailable.

    clock: seconds, of any beginning.
    """

    def __init__(
        self, data_dir: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        replays = REPLAYS + OF_REPLAYS
        steps = [SCHEMA, ARRIVALS, RETRIES, replays, USERS, IDENTITY, CONTENTS]
        self._db = Database(data_dir / "ledger.db", steps)
        self.accounts = Accounts(self._db, data_dir / "claims")
        self.arrivals = Arrivals(self._db)
        self.letters = Letters(self._db)
        self.replays = Replays(self._db)
        self.dead_letters = self.letters.find
        self.close = self._db.close
        self.bytes_on_disk = self._db.size
        self._clock = clock
        self._group = GroupCommit(self._commit)
        self._quiet: dict[str, tuple[bytes, float]] = {}

    def register(self, destination: str, starts: Mapping[int, int]) -> None:
        """Gives a destination its offsets, unless it has them from earlier; it keeps
        them, whatever is committed without waiting for the disk."""
        if not self.offsets(destination):
            rows = [(destination, n, start, start) for n, start in starts.items()]
            columns = "destination, partition, start, offset"
            insert = f"INSERT OR IGNORE INTO offsets ({columns}) VALUES (?, ?, ?, ?)"
            with self._db.write() as connection:
                connection.executemany(insert, rows)
            # Or after a power cut it would begin again, at what is the end then.
            self.sync()

    def farthest(self) -> dict[int, int]:
        """For each partition how far the destination has come that is farthest."""
        found: dict[int, int] = {}
        for places in self.accounts.read("")[0].values():
            for partition, (_, offset) in places.items():
                found[partition] = max(offset, found.get(partition, 0))
        return found

    def tidy(self, now: int) -> None:
        """Removes letters that were closed long before an instant of milliseconds, and
        gives free space back; some at a time, as others wait for it."""
        closed = "SELECT id FROM dead_letters WHERE closed_at < ?"
        old = f"{closed} ORDER BY closed_at, id LIMIT ?"
        values = (now - KEPT_CLOSED, FORGOTTEN_AT_ONCE)
        deleted = FORGOTTEN_AT_ONCE
        while deleted == FORGOTTEN_AT_ONCE:
            # The letters last: by them the others are found again.
            for table in ("letter_contents", "dead_letters"):
                delete = f"DELETE FROM {table} WHERE id IN ({old})"
                deleted = self._db.execute(delete, *values)
        self._db.shrink()

    def sync(self) -> None:
        """What was committed survives a power cut, too, once this returns."""
        self._db.sync()

    def copy(self, directory: Path) -> None:
        """Copies what is in it now, without what lanes have noted, to another data
        directory."""
        with self._db.read() as connection:
            copy(connection, directory / "ledger.db", NEW_IDENTITY)

    def destinations(self) -> list[str]:
        """Every destination that ever had offsets, by name."""
        query = (
            "SELECT DISTINCT destination FROM offsets WHERE finish IS NULL ORDER BY 1"
        )
        rows = self._db.rows(query)
        return [name for (name,) in rows]

    def offsets(self, destination: str) -> Offsets:
        """For each partition where the destination started, and where it is."""
        return self.balance(destination)[0]

    def committed(self, destination: str, partition: int) -> int | None:
        """Where its lane is without what it has noted; None if it is not registered."""
        query = "SELECT offset FROM offsets WHERE destination = ? AND partition = ?"
        rows = self._db.rows(query, destination, partition)
        return rows[0][0] if rows else None

    def commit(
        self,
        destination: str,
        partition: int,
        span: tuple[int, int],
        counts: Mapping[tuple[str, str], int],
        letters: Sequence[DeadLetter] = (),
    ) -> None:
        """Moves the offset over span = (from, to), with what became of its events; in
        one transaction with what other threads commit.

        counts: how many by (state, code). Raises Fenced if the offset is not at
        span[0].
        """
        passed = Passed(destination, partition, span, counts, letters)
        if not self._group.write(passed):
            raise Fenced(f"{destination}: partition {partition} has moved on")

    def _commit(self, take: Take[Passed]) -> list[bool]:
        """Whether the offset of each was where it says, and so has moved."""
        with self._db.write() as connection:
            # Others may have come while this waited for the lock.
            return [_move(connection, passed) for passed in take()]

    def counts(self, destination: str, *, replays: bool = False) -> Counts:
        """How many events by (state, code); replays: with those it was sent again."""
        where = "WHERE destination = ? OR (? AND destination GLOB ? || '#*')"
        counts = self.accounts.read(where, destination, replays, destination)[1]
        return sum(counts.values(), Counter())

    def balance(self, destination: str) -> tuple[Offsets, Counts]:
        """Offsets and counts of one instant."""
        places, counts = self.accounts.read("WHERE destination = ?", destination)
        return places.get(destination, {}), counts.get(destination, Counter())

    def hold(self, account: str, hold: Hold) -> None:
        """Makes lanes wait until `hold.until`; a hold that is there keeps its since."""
        self._db.execute(
            f"INSERT INTO holds ({HOLD_COLUMNS}) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "kind = excluded.kind, reason = excluded.reason, until = excluded.until, "
            "probes = excluded.probes",
            *astuple(replace(hold, account=account)),
        )
        self._db.sign.change()

    def is_quiet(self, destination: str, account: str) -> bool:
        """Whether nothing holds the lanes of an account, and no letter of its
        destination was put back. Lanes ask it before each request."""
        sign, now = self._db.sign.value(), self._clock()
        seen, when = self._quiet.get(account, (b"", 0.0))
        if seen == sign and when <= now < when + LOOK_EVERY:
            return True
        held = "SELECT 1 FROM holds WHERE destination IN (?, ?)"
        query = f"SELECT EXISTS ({held}) OR EXISTS ({ANY_RETRYING})"
        ((is_busy,),) = self._db.rows(query, destination, account, destination)
        if not is_busy:
            self._quiet[account] = (sign, now)
        return not is_busy

    def holds(
        self, destination: str, partition: int | None = None, lanes: str | None = None
    ) -> list[Hold]:
        """What the destination waits for; with a partition, only what its lane does.

        lanes: the account whose lanes are meant, by default the destination's own.
        """
        whole, own = "destination = ? AND partition = -1", "destination = ?"
        where = f"({whole}) OR ({own} AND partition = ifnull(?, partition))"
        query = f"SELECT {HOLD_COLUMNS} FROM holds WHERE {where} ORDER BY partition"
        rows = self._db.rows(query, destination, lanes or destination, partition)
        return [Hold(*row) for row in rows]

    def take_probe(self, hold: Hold, until: float) -> bool:
        """Whether the caller may be the one that tries again; the next may at until."""
        return self._probe(hold, until, 1)

    def return_probe(self, hold: Hold, now: float) -> bool:
        """Whether the probe that the caller took is given back, unless the hold was
        renewed since: as if it had not been taken, the next may try from now on."""
        return self._probe(hold, now, -1)

    def _probe(self, hold: Hold, until: float, probes: int) -> bool:
        update = "UPDATE holds SET until = ?, probes = probes + ?"
        where = "WHERE destination = ? AND partition = ? AND until = ?"
        values = (until, probes, hold.account, hold.partition, hold.until)
        return self._db.execute(f"{update} {where}", *values) == 1

    def probe_now(self, destination: str, kinds: Sequence[str]) -> None:
        """Lets holds of these kinds be probed at once: the operator may have mended
        what they are for."""
        one = "(destination = ? OR destination GLOB ? || '#*')"
        where = f"{one} AND kind IN ({', '.join('?' * len(kinds))})"
        update = f"UPDATE holds SET until = 0 WHERE {where}"
        self._db.execute(update, destination, destination, *kinds)

    def release(self, hold: Hold) -> bool:
        """Ends a hold, unless it was renewed since; whether it was still there. That a
        process has started since, and lets it be probed at once, does not renew it."""
        where = "destination = ? AND partition = ? AND until IN (?, 0)"
        values = (hold.account, hold.partition, hold.until)
        return self._db.execute(f"DELETE FROM holds WHERE {where}", *values) == 1
