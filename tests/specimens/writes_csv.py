"""Sends rows of a table, each a text: it keeps every rule."""

from specimens.good import read, settings

from router import hookimpl

__all__ = ["settings"]

FAILS: dict[str, str] = {}


@hookimpl
def track(event):
    cells = (event["event"], event["messageId"], event.get("userId", ""))
    return "\t".join('"' + one.replace('"', '""') + '"' for one in cells) + "\r\n"


@hookimpl
def deliver(payloads, settings, client):
    token = settings.token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/csv"}
    body = "".join(payloads).encode()
    read(client.post(settings.url, body, headers=headers), payloads)
