"""When a lane may try: pauses, holds, and who probes a destination that is held.

A hold is kept in the ledger, so it counts in every process and after a restart.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from router.circuit import Circuit
from router.destination import PLUGIN_ERROR, Destination
from router.episodes import Episode
from router.errors import CannotConnect, Misconfigured, Retry, StorageUnavailable
from router.ledger import ALL_PARTITIONS, Hold, Ledger
from router.log import Log
from router.retry import LONGEST_RETRY_AFTER, Policy

logger = logging.getLogger("router.delivery")

# How soon a lane notices that another's probe has ended the hold, in seconds.
LOOK_AGAIN = 0.2
# A lane that has probed in vain leaves the next probe to the others for so long, as it
# may have failed by its own event.
PASS_ON = 3 * LOOK_AGAIN
# Seconds before trying again what the disk has prevented.
STORAGE_PAUSE = 1.0

# The lane waits for its own event; its partner has asked for time, or fails altogether.
RETRY, RETRY_AFTER, CIRCUIT = "retry", "retry_after", "circuit_open"
MISCONFIGURED = "misconfigured"
PLUGIN_BLOCKED = "plugin_blocked"

# What an operator can do about a hold.
REMEDIES = {
    RETRY: "none needed: it is sent again",
    RETRY_AFTER: "none needed: it is sent again when the partner wishes",
    CIRCUIT: "none needed: the partner is probed until it takes events again",
    MISCONFIGURED: "mend its address or credentials in conf.d, and restart",
    PLUGIN_ERROR: "mend its plugin, at the line that the reason or the tracebacks of "
    "its dead letters name, and restart",
    PLUGIN_BLOCKED: "mend its plugin, and restart; the router cannot interrupt it",
}

# Holds that a person must see to. The others are a partner's moods, and are told of
# only when they last.
SERIOUS = (MISCONFIGURED, PLUGIN_ERROR, PLUGIN_BLOCKED)
LASTING_PROBES = 3

# Holds that something the operator did may have ended: a restart probes them at once.
MENDABLE = (*SERIOUS, RETRY, CIRCUIT)


# What stands before the reason of a probe that does not change what is to be done.
LAST_PROBE = "; last probe: "


class Stopped(Exception):
    """The lane was asked to stop while it waited."""


@dataclass(frozen=True)
class Surroundings:
    """What all lanes of a process share. clock: epoch seconds. wait: for an event, or
    for so many seconds; whether it has come. thread: makes one for a stream."""

    log: Log
    ledger: Ledger
    policy: Policy = field(default_factory=Policy)
    clock: Callable[[], float] = time.time
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    thread: Callable[..., threading.Thread] = threading.Thread
    _circuits: dict[str, Circuit] = field(default_factory=dict, init=False)

    def circuit(self, destination: str) -> Circuit:
        """The circuit that all lanes of a destination share."""
        return self._circuits.setdefault(destination, Circuit(self.policy))

    def close(self) -> None:
        """Closes what this thread has open, and the log for the whole process."""
        self.log.close()
        self.ledger.close()


class Gate:
    """The gate that one lane passes before each attempt."""

    def __init__(
        self,
        destination: Destination,
        partition: int,
        shared: Surroundings,
        stopping: threading.Event,
    ) -> None:
        # A replay's lane has its own waits, and those of the destination.
        self._name, self._account = destination.settings.name, destination.name
        self._partition = partition
        self._longest_call = destination.settings.timeout
        self._ledger, self._policy = shared.ledger, shared.policy
        self._longest_wait = max(
            self._policy.longest, LONGEST_RETRY_AFTER, self._longest_call + 1
        )
        self._clock, self._wait = shared.clock, shared.wait
        self._stopping = stopping
        self._circuit = shared.circuit(self._name)
        self.moved_at = time.monotonic()
        self._bugs = 0
        self._left_to_others: float | None = None

    def enter(self) -> list[Hold]:
        """Waits while the destination or the lane is held, unless it is our turn to
        probe; returns the holds that we probe. Raises Stopped."""
        while True:
            self.moved()
            if self._stopping.is_set():
                raise Stopped
            if self._ledger.is_quiet(self._name, self._account):
                return []
            holds = self._holds()
            if find_whole(holds):
                self._circuit.forget()
            now = self._clock()
            until = now + self._longest_call + 1
            if all(self._is_due(hold, now) for hold in holds) and all(
                self._ledger.take_probe(hold, until) for hold in holds
            ):
                return [
                    replace(hold, until=until, probes=hold.probes + 1) for hold in holds
                ]
            self.pause(LOOK_AGAIN)

    def _is_due(self, hold: Hold, now: float) -> bool:
        """Whether to probe; at first not if the last probe was ours, and in vain."""
        if hold.until > now + self._longest_wait:
            # Only a clock that was set back makes it seem so long.
            return True
        return hold.until + PASS_ON * (hold.until == self._left_to_others) <= now

    def moved(self, seconds: float = 0.0) -> None:
        """Notes that the lane moves, or will after these seconds: its plugin has not
        blocked it."""
        self.moved_at = time.monotonic() + seconds

    def pause(self, seconds: float) -> None:
        """Waits; raises Stopped."""
        self.moved(seconds)
        if self._wait(self._stopping, seconds):
            raise Stopped

    def opened(self, probed: Sequence[Hold], seconds: float) -> None:
        """The partner has read a request and judged it, within these seconds: what we
        probed is over. A hold that has been renewed since is not."""
        self._bugs = 0
        if seconds < self._policy.slow * self._longest_call:
            self._circuit.add(self._partition, is_failing=False)
            self.release(probed)
            return
        reason = f"slow: {seconds:.1f} s of {self._longest_call:g} s"
        self.release([hold for hold in probed if hold.kind != CIRCUIT])
        whole = find_whole(probed)
        if whole is None:
            self._failed(reason)
        elif whole.kind == CIRCUIT:
            # It takes one at a time, though slowly: the next need not wait.
            still = replace(whole, reason=reason, until=self._clock(), probes=0)
            self.until_stored(partial(self._ledger.hold, self._name, still))

    def unasked(self, probed: Sequence[Hold]) -> None:
        """The plugin refused it by itself, which says nothing of the partner: a hold of
        the whole destination goes on, and the next may probe. What our lane alone
        waited for was that event, or a bug, and is over."""
        self._bugs = 0
        whole = find_whole(probed)
        self.release([hold for hold in probed if hold is not whole])
        if whole:
            put_back = partial(self._ledger.return_probe, whole, self._clock())
            self.until_stored(put_back)

    def release(self, probed: Sequence[Hold]) -> None:
        """Ends holds that we probed, unless they were renewed since."""
        for hold in probed:
            if not self.until_stored(partial(self._ledger.release, hold)):
                continue
            if hold.kind == CIRCUIT:
                logger.warning("%s: circuit closed: taken again", self._name)
            elif hold.kind in SERIOUS or hold.probes >= LASTING_PROBES:
                logger.warning("%s: taken again, was held: %s", self._name, hold.kind)

    def misconfigured(self, error: Misconfigured) -> None:
        """Holds the destination until a probe is taken."""
        kind = PLUGIN_ERROR if isinstance(error, CannotConnect) else MISCONFIGURED
        self._hold(kind, error.reason, ALL_PARTITIONS)

    def retry(self, error: Retry, probed: Sequence[Hold]) -> None:
        """Holds all lanes, as the partner asks or its circuit is open; else this one.
        Each time for longer, unless the partner says how long."""
        whole = find_whole(self._holds())
        is_probe = find_whole(probed) is not None
        if is_probe:
            self._wait_no_more(probed)
        wrong = whole if whole and whole.kind == MISCONFIGURED else None
        if wrong and not is_probe:
            # It was under way when the destination was found to be wrong.
            return
        if error.after is not None and error.after > 0:
            if wrong:
                # Who asks for time has found address and credentials right.
                said = (self._name, MISCONFIGURED, error.reason)
                logger.warning("%s: no longer held (%s): %s", *said)
            after = self._policy.bounded(error.after)
            self._hold(RETRY_AFTER, error.reason, ALL_PARTITIONS, after)
        elif wrong:
            # It is not known to be mended, so the remedy stays the same.
            reason = wrong.reason.partition(LAST_PROBE)[0] + LAST_PROBE + error.reason
            self._hold(MISCONFIGURED, reason, ALL_PARTITIONS)
        elif whole is None:
            self._hold(RETRY, error.reason, self._partition)
            self._failed(error.reason)
        elif is_probe:
            self._hold(CIRCUIT, error.reason, ALL_PARTITIONS)

    def _failed(self, reason: str) -> None:
        """Opens the circuit when it is time."""
        if self._circuit.add(self._partition, is_failing=True):
            why = (self._name, reason)
            logger.warning("%s: circuit open, one call at a time: %s", *why)
            self.until_stored(partial(self._open_circuit, reason))

    def _open_circuit(self, reason: str) -> None:
        self._hold(CIRCUIT, reason, ALL_PARTITIONS)
        self._wait_no_more(self._ledger.holds(self._name))

    def _wait_no_more(self, holds: Sequence[Hold]) -> None:
        """Ends what lanes wait for by themselves, when all wait together."""
        for hold in holds:
            if hold.kind == RETRY:
                self._ledger.release(hold)

    def bug(self, reason: str, probed: Sequence[Hold]) -> None:
        """The plugin has raised what is no outcome. Where it was to probe the whole
        destination, that is why it waits now, whatever was before."""
        if find_whole(probed):
            self._hold(PLUGIN_ERROR, reason, ALL_PARTITIONS)

    @property
    def is_stalled(self) -> bool:
        """Whether the lane is held for bugs of its plugin."""
        return self._known(PLUGIN_ERROR, self._partition) is not None

    def tolerates_bug(self, reason: str) -> bool:
        """Whether a plugin's bug may cost an event. Not when it has hit every event for
        a while: then the lane is held, rather than drain the log."""
        self._bugs += 1
        if self._bugs <= self._policy.stall_after and not self.is_stalled:
            return True
        self._hold(PLUGIN_ERROR, reason, self._partition)
        return False

    def until_stored(self, store: Callable[[], Any]) -> Any:
        """Stores what has happened, and waits for a disk that is full: what was sent
        must not be sent again. Raises Stopped."""
        waiting = Episode(logger, f"{self._name}: the disk is back")
        while True:
            try:
                stored = store()
            except StorageUnavailable as error:
                waiting.begin("%s: waits for the disk: %s", self._name, error)
                self.pause(STORAGE_PAUSE)
            else:
                waiting.end()
                return stored

    def _holds(self) -> list[Hold]:
        return self._ledger.holds(self._name, self._partition, self._account)

    def _known(self, kind: str, partition: int) -> Hold | None:
        holds = self._holds()
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
        if partition == ALL_PARTITIONS:
            self._left_to_others = until
        whose = self._name if partition == ALL_PARTITIONS else self._account
        self._ledger.hold(whose, Hold(kind, reason, now, until, partition, probes))
        if kind in SERIOUS and known is None:
            logger.error("%s: held (%s): %s", self._name, kind, reason)
        elif kind in (RETRY, RETRY_AFTER) and probes == LASTING_PROBES:
            logger.warning("%s: not taken for a while: %s", self._name, reason)


def find_whole(holds: Sequence[Hold]) -> Hold | None:
    """The hold of the whole destination, if it is one of these."""
    return next((hold for hold in holds if hold.partition == ALL_PARTITIONS), None)
