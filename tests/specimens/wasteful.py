"""Writes JSON in more bytes than the router counts."""

import json

from specimens.good import identify, read, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_batch_bytes": "write bodies with client.post_json or router.codec.dumps"}


@hookimpl
def deliver(payloads, settings, client):
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    body = json.dumps(payloads).encode()
    read(client.post(settings.url, body, headers=headers), payloads)
