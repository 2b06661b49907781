"""Knows one way in which a partner says yes."""

from specimens.good import identify, post, read, settings, track

from router import Rejected, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {
    "test_status[202]": "outcomes = {202: Rejected}",
    "test_status[207]": "outcomes = {207: Rejected}",
}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    read(response, payloads)
    if response.status_code != 200:
        raise Rejected(f"answered {response.status_code}")
