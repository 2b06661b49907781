"""Follows redirects by itself."""

from urllib.parse import urljoin

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_redirect": "follows none, which would resend credentials"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    if response.is_redirect:
        there = urljoin(settings.url, response.headers["Location"])
        response = client.post_json(there, payloads)
    read(response, payloads)
