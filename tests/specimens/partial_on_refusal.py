"""Says that the others were taken, of a batch that the partner refused whole."""

from specimens.good import identify, post, read, settings, track

from router import Partial, Rejected, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {"test_partial_answer": "`took_others = True`"}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    try:
        read(response, payloads)
    except Rejected as refusal:
        if refusal.index is None:
            raise
        raise Partial({refusal.index: refusal}) from None
