"""Says of a batch that the partner refused that all but the first was taken."""

from specimens.good import identify, post, read, settings, track

from router import Partial, Rejected, hookimpl

__all__ = ["identify", "settings", "track"]

FAILS = {
    "test_status[400]": "To mend it: hand the response to router.client.verdict",
    "test_status[409]": "To mend it: hand the response to router.client.verdict",
    "test_status[422]": "To mend it: hand the response to router.client.verdict",
    "test_batch_is_refused": "a dead letter for message-0001 alone",
    "test_partial_answer": "To mend it: ",
}


@hookimpl
def deliver(payloads, settings, client):
    try:
        read(post(payloads, settings, client), payloads)
    except Rejected as refusal:
        raise Partial({0: refusal}) from None
