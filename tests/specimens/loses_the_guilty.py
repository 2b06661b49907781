"""Takes a batch with a bad event for one that was taken."""

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_partial_answer": "alone; came for none"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    if response.status_code == 422 and len(payloads) > 1:
        return
    read(response, payloads)
