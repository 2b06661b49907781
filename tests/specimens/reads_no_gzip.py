"""Reads an answer as it came."""

from specimens.good import identify, post, read, settings, track

from router import Rejected, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_gzip": "read the answer by response.content"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    read(response, payloads)
    if response.headers.get("Content-Encoding") == "gzip":
        raise Rejected("answered something that is no JSON")
