"""Calls its partner without a timeout."""

import requests
from specimens.good import identify, read, settings, track

from router import Retry, codec, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {
    "test_timeout": "which keeps the setting `timeout`",
    "test_slow_drip": "a whole call ends at `timeout`",
    "test_no_secret_is_told": "which keeps the setting `timeout`",
}


@hookimpl
def deliver(payloads, settings, client):
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    body = codec.dumps(payloads)
    try:
        response = requests.post(
            settings.url, data=body, headers=headers, allow_redirects=False
        )
    except requests.RequestException as error:
        raise Retry(f"no answer: {type(error).__name__}") from None
    read(response, payloads)
