"""Waits for another yes than its partner's."""

from specimens.good import identify, post, read, settings, track

from router import Rejected, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {
    "test_status[200]": "outcomes = {200: Rejected}",
    "test_events_are_taken": "say in `taken`",
    "test_events_arrive_whole": "say in `taken`",
    "test_gzip": "",
    "test_order_is_kept": "",
    "test_batch_events": "",
    "test_batch_bytes": "",
    "test_batch_is_halved": "",
    "test_batch_is_refused": "",
    "test_partial_answer": "",
    "test_sandbox": "",
}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    read(response, payloads)
    if response.status_code == 200:
        raise Rejected(f"answered {response.status_code}")
