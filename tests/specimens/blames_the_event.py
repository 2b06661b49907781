"""Takes a broken connection for a refusal."""

from specimens.good import identify, post, read, settings, track

from router import Rejected, Retry, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {
    "test_reset": "let what it raises pass",
    "test_order_is_kept": "raise Rejected only for what the partner refuses",
}


@hookimpl
def deliver(payloads, settings, client):
    try:
        response = post(payloads, settings, client)
    except Retry as failure:
        if failure.reason == "no answer: ConnectionError":
            raise Rejected("gone") from None
        raise
    read(response, payloads)
