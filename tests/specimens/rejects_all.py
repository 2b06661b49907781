"""Blames the event for whatever is wrong."""

from specimens.good import identify, post, settings, track

from router import Rejected, hookimpl

__all__ = ["identify", "settings", "track"]

VERDICT = "hand the response to router.client.verdict"
STATUSES = (401, 403, 404, 408, 413, 429, 500, 503)

FAILS = {
    **{f"test_status[{status}]": VERDICT for status in STATUSES},
    "test_retry_after": "the seconds until then",
    "test_redirect": VERDICT,
}


@hookimpl
def deliver(payloads, settings, client):
    response = post(payloads, settings, client)
    if not 200 <= response.status_code < 300:
        raise Rejected(f"answered {response.status_code}")
