"""Makes a request of each event of a batch."""

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {
    "test_order_is_kept": "nor one by one",
    "test_batch_events": "send all payloads of a call in one request",
    "test_batch_bytes": "two payloads in a body",
    "test_batch_is_refused": "in one request",
    "test_partial_answer[middle]": "in one request",
    "test_partial_answer[last]": "in one request",
}


@hookimpl
def deliver(payloads, settings, client):
    for payload in payloads:
        read(post([payload], settings, client), [payload])
