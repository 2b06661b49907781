"""How far a lane has come, and what became of the events that it has passed.

A transaction of the ledger for each request would take a lane a quarter of its time. So
it notes at its claim what the ledger's file does not have yet, and commits that some
times a second. Where its process is killed, whoever has the claim next commits what is
noted there, and repeats nothing of it.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from router.accounts import Counts
from router.claims import Claim, claim
from router.errors import StorageUnavailable
from router.ledger import Fenced, Ledger
from router.letters import DeadLetter
from router.notes import Noted, latest
from router.store import naming

# Seconds for which the ledger's file may be behind a lane that goes on.
COMMIT_EVERY = 0.1


class Progress:
    """Where a lane is. clock: epoch seconds, which may be set back.

    All methods raise StorageUnavailable, and Fenced where another has moved the offset
    in the ledger; then only `resume`, which comes first, is of use.
    """

    def __init__(
        self,
        ledger: Ledger,
        destination: str,
        partition: int,
        held: Claim,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger, self._claim, self._clock = ledger, held, clock
        self._destination, self._partition = destination, partition
        self._committed_at = 0.0
        # Where the ledger's file is, and what became of the events from there on.
        self._committed, self._counts = 0, Counter[tuple[str, str]]()
        self.offset = 0

    def resume(self) -> None:
        """Goes to where the lane was last, in this process or in another."""
        with naming(Path("claims")):
            self._note = self._claim.note()
        self._committed = self.offset = self._in_ledger()
        self._counts = Counter()
        noted = latest(self._note.read(), self._ledger.accounts.id, self._committed)
        if noted:
            self.offset, self._counts = noted.end, noted.counts
        self.commit()

    def passed(
        self,
        end: int,
        counts: Mapping[tuple[str, str], int],
        letters: Sequence[DeadLetter] = (),
    ) -> None:
        """The lane is done with the events up to an offset; counts: how many by (state,
        code). This outlives the process, and letters are in the ledger. It can be said
        again where it has failed."""
        if end > self.offset:
            total = self._counts + Counter(counts)
            ledger, start = self._ledger.accounts.id, self._committed
            noted = Noted(ledger, start, end, total)
            if letters or not self._note.write(noted):
                self._commit(end, total, letters)
                return
            self.offset, self._counts = end, total
        if abs(self._clock() - self._committed_at) >= COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Brings the ledger's file to where the lane is."""
        if self.offset > self._committed:
            self._commit(self.offset, self._counts, ())

    def check(self) -> None:
        """Raises Fenced if the lane is not where the ledger says any more."""
        if self._in_ledger() != self._committed:
            raise Fenced(f"{self._destination}: partition {self._partition} has moved")

    def _commit(self, end: int, counts: Counts, letters: Sequence[DeadLetter]) -> None:
        span = (self._committed, end)
        self._ledger.commit(self._destination, self._partition, span, counts, letters)
        self._committed = self.offset = end
        self._counts = Counter()
        self._committed_at = self._clock()

    def _in_ledger(self) -> int:
        offset = self._ledger.committed(self._destination, self._partition)
        if offset is None:  # who has a lane is registered
            lane = f"{self._destination}/{self._partition}"
            raise StorageUnavailable(f"ledger.db: it has no place of {lane}")
        return offset


def settle(ledger: Ledger, data_dir: Path, destination: str, partition: int) -> bool:
    """Commits what a dead process has noted; false where the lane is alive, which does
    so itself. Raises StorageUnavailable, OSError."""
    held = claim(data_dir, destination, partition)
    if held is None:
        return False
    try:
        Progress(ledger, destination, partition, held).resume()
    finally:
        held.release()
    return True
