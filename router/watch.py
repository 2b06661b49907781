"""Lanes that do not come back from their plugin: no thread can be stopped, but an
operator can be told.

Such a lane alone waits. It is noted as a hold, which ends when the lane goes on or,
after a restart, with the first event that is taken.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType

from router.gate import PLUGIN_BLOCKED, Surroundings
from router.lane import Lane
from router.ledger import Hold

logger = logging.getLogger("router.delivery")

# Modules that call hooks.
CALLERS = ("pluggy.", "router.destination")


class Watch:
    """Looks at the lanes of this process."""

    def __init__(self, shared: Surroundings) -> None:
        self._shared = shared
        self._blocked: dict[Lane, Hold] = {}

    def look(self, lanes: Iterable[Lane]) -> None:
        """Notes those that stand still, and forgets those that go on. Raises
        StorageUnavailable."""
        now, late = time.monotonic(), self._shared.policy.late
        blocked = {
            lane
            for lane in lanes
            if now - lane.moved_at > late * lane.destination.settings.timeout
        }
        for lane in blocked - self._blocked.keys():
            self._note(lane, now - lane.moved_at)
        for lane in self._blocked.keys() - blocked:
            if self._shared.ledger.release(self._blocked[lane]):
                logger.warning("%s: goes on, its plugin has returned", lane.name)
            del self._blocked[lane]

    def _note(self, lane: Lane, seconds: float) -> None:
        reason = f"has not returned for {seconds:.0f} s: {_place(lane.name)}"
        logger.error("%s: held (%s): %s", lane.name, PLUGIN_BLOCKED, reason)
        name, now = lane.destination.name, self._shared.clock()
        since = now - seconds
        hold = Hold(PLUGIN_BLOCKED, reason, since, now, lane.partition, account=name)
        self._shared.ledger.hold(name, hold)
        self._blocked[lane] = hold


def _place(name: str) -> str:
    """Where the threads of a lane are: the lines of their hooks."""
    frames = sys._current_frames()
    threads = (one.ident or 0 for one in threading.enumerate() if one.name == name)
    return ", ".join(_line(frames[one]) for one in threads if one in frames)


def _line(frame: FrameType) -> str:
    """Of a stack, the line of the hook that was called; else the last."""
    found, caller = frame, frame.f_back
    while caller and not caller.f_globals["__name__"].startswith(CALLERS):
        found, caller = caller, caller.f_back
    here = found if caller else frame
    return f"{here.f_code.co_filename}:{here.f_lineno}"
