"""Calls its partner with requests, whose timeout is each read's."""

import requests
from specimens.good import identify, read, settings, track

from router import Retry, codec, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_slow_drip": "the timeout of requests counts each read"}


@hookimpl
def deliver(payloads, settings, client):
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    try:
        response = requests.post(
            settings.url, codec.dumps(payloads), headers=headers,
            timeout=settings.timeout, allow_redirects=False,
        )  # fmt: skip
    except requests.RequestException as error:
        raise Retry(f"no answer: {type(error).__name__}") from None
    read(response, payloads)
