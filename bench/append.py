"""What removing duplicates costs: rows a second that the log takes, with and without.

    python bench/append.py [DIRECTORY]

DIRECTORY is on the disk to be measured; by default that of temporary files. Two logs
that remember as many ids are written to in turn, so that whatever else the machine
does weighs on both alike. Ids are random UUIDs, the worst case: each belongs on
another page of the index. Takes about a minute and 2 GB.
"""

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from uuid import UUID

from router.events import Accepted
from router.log import Log

PARTITIONS = 8
PLENTY = 1 << 40
# A track call of a browser, as it is in the log.
BODY = random.Random(0).randbytes(350).hex().encode()
ROUNDS = 10
SECONDS_A_ROUND = 0.5

chance = random.Random(1)
users = count()


class Forgetful(Log):
    """A log that remembers no ids; all else is the same code."""

    def _new(self, connection, events):
        return events

    def _remember(self, connection, events, first):
        pass


def events(many: int, body: bytes = BODY) -> list[Accepted]:
    return [
        Accepted("web", str(UUID(int=chance.getrandbits(128))), f"u{next(users) % 997}",
                 1_700_000_000_000, body)
        for _ in range(many)
    ]  # fmt: skip


def rows_per_second(log: Log, many: int) -> float:
    ready = [events(many) for _ in range(max(1, 5000 // many))]
    began = time.perf_counter()
    rows = 0
    while (passed := time.perf_counter() - began) < SECONDS_A_ROUND:
        if rows // many == len(ready):
            return rows / passed
        log.append(ready[rows // many])
        rows += many
    return rows / passed


def measure(directory: Path, remembered: int) -> None:
    logs: Sequence[Log] = [
        kind(directory / kind.__name__, PARTITIONS, PLENTY) for kind in (Forgetful, Log)
    ]
    for log in logs:
        for _ in range(remembered // 50_000):
            log.append(events(50_000, b"{}"))
    for many in (1, 100, 2500):
        rates: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for log, found in zip(logs, rates, strict=True):
                found.append(rows_per_second(log, many))
        without, with_ = (sorted(found)[ROUNDS // 2] for found in rates)
        print(
            f"{remembered:>10,} {many:>10,} {without:>12,.0f} {with_:>12,.0f} "
            f"{with_ / without:>6.2f}",
            flush=True,
        )
    for log in logs:
        log.close()


def main() -> None:
    parent = sys.argv[1] if len(sys.argv) > 1 else None
    head = ("remembered", "events a", "without", "with", "ratio")
    print("{:>10} {:>10} {:>12} {:>12} {:>6}".format(*head))
    print("{:>10} {:>10} {:>12} {:>12}".format("ids", "commit", "rows/s", "rows/s"))
    for remembered in (0, 1_000_000):
        directory = Path(tempfile.mkdtemp(dir=parent))
        try:
            measure(directory, remembered)
        finally:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
