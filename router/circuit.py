"""Whether a destination as a whole is failing, from the last calls of this process.

What follows is the gate's: the destination is held, and one call at a time probes.
"""

import threading
from collections import deque

from router.retry import Policy


class Circuit:
    """The last calls to one destination, of all its lanes in this process.

    A failure that one event has again and again is no evidence, as it may be the
    event's own fault: two lanes at least must fail.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._calls: deque[tuple[int, bool]] = deque(maxlen=policy.circuit_sample)
        self._lock = threading.Lock()

    def add(self, partition: int, *, is_failing: bool) -> bool:
        """Notes how a call of a lane ended. True when the circuit is to open; then
        what was noted is forgotten, so that this is said once."""
        with self._lock:
            self._calls.append((partition, is_failing))
            failing = [lane for lane, failed in self._calls if failed]
            is_open = (
                len(self._calls) >= self._policy.circuit_calls
                and len(failing) >= self._policy.circuit_share * len(self._calls)
                and len(set(failing)) > 1
            )
            if is_open:
                self._calls.clear()
            return is_open

    def forget(self) -> None:
        """Forgets the calls from before the destination was held."""
        with self._lock:
            self._calls.clear()
