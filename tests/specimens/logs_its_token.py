"""Logs the token that the partner told, which goes into no header that is known."""

import logging

from specimens.good import identify, read, settings, track

from router import hookimpl
from router.client import verdict

__all__ = ["identify", "settings", "track"]

FAILS = {"test_no_secret_is_told": "a log line of specimen: expected no secret"}

logger = logging.getLogger("specimen")


@hookimpl
def deliver(payloads, settings, client):
    answer = client.post_json(f"{settings.url}/token", {})
    verdict(answer)
    token = answer.json()["access_token"]
    logger.debug("the token is %s", token)
    headers = {"X-Session": token}
    read(client.post_json(settings.url, payloads, headers=headers), payloads)
