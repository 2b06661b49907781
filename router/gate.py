"""When a lane may try: pauses, holds, and who probes a destination that is held.

A hold is kept in the ledger, so it counts in every process and after a restart.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from router.destination import PLUGIN_ERROR
from router.errors import Misconfigured, Retry, StorageUnavailable
from router.ledger import ALL_PARTITIONS, Hold, Ledger
from router.log import Log
from router.retry import Policy
from router.settings import DestinationSettings

logger = logging.getLogger("router.delivery")

# How soon a lane notices that another's probe has ended the hold, in seconds.
LOOK_AGAIN = 0.2
# Seconds before trying again what the disk has prevented.
STORAGE_PAUSE = 1.0

MISCONFIGURED, RETRY, RETRY_AFTER = "misconfigured", "retry", "retry_after"

# Holds that a person must see to. The others are a partner's moods, and are told of
# only when they last.
SERIOUS = (MISCONFIGURED, PLUGIN_ERROR)
LASTING_PROBES = 3

# Holds that something the operator did may have ended: a restart probes them at once.
MENDABLE = (MISCONFIGURED, PLUGIN_ERROR, RETRY)


class Stopped(Exception):
    """The lane was asked to stop while it waited."""


@dataclass(frozen=True)
class Surroundings:
    """What all lanes of a process share. clock: epoch seconds."""

    log: Log
    ledger: Ledger
    policy: Policy = field(default_factory=Policy)
    clock: Callable[[], float] = time.time

    def close(self) -> None:
        """Closes what this thread has open."""
        self.log.close()
        self.ledger.close()


class Gate:
    """The gate that one lane passes before each attempt."""

    def __init__(
        self,
        settings: DestinationSettings,
        partition: int,
        shared: Surroundings,
        stopping: threading.Event,
    ) -> None:
        self._name = settings.name
        self._partition = partition
        self._longest_call = settings.timeout
        self._ledger, self._policy = shared.ledger, shared.policy
        self._clock = shared.clock
        self._stopping = stopping
        self._bugs = 0

    def enter(self) -> list[Hold]:
        """Waits while the destination or the lane is held, unless it is our turn to
        probe; returns the holds that we probe, for `opened`. Raises Stopped."""
        while True:
            if self._stopping.is_set():
                raise Stopped
            holds = self._ledger.holds(self._name, self._partition)
            now = self._clock()
            until = now + self._longest_call + 1
            if all(hold.until <= now for hold in holds) and all(
                self._ledger.take_probe(self._name, hold, until) for hold in holds
            ):
                return [
                    replace(hold, until=until, probes=hold.probes + 1) for hold in holds
                ]
            self.pause(LOOK_AGAIN)

    def pause(self, seconds: float) -> None:
        """Waits; raises Stopped."""
        if self._stopping.wait(seconds):
            raise Stopped

    def opened(self, probed: Sequence[Hold]) -> None:
        """The partner has read a request and judged it: what we probed is over. A hold
        that has been renewed since is not."""
        self._bugs = 0
        for hold in probed:
            self.until_stored(
                partial(self._ledger.release, self._name, hold.partition, hold.until)
            )
            if hold.kind in SERIOUS or hold.probes >= LASTING_PROBES:
                logger.warning("%s: taken again, was held: %s", self._name, hold.kind)

    def misconfigured(self, error: Misconfigured) -> None:
        """Holds the destination until a probe is taken."""
        self._hold(MISCONFIGURED, error.reason, ALL_PARTITIONS)

    def retry(self, error: Retry) -> None:
        """Holds the lane, for longer each time; or all lanes, as the partner asks."""
        if error.after is None:
            self._hold(RETRY, error.reason, self._partition)
        else:
            after = self._policy.bounded(error.after)
            self._hold(RETRY_AFTER, error.reason, ALL_PARTITIONS, after)

    def tolerates_bug(self, reason: str) -> bool:
        """Whether a plugin's bug may cost an event. Not when it has hit every event for
        a while: then the lane is held, rather than drain the log."""
        self._bugs += 1
        is_held = self._known(PLUGIN_ERROR, self._partition) is not None
        if self._bugs <= self._policy.stall_after and not is_held:
            return True
        self._hold(PLUGIN_ERROR, reason, self._partition)
        return False

    def until_stored(self, store: Callable[[], object]) -> None:
        """Stores what has happened, and waits for a disk that is full: what was sent
        must not be sent again. Raises Stopped."""
        while True:
            try:
                store()
                return
            except StorageUnavailable as error:
                logger.error("%s: waits for the disk: %s", self._name, error)
                self.pause(STORAGE_PAUSE)

    def _known(self, kind: str, partition: int) -> Hold | None:
        holds = self._ledger.holds(self._name, self._partition)
        wanted = (kind, partition)
        return next((h for h in holds if (h.kind, h.partition) == wanted), None)

    def _hold(
        self, kind: str, reason: str, partition: int, after: float | None = None
    ) -> None:
        known = self._known(kind, partition)
        # Requests that were under way together fail together, and count as one.
        probes = known.probes if known else 0
        now = self._clock()
        until = now + (self._policy.delay(probes + 1) if after is None else after)
        self._ledger.hold(self._name, Hold(kind, reason, now, until, partition, probes))
        if kind in SERIOUS and known is None:
            logger.error("%s: held (%s): %s", self._name, kind, reason)
        elif kind not in SERIOUS and probes == LASTING_PROBES:
            logger.warning("%s: not taken for a while: %s", self._name, reason)
