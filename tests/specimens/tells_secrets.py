"""Says which token was refused."""

from specimens.good import identify, post, read, settings, track

from router import Misconfigured, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_no_secret_is_told": "name no address and no credential"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    if response.status_code == 401:
        raise Misconfigured(f"refused {settings.token.get_secret_value()}")
    read(response, payloads)
