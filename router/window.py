"""A lane's way through the log, in windows: the deliveries that are under way at once.
Through the letters that were put back to work it goes in the same way.

However long the backlog, one page of it and one window are in memory.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from router.destination import PLUGIN_ERROR, Delivery, Destination
from router.errors import Rejected, StorageUnavailable
from router.log import Record
from router.settings import DestinationSettings

PAGE_RECORDS = 1000
PAGE_BYTES = 256 * 1024

# A page of records from an offset on, in order; empty at the end.
Read = Callable[[int], Sequence[Record]]


@dataclass
class Batch:
    """Deliveries that go out in one request; size in bytes of their payloads.

    attempts: how often they were sent. failures: how often that was in vain, though the
    partner was well; since: epoch seconds of the first; taken: how many events the
    destination had taken by then.
    """

    deliveries: list[Delivery] = field(default_factory=list)
    size: int = 0
    attempts: int = 0
    failures: int = 0
    since: float = 0.0
    taken: int = 0

    def split(self, error: BaseException | None) -> list["Batch"]:
        """Smaller ones, in order: the guilty one alone if it is known, else halves."""
        many = len(self.deliveries)
        cuts = [many // 2]
        guilty = error.index if isinstance(error, Rejected) else None
        if guilty is not None and 0 <= guilty < many:
            cuts = [guilty, guilty + 1]
        bounds = pairwise([0, *cuts, many])
        pieces = [self.deliveries[start:end] for start, end in bounds]
        return [replace(self, deliveries=piece) for piece in pieces if piece]


class Window:
    """Deliveries in the order of the log; those with a payload also in batches, one
    for each stream of the destination, and all of a user in the same."""

    def __init__(self, settings: DestinationSettings) -> None:
        self.deliveries: list[Delivery] = []
        self.batches = [Batch() for _ in range(settings.concurrency)]
        self._events, self._bytes = settings.batch_events, settings.batch_bytes
        self._most = max(PAGE_RECORDS, self._events * settings.concurrency)
        self._batch_of: dict[str, Batch] = {}
        self._only = self.batches[0] if settings.concurrency == 1 else None

    @property
    def users(self) -> Collection[str]:
        """The user keys of those whose events are in its batches."""
        return {one.user for batch in self.batches for one in batch.deliveries}

    def takes(self, delivery: Delivery) -> bool:
        """Adds a delivery, unless the window has no room for it or has to end first."""
        if len(self.deliveries) >= self._most:
            return False
        if delivery.state is None:
            if not self._is_batched(delivery):
                return False
        elif delivery.code == PLUGIN_ERROR and self.deliveries:
            # What is before it goes out first: the lane may have to stall at it.
            return False
        self.deliveries.append(delivery)
        return True

    def _is_batched(self, delivery: Delivery) -> bool:
        batch = self._only or self._batch_of.get(delivery.user) or self._emptiest()
        # The byte is the comma that stands between two payloads.
        size = batch.size + delivery.size + 1
        is_full = len(batch.deliveries) >= self._events or size > self._bytes
        if is_full and batch.deliveries:
            return False
        if self._only is None:
            self._batch_of[delivery.user] = batch
        batch.deliveries.append(delivery)
        batch.size = size
        return True

    def _emptiest(self) -> Batch:
        return min(self.batches, key=lambda batch: len(batch.deliveries))


def windows(read: Read, destination: Destination, offset: int = 0) -> Iterator[Window]:
    """Everything from an offset to the end, prepared. Where the log has a gap, or
    cannot be read, a window ends."""
    window = Window(destination.settings)
    as_json = destination.settings.payloads_as_json
    try:
        while page := read(offset):
            for record in page:
                delivery = destination.prepare(record)
                delivery.let_go(payload=as_json)
                # Letters are far between.
                is_gap = record.offset > offset and not delivery.letter
                offset = record.offset + 1
                if (is_gap and window.deliveries) or not window.takes(delivery):
                    yield window
                    window = Window(destination.settings)
                    window.takes(delivery)
    except StorageUnavailable:
        if window.deliveries:
            yield window
        raise
    if window.deliveries:
        yield window
