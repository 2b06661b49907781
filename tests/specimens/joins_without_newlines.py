"""Sends JSON lines that do not end."""

from specimens.good import identify, read, track
from specimens.takes_bytes_for_objects import settings

from router import hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_body_is_what_it_says": "join JSON lines with a newline after each"}


@hookimpl
def deliver(payloads, settings, client):
    token = settings.token.get_secret_value()
    kind = {"Content-Type": "application/x-ndjson"}
    headers = {"Authorization": f"Bearer {token}", **kind}
    read(client.post(settings.url, data=b"".join(payloads), headers=headers), payloads)
