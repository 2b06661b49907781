"""Sending a batch, until each of its deliveries is delivered or dead.

Outcomes are the plugin's; what they lead to is decided here, for every destination
alike: wait and send the same again, halve, hold, or give up.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from router.client import Session
from router.destination import DELIVERED, Destination
from router.errors import Misconfigured, Partial, Rejected, Retry, TooLarge
from router.gate import Gate, Surroundings, find_whole
from router.plugins import describe
from router.window import Batch


class Sender:
    """One stream of a lane: a client of its own, one request at a time."""

    def __init__(
        self,
        destination: Destination,
        gate: Gate,
        shared: Surroundings,
        check_place: Callable[[], None],
    ) -> None:
        self._destination, self._gate, self._shared = destination, gate, shared
        self._check_place = check_place
        self._client: Any = None

    def send(self, batch: Batch, settled: Callable[[], None]) -> None:
        """Settles every delivery of the batch, and calls settled each time that it has
        settled some; raises Stopped, and what check_place raises after a hold."""
        parts = [batch]
        while parts:
            part = parts.pop()
            error = self._send_part(part)
            is_judged = error is None or isinstance(error, Partial)
            if is_judged or len(part.deliveries) == 1:
                _settle(part, error)
                settled()
            else:
                parts.extend(reversed(part.split(error)))

    def close(self) -> None:
        """Closes the client, if it can be closed."""
        with suppress(Exception):
            self._client.close()

    def _send_part(self, part: Batch) -> BaseException | None:
        """None once all were taken, or why some cannot be, which is for good."""
        while True:
            probed = self._gate.enter()
            if probed:
                self._check_place()
            began = time.monotonic()
            try:
                if self._client is None:
                    self._client = self._destination.connect()
                part.attempts += 1
                answers = self._answers()
                self._destination.deliver(part.deliveries, self._client)
            except Retry as error:
                # A probe says nothing of the event: the partner fails altogether.
                if not find_whole(probed) and self._is_exhausted(part):
                    # The lane waited for this event; the next has its own chance.
                    self._gate.release(probed)
                    return error
                self._gate.retry(error, probed)
            except Misconfigured as error:
                self._gate.misconfigured(error)
            except (Rejected, Partial, TooLarge) as error:
                if answers is not None and answers == self._answers():
                    # The plugin's own rules refused it: the partner was not asked.
                    self._gate.unasked(probed)
                else:
                    self._gate.opened(probed, time.monotonic() - began)
                return error
            except BaseException as error:
                reason = describe(error)
                self._gate.bug(reason, probed)
                # A letter that fails again is kept: it drains nothing, and must not
                # hold up the events of the log.
                is_safe = len(part.deliveries) > 1 or part.deliveries[0].letter
                if is_safe or self._gate.tolerates_bug(reason):
                    return error
            else:
                self._gate.opened(probed, time.monotonic() - began)
                return None

    def _answers(self) -> int | None:
        """How many answers the partner has given; None where a plugin asks it by other
        means than our client."""
        is_ours = self._destination.uses_client and isinstance(self._client, Session)
        return self._client.answers if is_ours else None

    def _is_exhausted(self, part: Batch) -> bool:
        """Whether to give up: after many attempts and a long time, in which the
        destination took other events. An outage is never a reason."""
        now = self._shared.clock()
        part.failures += 1
        if part.failures == 1:
            part.since, part.taken = now, self._taken()
        # A letter had its time before, and is kept: its lane need not wait so long.
        is_letter = part.deliveries[0].letter is not None
        patience = 0 if is_letter else self._destination.settings.give_up_after
        return (
            part.failures >= self._shared.policy.give_up_attempts
            and now - part.since >= patience
            and self._taken() > part.taken
        )

    def _taken(self) -> int:
        name = self._destination.settings.name
        counts = self._shared.ledger.counts(name, replays=True)
        return counts[DELIVERED, DELIVERED]


def _settle(part: Batch, error: BaseException | None) -> None:
    """Says what became of each delivery of a part that is not sent again."""
    faults = error.rejected if isinstance(error, Partial) else None
    for index, delivery in enumerate(part.deliveries):
        fault = error if faults is None else faults.get(index)
        if fault is None:
            delivery.settle(DELIVERED, DELIVERED)
        else:
            delivery.fail(fault, part.attempts)
