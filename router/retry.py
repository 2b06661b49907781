"""When to try again: pure functions of what was answered and how often."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

# A partner that asks for longer is asked again after this long all the same.
LONGEST_RETRY_AFTER = 15 * 60.0


@dataclass(frozen=True)
class Policy:
    """How lanes wait; all times in seconds.

    first, longest: the ceiling of the first wait, and of all of them. A wait is drawn
    evenly between nothing and a ceiling that doubles ("full jitter", from the AWS
    Architecture Blog), but is never under `least`.
    give_up_attempts: an event is never given up before so many attempts.
    stall_after: so many bugs in a row stall a lane rather than drain it.
    circuit_calls, circuit_share, circuit_sample: the circuit opens when this share of
    at least so many calls has failed, of the last so many. (Half is resilience4j's
    default; 10 calls are Convoy's.)
    slow: a call that took this share of its timeout counts as failing.
    late: a lane that stands still for so many times its timeout is reported: its plugin
    may never return.
    """

    first: float = 1.0
    longest: float = 300.0
    least: float = 0.1
    give_up_attempts: int = 10
    stall_after: int = 10
    circuit_calls: int = 10
    circuit_share: float = 0.5
    circuit_sample: int = 20
    slow: float = 0.8
    late: float = 6.0
    draw: Callable[[float, float], float] = random.uniform

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the attempt of that number, counted from 1."""
        ceiling = min(self.longest, self.first * 2 ** min(attempt - 1, 30))
        return max(self.least, self.draw(0, ceiling))

    def bounded(self, after: float) -> float:
        """The partner's Retry-After, within reason."""
        return min(max(self.least, after), LONGEST_RETRY_AFTER)


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, from `now` in epoch seconds.

    Takes both forms of RFC 9110, section 10.2.3; None for anything else.
    """
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 16:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        # The RFC's third form of a date has no zone, and means Greenwich.
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
