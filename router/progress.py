"""How far a lane has come, and what became of the events that it has passed.

The ledger says so; but a transaction for each event would take a lane a quarter of its
time. So it notes at its claim what the ledger does not have yet, and commits that some
times a second. Where its process is killed, whoever has the claim next commits what is
noted there, and repeats nothing of it.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from router import codec
from router.claims import Claim
from router.errors import StorageUnavailable
from router.lazy import lazy
from router.ledger import Counts, Fenced, Ledger
from router.letters import DeadLetter
from router.notes import Note

# Seconds for which the ledger may be behind a lane that goes on.
COMMIT_EVERY = 0.1


class Progress:
    """Where a lane is. clock: epoch seconds, which may be set back.

    All methods raise StorageUnavailable, and Fenced where another has moved the offset
    in the ledger; then only `resume` is of use.
    """

    def __init__(
        self,
        ledger: Ledger,
        destination: str,
        partition: int,
        claim: Claim,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger, self._claim, self._clock = ledger, claim, clock
        self._destination, self._partition = destination, partition
        self._committed_at = 0.0
        # Where the ledger is, and what became of the events from there on.
        self._committed, self._counts = 0, Counter[tuple[str, str]]()
        self.offset = 0

    def resume(self) -> None:
        """Goes to where the lane was last, in this process or in another."""
        self._committed = self.offset = self._in_ledger()
        self._counts = Counter()
        for end, counts in self._noted():
            if end > self.offset:
                self.offset, self._counts = end, counts
        self.commit()

    def passed(
        self,
        end: int,
        counts: Mapping[tuple[str, str], int],
        letters: Sequence[DeadLetter] = (),
    ) -> None:
        """The lane is done with the events up to an offset; counts: how many by (state,
        code). It survives this process, and letters are in the ledger."""
        total = self._counts + Counter(counts)
        is_due = abs(self._clock() - self._committed_at) >= COMMIT_EVERY
        if letters or is_due or not self._write(end, total):
            self._commit(end, total, letters)
        else:
            self.offset, self._counts = end, total

    def commit(self) -> None:
        """Brings the ledger to where the lane is."""
        if self.offset > self._committed:
            self._commit(self.offset, self._counts, ())

    def check(self) -> None:
        """Raises Fenced if the lane is not where the ledger says any more."""
        self.commit()
        if self._in_ledger() != self.offset:
            raise Fenced(f"{self._destination}: partition {self._partition} has moved")

    def _commit(self, end: int, counts: Counts, letters: Sequence[DeadLetter]) -> None:
        span = (self._committed, end)
        self._ledger.commit(self._destination, self._partition, span, counts, letters)
        self._committed = self.offset = end
        self._counts = Counter()
        self._committed_at = self._clock()

    def _in_ledger(self) -> int:
        place = self._ledger.offsets(self._destination).get(self._partition)
        if place is None:  # who has a lane is registered
            lane = f"{self._destination}/{self._partition}"
            raise StorageUnavailable(f"ledger.db: it has no place of {lane}")
        return place[1]

    @lazy
    def _note(self) -> Note:
        try:
            return self._claim.note()
        except OSError as error:
            raise StorageUnavailable(f"claims: {error}") from error

    def _write(self, end: int, counts: Counts) -> bool:
        rows = [(*key, number) for key, number in counts.items()]
        text = codec.pack([self._ledger.id, self._committed, end, rows])
        return self._note.write(text)

    def _noted(self) -> Sequence[tuple[int, Counts]]:
        """What was noted for the ledger as it is: up to which offset, and counts."""
        notes = map(codec.unpack, self._note.read())
        here = [self._ledger.id, self._committed]
        return [
            (end, Counter({(state, code): number for state, code, number in rows}))
            for *where, end, rows in notes
            if where == here
        ]
