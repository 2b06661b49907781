"""Is content with the head of an answer."""

from specimens.good import identify, settings, track

from router import codec, hookimpl
from router.client import verdict

__all__ = ["identify", "settings", "track"]

FAILS = {"test_half_a_body": "let what it raises pass"}


@hookimpl
def deliver(payloads, settings, client):
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    body = codec.dumps(payloads)
    with client.post(settings.url, body, headers=headers, stream=True) as response:
        verdict(response)
