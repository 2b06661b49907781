"""Knows one of the two forms of Retry-After."""

from specimens.good import identify, post, read, settings, track

from router import Retry, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_retry_after[date]": "router.retry.retry_after"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    if response.status_code == 429:
        raise Retry("slowly", int(response.headers.get("Retry-After", 0)))
    read(response, payloads)
