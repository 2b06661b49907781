"""Sends one form for all events, encoded by the mapping: it keeps every rule."""

from urllib.parse import urlencode

from specimens.good import read, settings

from router import hookimpl

__all__ = ["settings"]

FAILS: dict[str, str] = {}


@hookimpl
def track(event):
    return urlencode({"who": f"<{event.get('userId')}>", "what": event["event"]})


@hookimpl
def deliver(payloads, settings, client):
    token = settings.token.get_secret_value()
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    read(client.post(settings.url, "&".join(payloads), headers=headers), payloads)
