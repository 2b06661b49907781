"""Asks for a token before it delivers, as the partner wants it: it keeps every rule."""

import base64

from specimens.good import identify, read, settings, track

from router import Misconfigured, Retry, hookimpl
from router.client import verdict

__all__ = ["identify", "settings", "track"]

FAILS: dict[str, str] = {}


@hookimpl
def deliver(payloads, settings, client):
    headers = {"Authorization": f"Bearer {token(settings, client)}"}
    read(client.post_json(settings.url, payloads, headers=headers), payloads)


def token(settings, client):
    given = f"us:{settings.token.get_secret_value()}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(given).decode()}"}
    response = client.post_json(f"{settings.url}/token", {}, headers=headers)
    verdict(response)
    try:
        return response.json()["access_token"]
    except KeyError:
        raise Misconfigured("no token in the answer") from None
    except ValueError:
        raise Retry("no JSON in the answer") from None
