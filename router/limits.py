"""How many events a second each source may send, over all processes."""

import logging
import os
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from router.episodes import Episode
from router.store import locked

# Seconds' worth of its limit that a source which was quiet may send at once.
BURST = 2.0

# When a source was last seen, and how many seconds it was ahead of its limit then. The
# instant at which it is even would not do: the clock begins anew with its machine.
STATE = struct.Struct("dd")

logger = logging.getLogger("router.http")


class Limits:
    """The generic cell rate algorithm: an event puts its source 1 / limit seconds
    ahead, and who is further ahead than a burst must wait.

    How far that is stands in a file, behind its lock, so it is one for all processes.
    clock: seconds, the same in all of them.
    """

    def __init__(
        self,
        directory: Path,
        limits: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._limits, self._clock = directory, limits, clock
        self._failing = Episode(logger, "rate limits are in force again")

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
            self._failing.begin(
                "the rate limit of %s is not in force: %s", source, error
            )
            return None
        self._failing.end()
        return seconds

    def _charge(self, source: str, number: int, limit: float) -> float | None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._directory / source) as file:
            now = self._clock()
            data = os.pread(file, STATE.size, 0)
            seen, ahead = STATE.unpack(data) if len(data) == STATE.size else (now, 0.0)
            ahead = max(0.0, ahead - max(0.0, now - seen))
            seconds = ahead - BURST
            if seconds <= 0:
                ahead += number / limit
            os.pwrite(file, STATE.pack(now, ahead), 0)
        return seconds if seconds > 0 else None
