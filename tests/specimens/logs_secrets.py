"""Logs what it sends, with its credentials."""

import logging

from specimens.good import identify, post, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_no_secret_is_told": "a log line of specimen: expected no secret"}

logger = logging.getLogger("specimen")


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    logger.debug("sent with %s", response.request.headers)
    read(response, payloads)
