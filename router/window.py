"""The deliveries that a lane has under way, and how far they are settled."""

import threading
from collections.abc import Callable, Sequence

from router.destination import Delivery


class Window:
    """Deliveries in the order of the log, settled in any order by several threads.

    commit is called, by one thread at a time, with those that are settled and have no
    unsettled one before them.
    """

    def __init__(
        self,
        deliveries: Sequence[Delivery],
        commit: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self.pending = [one for one in deliveries if one.state is None]
        self._offsets = [one.record.offset for one in deliveries]
        self._commit = commit
        self._settled: dict[int, Delivery] = {}
        self._lock = threading.Lock()
        self.settle([one for one in deliveries if one.state is not None])

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Takes deliveries that are delivered, skipped or dead."""
        with self._lock:
            self._settled.update((one.record.offset, one) for one in deliveries)
            ready = 0
            while ready < len(self._offsets) and self._offsets[ready] in self._settled:
                ready += 1
            if ready:
                self._commit([self._settled.pop(n) for n in self._offsets[:ready]])
                del self._offsets[:ready]
