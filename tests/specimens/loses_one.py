"""Sends one event less than it was given."""

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {
    "test_events_arrive_whole": "none for [4], which count as delivered",
    "test_order_is_kept": "each once, in their order",
    "test_batch_events": "requests with [4, 4, 1]",
    "test_batch_bytes": "",
    "test_batch_is_halved": "each event once",
    "test_batch_is_refused": "a dead letter for message-0001 alone",
    "test_partial_answer[first]": "has not taken [4, 9], which count as delivered",
    "test_partial_answer[middle]": "has not taken",
    "test_partial_answer[last]": "a dead letter for message-0004 alone",
}


@hookimpl
def deliver(payloads, settings, client):
    sent = payloads[:-1] or payloads
    read(post(sent, settings, client), sent)
