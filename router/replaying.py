"""Sending a replay's events again: which there are, and the lanes that do it.

They run beside the destination's own lanes, in the same way, and no faster than the
replay's rate. What comes of them is the replay's; only dead letters, and what the
destination as a whole waits for, are the destination's.
"""

import heapq
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from router.claims import Claim
from router.destination import SKIPPED, Delivery, Destination
from router.gate import Surroundings
from router.lane import Lane
from router.log import Log, Record
from router.replays import Choice, Replay
from router.window import PAGE_BYTES, PAGE_RECORDS, Window, windows

SAMPLES = 5

# Events a second that a lane looks at, most of which may be none to replay: the live
# lanes and requests need the processor.
LOOKED_AT = 5000.0

# The code of what lies in the range of the log, and is none of the events to replay.
NOT_CHOSEN = "not_chosen"


@dataclass(frozen=True)
class Chosen:
    """The events that a replay would be of: how many, for each partition from where to
    where, and some of them."""

    count: int
    spans: Mapping[int, tuple[int, int]]
    samples: Sequence[Record]


class Replayed(Destination):
    """A destination as a replay's lanes see it.

    spans: for each partition that is still to be done, where it is and where it ends.
    """

    def __init__(
        self,
        destination: Destination,
        replay: Replay,
        spans: Mapping[int, tuple[int, int]],
    ) -> None:
        vars(self).update(vars(destination))
        self.name = replay.account
        self.replay = replay
        self.spans = spans
        # No more at once than in a second, of all lanes.
        most = max(1, int(replay.rate / len(spans)))
        batch = min(self.settings.batch_events, most)
        self.settings = self.settings.model_copy(update={"batch_events": batch})

    def prepare(self, record: Record) -> Delivery:
        if self.replay.takes(record):
            return super().prepare(record)
        delivery = Delivery(record)
        delivery.settle(SKIPPED, NOT_CHOSEN)
        return delivery


class ReplayLane(Lane):
    """A lane of a replay: it has an end, and takes its time."""

    def __init__(
        self, replayed: Replayed, partition: int, claim: Claim, shared: Surroundings
    ) -> None:
        super().__init__(replayed, partition, claim, shared)
        self._replayed, self._replay = replayed, replayed.replay.id
        self._end = replayed.spans[partition][1]
        self._due = time.monotonic()

    @property
    def replay(self) -> int:
        """The id of its replay."""
        return self._replay

    def _work(self) -> None:
        offset = self._progress.offset
        for window in windows(self._read_log, self.destination, offset):
            self._gate.pause(max(0.0, self._due - time.monotonic()))
            self._due = max(self._due, time.monotonic()) + self._seconds(window)
            if self._stopping.is_set() or not self._pass(window):
                return
        self._pass_gap(self._end)
        self._stopping.set()

    def _seconds(self, window: Window) -> float:
        """For how long a window has to do."""
        sent = sum(len(batch.deliveries) for batch in window.batches)
        lanes = max(1, len(self._replayed.spans))
        looked_at = len(window.deliveries) / LOOKED_AT
        return max(looked_at, sent * lanes / self._replayed.replay.rate)

    def _read_log(self, offset: int) -> Sequence[Record]:
        return [one for one in super()._read_log(offset) if one.offset < self._end]


def choose(
    log: Log,
    choice: Choice,
    ends: Mapping[int, int],
    passed: Callable[[int], None] = lambda _: None,
) -> Chosen:
    """Looks for the events of a choice in the log, before these offsets; passed is told
    of how many offsets were looked at. Raises StorageUnavailable."""
    count = 0
    spans: dict[int, tuple[int, int]] = {}

    def found() -> Iterator[Record]:
        nonlocal count
        for record in _records(log, choice.since, ends, passed):
            if choice.takes(record):
                count += 1
                start, _ = spans.get(record.partition, (record.offset, 0))
                spans[record.partition] = start, record.offset + 1
                yield record

    # Any of them, but the same ones when asked again.
    samples = heapq.nsmallest(SAMPLES, found(), key=lambda one: zlib.crc32(one.body))
    samples.sort(key=lambda one: one.received_at)
    return Chosen(count, spans, samples)


def _records(
    log: Log, since: int, ends: Mapping[int, int], passed: Callable[[int], None]
) -> Iterator[Record]:
    starts = log.starts_of(since)
    for partition, end in ends.items():
        offset = starts.get(partition, 0)
        while offset < end:
            page = log.read(partition, offset, PAGE_RECORDS, PAGE_BYTES)
            yield from (record for record in page if record.offset < end)
            reached = min(end, page[-1].offset + 1) if page else end
            passed(reached - offset)
            offset = reached
