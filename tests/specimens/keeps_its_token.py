"""Keeps a token on its client, as docs/hooks.md shows: it keeps every rule."""

from specimens.good import identify, read, settings, track

from router import Misconfigured, hookimpl
from router.client import Session, verdict

__all__ = ["identify", "settings", "track"]

FAILS: dict[str, str] = {}


@hookimpl
def connect(settings):
    client = Session(settings.timeout)
    client.token = None
    return client


@hookimpl
def deliver(payloads, settings, client):
    for _ in range(2):
        client.token = client.token or ask_for_token(settings, client)
        headers = {"Authorization": f"Bearer {client.token}"}
        response = client.post_json(settings.url, payloads, headers=headers)
        if response.status_code != 401:
            break
        client.token = None  # It may have expired: once more, with a new one.
    read(response, payloads)


def ask_for_token(settings, client):
    given = {"secret": settings.token.get_secret_value()}
    response = client.post_json(f"{settings.url}/token", given)
    if response.status_code in (400, 401):
        raise Misconfigured(f"answered {response.status_code}, asked for a token")
    verdict(response)
    try:
        return response.json()["access_token"]
    except (ValueError, KeyError, TypeError):
        raise Misconfigured("no token in the answer") from None
