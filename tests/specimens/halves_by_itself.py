"""Sends half of what was too large, and forgets the rest."""

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_batch_is_halved": "leave halving to the router"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    while response.status_code == 413 and len(payloads) > 1:
        payloads = payloads[: len(payloads) // 2]
        response = post(payloads, settings, client)
    read(response, payloads)
