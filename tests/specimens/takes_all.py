"""Does not look at the answer."""

from specimens.good import identify, post, settings, track

from router import hookimpl

__all__ = ["identify", "settings", "track"]

VERDICT = "hand the response to router.client.verdict"
STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503)

FAILS = {
    **{f"test_status[{status}]": VERDICT for status in STATUSES},
    "test_retry_after": "the seconds until then",
    "test_redirect": VERDICT,
    "test_batch_is_halved": "leave halving to the router",
    "test_batch_is_refused": "raise Rejected",
    "test_partial_answer": "raise Rejected",
}


@hookimpl
def deliver(payloads, settings, client):
    post(payloads, settings, client)
