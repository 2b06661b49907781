"""Where destinations and replays are, and what became of the events that they passed:
in the ledger's database, and in what lanes have noted since they last committed."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from router.lazy import lazy
from router.notes import latest, read_all
from router.store import Database, naming

# Whose notes they are: those of another ledger are of no use, nor are they to a copy,
# which goes on from the same place.
IDENTITY = """
CREATE TABLE identity (id INTEGER NOT NULL);
INSERT INTO identity VALUES (random());
"""
NEW_IDENTITY = "UPDATE identity SET id = random()"

Offsets = dict[int, tuple[int, int]]
Counts = Counter[tuple[str, str]]


class Accounts:
    """What each has by its name, a destination's or a replay's. All methods raise
    StorageUnavailable."""

    def __init__(self, database: Database, claims: Path) -> None:
        self._db, self._claims = database, claims

    @lazy
    def id(self) -> int:
        """The ledger's, another for each."""
        ((found,),) = self._db.rows("SELECT id FROM identity")
        return int(found)

    def read(
        self, where: str, *values: Any
    ) -> tuple[dict[str, Offsets], dict[str, Counts]]:
        """For each account where it started and where it is, by partition, and its
        counts by (state, code); all of one instant. where: which accounts, in SQL."""
        # The notes first: then what is committed meanwhile is not added again.
        with naming(self._claims):
            notes = read_all(self._claims)
        places: dict[str, Offsets] = defaultdict(dict)
        counts: dict[str, Counts] = defaultdict(Counter)
        with self._db.read() as connection, _snapshot(connection):
            query = f"SELECT destination, partition, start, offset FROM offsets {where}"
            for account, partition, start, offset in connection.execute(query, values):
                places[account][partition] = start, offset
            query = f"SELECT destination, state, code, number FROM counts {where}"
            for account, state, code, number in connection.execute(query, values):
                counts[account][state, code] += number
        for (account, partition), some in notes.items():
            start, offset = places.get(account, {}).get(partition, (0, -1))
            if noted := latest(some, self.id, offset):
                places[account][partition] = start, noted.end
                counts[account] += noted.counts
        return places, counts


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")
