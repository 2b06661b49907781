"""Prints what it sends, with its credentials."""

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_no_secret_is_told": "what is printed: expected no secret"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    print("sent with", response.request.headers)
    read(response, payloads)
