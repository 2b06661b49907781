"""Does not hear for how long the partner asks."""

from specimens.good import identify, post, read, settings, track

from router import Retry, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_retry_after": "the seconds until then"}


@hookimpl
def deliver(payloads, settings, client):
    try:
        read(post(payloads, settings, client), payloads)
    except Retry as failure:
        raise Retry(failure.reason) from None
