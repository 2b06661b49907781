"""Makes a log with many events.

    full_log.py DATA_DIR EVENTS

Through the front door ten million would take half an hour. This writes the rows that
`router.log` would have, by SQL: the same schema, made by the router itself; files of a
million events, all within `dedupe_window`; a random message id for each, which the
router puts into its index. Only the bodies are shorter than usual, about 250 bytes.
"""

import os
import shutil
import sqlite3
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

from router.events import Accepted
from router.log import Log

PARTITIONS = 8
# In one file; a million are about 400 MB, and the router fills them to 512 MiB.
A_FILE = 1_000_000

INSERT = f"""
WITH RECURSIVE numbers (n) AS (
    VALUES (:first) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :end
), named AS MATERIALIZED (
    SELECT n, lower(hex(randomblob(16))) AS id FROM numbers
)
INSERT INTO events
    (position, partition, offset, source, message_id, received_at, body)
SELECT n + 1, n % {PARTITIONS}, n / {PARTITIONS}, 'web', id, :now,
    CAST(char(9) || '{{"type":"track","event":"Product Viewed","messageId":"' || id ||
    '","userId":"user-' || (n % 10000) || '","properties":{{"product_id":"507f1f77",' ||
    '"url":"https://shop.example/lamp"}},"context":{{}},' ||
    '"timestamp":"2026-11-02T14:21:07.316Z","receivedAt":"2026-11-02T14:21:07.900Z"}}'
    AS BLOB)
FROM named
"""


def make_template(data_dir: Path) -> Path:
    """A file of the log, as the router makes it."""
    log = Log(data_dir, PARTITIONS, 1 << 40)
    log.append([Accepted("web", "m", "u", 1, b"{}")])
    log.close()
    return log.directory / "00000001.db"


def fill(path: Path, first: int, end: int, now: int) -> None:
    """Puts the events of these numbers into a copy of the template."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "cache_size = -400000",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for table in ("events", "starts"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute(INSERT, {"first": first, "end": end, "now": now})
        connection.executemany(
            "INSERT INTO starts VALUES (?, ?)",
            [(partition, first // PARTITIONS) for partition in range(PARTITIONS)],
        )
        for fact in (("partitions", PARTITIONS), ("newest", now)):
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", fact)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def main() -> None:
    data_dir, events = Path(sys.argv[1]), int(sys.argv[2]) // PARTITIONS * PARTITIONS
    template = make_template(data_dir / "template")
    directory = data_dir / "log"
    directory.mkdir(mode=0o700)
    now = int(time.time()) * 1000
    with ProcessPoolExecutor(2) as pool:
        running = []
        for number, first in enumerate(range(0, events, A_FILE), 1):
            path = directory / f"{number:08}.db"
            shutil.copy(template, path)
            end = min(first + A_FILE, events)
            running.append(pool.submit(fill, path, first, end, now))
        for one in running:
            one.result()
    shutil.rmtree(data_dir / "template")
    # Makes the index of the ids that are there.
    log = Log(data_dir, PARTITIONS, 1 << 40)
    log.settle_partitions()
    log.close()


if __name__ == "__main__":
    main()
