"""Logs an exception whose text has the credentials."""

import logging

from specimens.good import identify, post, read, settings, track

from router import Misconfigured, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_no_secret_is_told": "a log line of specimen: expected no secret"}

logger = logging.getLogger("specimen")


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    try:
        check(response, settings)
    except LookupError:
        logger.exception("the token is not known")
        raise Misconfigured("answered 401") from None
    read(response, payloads)


def check(response, settings):
    if response.status_code == 401:
        raise LookupError(settings.token.get_secret_value())
