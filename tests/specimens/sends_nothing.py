"""Says that all was taken, and sends none of it."""

from specimens.good import identify, settings, track

from router import hookimpl
from router.testing.answers import STATUSES

__all__ = ["identify", "settings", "track"]

ALONE = ("retry_after", "timeout", "slow_drip", "reset", "half_a_body", "redirect")

FAILS = {
    **{f"test_status[{status}]": "came none, but taken" for status in STATUSES},
    **{f"test_{name}": "came none, but taken" for name in (*ALONE, "gzip")},
    "test_events_arrive_whole": "which count as delivered",
    "test_order_is_kept": "each once, in their order",
    "test_batch_events": "requests with []",
    "test_batch_bytes": "came no request",
    "test_batch_is_halved": "each event once",
    "test_batch_is_refused": "a dead letter for message-0001 alone",
    "test_partial_answer": "alone; came for none",
}


@hookimpl
def deliver(payloads, settings):
    pass
