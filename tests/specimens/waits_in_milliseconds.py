"""Takes milliseconds for seconds."""

from specimens.good import identify, post, read, settings, track

from router import Retry, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_retry_after[own]": "mind their unit"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    wait = response.headers.get("X-Wait-Ms", "")
    if response.status_code == 429 and wait.isdecimal():
        raise Retry("the partner asks for time", int(wait))
    read(response, payloads)
