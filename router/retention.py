"""Retention: what is older goes from the log, whether a destination has had it or not.

What a destination has not had then becomes dead letters, in one transaction of the
ledger with its offset; only when that is on disk the events go. One process at a time
does this.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from router.claims import take
from router.episodes import Episode
from router.errors import Damaged, StorageUnavailable
from router.gate import Surroundings
from router.ledger import Fenced
from router.letters import EXPIRED, MISSING, DeadLetter
from router.log import Record
from router.progress import COMMIT_EVERY, settle
from router.segments import SHARES_OF_TIME

logger = logging.getLogger("router.retention")

# Seconds between two looks, unless the retention is so short that it needs more.
LOOK_EVERY = 60.0
# Seconds between two reports of files that are damaged.
REPORT_EVERY = 3600.0
# What is in one commit, which the lanes' commits wait for.
PAGE_RECORDS = 200
PAGE_BYTES = 256 * 1024


class Retention:
    """Looks again and again, from start() to stop(). retention: seconds."""

    def __init__(self, shared: Surroundings, data_dir: Path, retention: float) -> None:
        self._shared, self._data_dir, self._retention = shared, data_dir, retention
        self._stopping = threading.Event()
        self._reported = 0.0
        self._keeper = threading.Thread(target=self._keep, name="retention")
        self._keeper.daemon = True

    def start(self) -> None:
        """Starts to look, in a thread."""
        self._keeper.start()

    def stop(self) -> None:
        """Ends after the page that is under way."""
        self._stopping.set()
        self._keeper.join()

    def _keep(self) -> None:
        waiting = Episode(logger, "retention goes on")
        every = min(LOOK_EVERY, self._retention / SHARES_OF_TIME)
        while not self._stopping.wait(every):
            try:
                self.look()
                waiting.end()
            except (StorageUnavailable, OSError) as error:
                waiting.begin("retention waits for the disk: %s", error)
            except Exception:
                logger.exception("retention tries again later")
        self._shared.ledger.close()

    def look(self) -> None:
        """Removes what is old now, unless another process is at it.

        Raises StorageUnavailable, OSError.
        """
        # So that this process does not keep open what another has removed.
        self._shared.log.bytes_on_disk()
        claim = take(self._data_dir, "retention")
        if claim is None:
            return
        try:
            now = self._shared.clock()
            self._shared.ledger.tidy(int(now * 1000))
            self._report_damage(now)
            before = int((now - self._retention) * 1000)
            while ends := self._shared.log.expired(before):
                self._check_room()
                for destination in self._shared.ledger.destinations():
                    self._pass(destination, ends)
                if self._stopping.is_set():
                    return
                # A power cut must not undo what is known of events that are gone.
                self._shared.ledger.sync()
                self._shared.log.drop(ends)
        finally:
            claim.release()

    def _report_damage(self, now: float) -> None:
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            for damage in self._shared.log.damage():
                logger.error("%s: see Damage in docs/operations.md", damage)

    def _check_room(self) -> None:
        """Raises StorageUnavailable where dead letters leave no room for more."""
        if self._shared.ledger.bytes_on_disk() >= self._shared.log.max_disk:
            raise StorageUnavailable(
                "dead letters have reached max_disk; those that are no use can be "
                "dropped"
            )

    def _pass(self, destination: str, ends: dict[int, int]) -> None:
        """Moves a destination's offsets to where the log will begin."""
        expired, ledger = 0, self._shared.ledger
        for partition, end in ends.items():
            while not self._stopping.is_set():
                committed = ledger.committed(destination, partition)
                if committed is None or committed >= end:
                    break
                _, offset = ledger.offsets(destination)[partition]
                if offset == committed:
                    expired += self._pass_page(destination, partition, (offset, end))
                # What a dead process has delivered has not expired.
                elif not settle(ledger, self._data_dir, destination, partition):
                    # Its lane is alive, and about to commit.
                    self._stopping.wait(COMMIT_EVERY)
        if expired:
            what = "events are older than the retention, and were not delivered"
            logger.error("%s: %d %s", destination, expired, what)

    def _pass_page(
        self, destination: str, partition: int, span: tuple[int, int]
    ) -> int:
        """Moves the offset over the first page of the span; returns how far."""
        start, end = span
        records: Sequence[Record] = ()
        # What is in a damaged file counts as missing, like that of one that is gone.
        with suppress(Damaged):
            records = self._shared.log.read(partition, start, PAGE_RECORDS, PAGE_BYTES)
        page = [record for record in records if record.offset < end]
        reached = page[-1].offset + 1 if page else end
        counts = {
            (EXPIRED, EXPIRED): len(page),
            (EXPIRED, MISSING): reached - start - len(page),
        }
        now = int(self._shared.clock() * 1000)
        letters = [_letter(destination, record, now) for record in page]
        found = {key: number for key, number in counts.items() if number}
        try:
            self._shared.ledger.commit(
                destination, partition, (start, reached), found, letters
            )
        except Fenced:  # its lane was faster
            return 0
        return reached - start


def _letter(destination: str, record: Record, now: int) -> DeadLetter:
    return DeadLetter(
        destination=destination,
        partition=record.partition,
        offset=record.offset,
        source=record.source,
        message_id=record.message_id,
        code=EXPIRED,
        reason="was not delivered within the retention",
        problems=(),
        detail="",
        attempts=0,
        died_at=now,
        body=record.body,
    )
