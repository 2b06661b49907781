"""How many events a second each source may send, over all processes."""

import logging
import os
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from router.store import locked

# Seconds' worth of its limit that a source which was quiet may send at once.
BURST = 2.0

# Seconds that a source may be in debt, at most: no SDK waits longer. An instant further
# off is of a clock that began anew, with its machine.
LONGEST_DEBT = 300.0

INSTANT = struct.Struct("d")

logger = logging.getLogger("router.http")


class Limits:
    """The generic cell rate algorithm: for each source the instant at which all that it
    sent would have come in, had it kept to its limit.

    That instant is in a file, behind its lock, so it is one for all processes. clock:
    seconds, the same in all of them.
    """

    def __init__(
        self,
        directory: Path,
        limits: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._limits, self._clock = directory, limits, clock
        self._is_failing = False

    def wait(self, source: str, number: int) -> float | None:
        """The seconds that a source must wait before it sends, or None; then its events
        are charged. More than the burst may come at once, and is made up for later.
        """
        limit = self._limits.get(source)
        if limit is None:
            return None
        try:
            seconds = self._charge(source, number, limit)
        except OSError as error:
            # If it is the disk the log will refuse the events.
            if not self._is_failing:
                logger.error("the rate limit of %s is not in force: %s", source, error)
            self._is_failing = True
            return None
        self._is_failing = False
        return seconds

    def _charge(self, source: str, number: int, limit: float) -> float | None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._directory / source) as file:
            now = self._clock()
            data = os.pread(file, INSTANT.size, 0)
            due = INSTANT.unpack(data)[0] if len(data) == INSTANT.size else now
            due = max(now, due) if due <= now + LONGEST_DEBT else now
            if due - now > BURST:
                return due - now - BURST
            due = min(due + number / limit, now + LONGEST_DEBT)
            os.pwrite(file, INSTANT.pack(due), 0)
            return None
