"""A lane's way through the log: pages of records, made into windows of deliveries.

However long the backlog, one page and one window are in memory.
"""

from collections import deque
from collections.abc import Sequence

from router.destination import PLUGIN_ERROR, Delivery, Destination
from router.log import Log, Record
from router.settings import DestinationSettings

PAGE_RECORDS = 1000
PAGE_BYTES = 256 * 1024


class Reader:
    """Reads a partition from an offset on, for one destination."""

    def __init__(
        self, offset: int, partition: int, log: Log, destination: Destination
    ) -> None:
        self._offset, self._partition = offset, partition
        self._log, self._destination = log, destination
        settings = destination.settings
        self._events = settings.batch_events * settings.concurrency
        self._bytes = settings.batch_bytes * settings.concurrency
        self._page: deque[Record] = deque()
        self._left_over: Delivery | None = None

    def next_window(self) -> list[Delivery]:
        """Deliveries up to one full batch for each stream, with what is skipped or
        dead between them; empty at the end of the log."""
        window: list[Delivery] = []
        events, size = 0, 0
        while events < self._events and len(window) < max(PAGE_RECORDS, self._events):
            delivery = self._next()
            if delivery is None:
                break
            if delivery.code == PLUGIN_ERROR and window:
                # What is before it goes out first: the lane may have to stall at it.
                self._left_over = delivery
                break
            if delivery.state is None:
                # The byte is the comma that stands between two payloads.
                size += delivery.size + 1
                if events and size > self._bytes:
                    self._left_over = delivery
                    break
                events += 1
            window.append(delivery)
        return window

    def _next(self) -> Delivery | None:
        if self._left_over is not None:
            delivery, self._left_over = self._left_over, None
            return delivery
        if not self._page:
            start = (self._partition, self._offset)
            self._page.extend(self._log.read(*start, PAGE_RECORDS, PAGE_BYTES))
        if not self._page:
            return None
        record = self._page.popleft()
        self._offset = record.offset + 1
        return self._destination.prepare(record)


def batches(
    deliveries: Sequence[Delivery], settings: DestinationSettings
) -> list[list[Delivery]]:
    """The deliveries of one stream, cut by the destination's limits, in order."""
    cut: list[list[Delivery]] = []
    size = 0
    for delivery in deliveries:
        size += delivery.size + 1
        is_full = bool(cut) and len(cut[-1]) >= settings.batch_events
        if not cut or is_full or size > settings.batch_bytes:
            cut.append([])
            size = delivery.size + 1
        cut[-1].append(delivery)
    return cut
