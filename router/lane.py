"""A lane: one destination reading one partition, strictly in order.

    read a window of the log, prepared -> send what has a payload -> commit

Letters that were put back to work go the same way, a window of them before each of the
log; and before an event of the log all letters of its user.

A window holds what may be under way at once: a batch for each of the destination's
`concurrency` streams. A user's events are all in one batch, in order, so that none
overtakes another.
"""

import logging
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import attrgetter

from router.claims import Claim
from router.destination import DEAD, PLUGIN_ERROR, Delivery, Destination
from router.episodes import Episode
from router.errors import StorageUnavailable
from router.gate import Gate, Stopped, Surroundings
from router.ledger import Fenced
from router.letters import EXPIRED, MISSING, DeadLetter
from router.log import Record
from router.progress import Progress
from router.sending import Sender
from router.window import PAGE_BYTES, PAGE_RECORDS, Batch, Window, windows

logger = logging.getLogger("router.delivery")

# What became of a delivery.
BECAME = attrgetter("state", "code")

# Seconds before a lane tries again what the disk, or a bug, has prevented.
PAUSE = 1.0
# Seconds between two looks at the log, for what was appended by a process that died
# before it could ring.
LOOK_EVERY = 1.0


class Lane(threading.Thread):
    """Runs until stopped; then ends the requests under way, commits and lets go."""

    def __init__(
        self,
        destination: Destination,
        partition: int,
        claim: Claim,
        shared: Surroundings,
    ) -> None:
        super().__init__(name=f"{destination.name}/{partition}", daemon=True)
        self.destination, self.partition = destination, partition
        self._claim, self._shared = claim, shared
        self._grown = threading.Event()
        self._stopping = threading.Event()
        self._waiting = Episode(logger, f"{self.name}: the disk is back")
        self._replay = 0
        self._window: list[Delivery] = []
        self._progress_lock = threading.Lock()
        name = destination.name
        self._progress = Progress(shared.ledger, name, partition, claim, shared.clock)
        self._gate = Gate(destination, partition, shared, self._stopping)
        streams = range(destination.settings.concurrency)
        self._senders = [
            Sender(destination, self._gate, shared, self._check_place) for _ in streams
        ]

    @property
    def moved_at(self) -> float:
        """When it was last seen to move, in monotonic seconds."""
        return self._gate.moved_at

    def wake(self) -> None:
        """Says that the partition has grown."""
        self._grown.set()

    def stop(self) -> None:
        """Asks the lane to end after the requests that are under way."""
        self._stopping.set()
        self._grown.set()

    def commit(self) -> None:
        """Brings the ledger to where the lane is, unless the lane is about to; raises
        StorageUnavailable, Fenced. For another thread: the lane may have to wait."""
        if self._progress_lock.acquire(blocking=False):
            try:
                self._progress.commit()
            finally:
                self._progress_lock.release()

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._run_from_place()
            # What cannot be committed is noted at the claim, for who has it next.
            with suppress(StorageUnavailable, Fenced):
                self.commit()
        finally:
            for sender in self._senders:
                sender.close()
            self._shared.ledger.close()
            self._claim.release()

    def _run_from_place(self) -> None:
        """Works from where the lane was on, until something is wrong."""
        try:
            with self._progress_lock:
                self._progress.resume()
            self._work()
        except Stopped:
            return
        except Fenced as error:
            # What is before its new place has expired, or is another process's.
            logger.warning("%s: starts anew: %s", self.name, error)
            self._stopping.set()
        except StorageUnavailable as error:
            self._waiting.begin("%s: waits for the disk: %s", self.name, error)
            self._pause()
        except Exception:
            logger.exception("%s: starts again from where it was", self.name)
            self._pause()

    def _pause(self) -> None:
        self._gate.moved(PAUSE)
        self._shared.wait(self._stopping, PAUSE)

    def _work(self) -> None:
        while not self._stopping.is_set():
            offset = self._progress.offset
            for window in windows(self._read_log, self.destination, offset):
                if self._retry():
                    while self._retry(window.users):
                        pass
                if self._stopping.is_set() or not self._pass(window):
                    return
            if not self._retry():
                self.commit()
                self._waiting.end()
                self._gate.moved(LOOK_EVERY)
                self._shared.wait(self._grown, LOOK_EVERY)
                self._grown.clear()

    def _pass(self, window: Window) -> bool:
        """Sends what is next in the log; false where the lane has to begin anew."""
        self._pass_gap(window.deliveries[0].record.offset)
        if self._must_stall(window.deliveries[0]):
            self._gate.enter()
            return False
        self._send(window)
        return True

    def _pass_gap(self, offset: int) -> None:
        """Counts what should be before that offset, and is not in the log."""
        missing = offset - self._progress.offset
        if missing:
            with self._progress_lock:
                self._progress.passed(offset, {(EXPIRED, MISSING): missing})
                self._progress.commit()
            logger.error("%s: %d events are missing in the log", self.name, missing)

    def _check_place(self) -> None:
        """Raises Fenced if what the lane is at has expired while it waited."""
        with self._progress_lock:
            self._progress.check()

    def _retry(self, users: Collection[str] | None = None) -> bool:
        """Sends a window of what was put back to work, of these users or of all; tells
        whether there was any.

        It is between two windows of the log, so that nothing of the same users is under
        way. What is put back meanwhile may belong before the rest, which is read anew.
        """
        name = self.destination.name
        if self._shared.ledger.is_quiet(self.destination.settings.name, name):
            return False
        read = partial(self._read_letters, users)
        window = next(windows(read, self.destination), None)
        if window is not None:
            self._send(window)
        return window is not None

    def _read_log(self, offset: int) -> Sequence[Record]:
        return self._shared.log.read(self.partition, offset, PAGE_RECORDS, PAGE_BYTES)

    def _read_letters(
        self, users: Collection[str] | None, offset: int
    ) -> Sequence[Record]:
        settings = self.destination.settings
        most = settings.batch_events * settings.concurrency
        lane = (self.destination.name, self.partition)
        return self._shared.ledger.letters.retrying(
            *lane, offset, most, PAGE_BYTES, users
        )

    def _must_stall(self, delivery: Delivery) -> bool:
        """A bug in a mapping costs its own event, but not every event."""
        if delivery.code != PLUGIN_ERROR:
            return False
        if self._gate.is_stalled and self._maps_others(delivery.record.offset):
            # No probe of the partner comes of it, so it would be in the way for ever.
            return False
        return not self._gate.tolerates_bug(delivery.reason)

    def _maps_others(self, offset: int) -> bool:
        """Whether the plugin maps an event from an offset on, before it has failed at
        more than it may in a row."""
        left = self._shared.policy.stall_after
        for record in self._read_log(offset):
            delivery = self.destination.prepare(record)
            left -= delivery.code == PLUGIN_ERROR
            if delivery.state is None or left < 0:
                return delivery.state is None
        return False

    def _send(self, window: Window) -> None:
        """Sends the batches of the window at once: the first in this thread, each of
        the others in one of its own."""
        errors: list[BaseException] = []

        def send(sender: Sender, batch: Batch) -> None:
            try:
                sender.send(batch, self._commit)
            except BaseException as error:
                errors.append(error)

        self._window = window.deliveries
        self._commit()
        pairs = zip(self._senders, window.batches, strict=True)
        pairs_in_use = [pair for pair in pairs if pair[1].deliveries]
        begin = partial(self._shared.thread, target=send, name=self.name, daemon=True)
        threads = [begin(args=pair) for pair in pairs_in_use[1:]]
        for thread in threads:
            thread.start()
        for pair in pairs_in_use[:1]:
            send(*pair)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _commit(self) -> None:
        """Commits what is settled and has nothing before it that is not; waits for a
        disk that is full, as what was sent is sent."""
        self._gate.moved()
        with self._progress_lock:
            pending = (n for n, one in enumerate(self._window) if not one.state)
            settled = self._window[: next(pending, None)]
            if not settled:
                return
            now = int(self._shared.clock() * 1000)
            self._gate.until_stored(partial(self._store, settled, now))
            del self._window[: len(settled)]
        self._waiting.end()
        if dead := [one for one in settled if one.state == DEAD]:
            codes = ", ".join(sorted({one.code for one in dead}))
            logger.warning("%s: %d dead letters (%s)", self.name, len(dead), codes)

    def _store(self, settled: Sequence[Delivery], now: int) -> None:
        """Stores what became of events of the log, or of letters that were retried."""
        if settled[0].letter:  # then all are
            retried = [_again(one.letter, one, now) for one in settled if one.letter]
            self._shared.ledger.letters.settle(retried, now)
            return
        end = settled[-1].record.offset + 1
        # Some are noted, where that was not committed and another stream goes on.
        new = [one for one in settled if one.record.offset >= self._progress.offset]
        counts = Counter(map(BECAME, new))
        dead = [self._letter(one, now) for one in new if one.state == DEAD]
        self._progress.passed(end, counts, dead)

    def _letter(self, dead: Delivery, now: int) -> DeadLetter:
        record = dead.record
        return DeadLetter(
            self.destination.settings.name, record.partition, record.offset,
            record.source, record.message_id, dead.code, dead.reason, dead.problems,
            dead.detail, dead.attempts, now, record.body, replay=self._replay,
        )  # fmt: skip


def _again(letter: DeadLetter, retried: Delivery, now: int) -> DeadLetter:
    """The letter after it was tried again: dead again, or done with."""
    is_dead = retried.state == DEAD
    return replace(
        letter,
        state=str(retried.state), code=retried.code, reason=retried.reason,
        problems=retried.problems, detail=retried.detail,
        attempts=letter.attempts + retried.attempts,
        died_at=now if is_dead else letter.died_at, closed_at=None if is_dead else now,
    )  # fmt: skip
