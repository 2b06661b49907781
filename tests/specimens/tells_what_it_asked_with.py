"""Says with which credentials it asked for a token."""

import base64

from specimens.good import identify, read, settings, track

from router import Retry, hookimpl
from router.client import verdict

__all__ = ["identify", "settings", "track"]

FAILS = {"test_no_secret_is_told": "no secret of the settings"}


@hookimpl
def deliver(payloads, settings, client):
    given = f"us:{settings.token.get_secret_value()}".encode()
    basic = f"Basic {base64.b64encode(given).decode()}"
    asked = {"Authorization": basic}
    answer = client.post_json(f"{settings.url}/token", {}, headers=asked)
    verdict(answer)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    try:
        read(client.post_json(settings.url, payloads, headers=headers), payloads)
    except Retry as failure:
        failure.reason += f" after {basic}"
        raise
