"""How many events came in, in the ledger's database."""

from collections import Counter
from collections.abc import Mapping

from router.store import Database

SCHEMA = """
CREATE TABLE arrivals (
    source TEXT, code TEXT,       -- empty: of no known source
    number INTEGER NOT NULL,
    PRIMARY KEY (source, code)
) WITHOUT ROWID;
"""


class Arrivals:
    """The counts by (source, code). All methods raise StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Adds to how many there were."""
        with self._db.write() as connection:
            connection.executemany(
                "INSERT INTO arrivals VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET number = number + excluded.number",
                [(*key, number) for key, number in counts.items()],
            )

    def counts(self) -> Counter[tuple[str, str]]:
        """How many there were."""
        rows = self._db.rows("SELECT source, code, number FROM arrivals ORDER BY 1, 2")
        return Counter({(source, code): number for source, code, number in rows})
