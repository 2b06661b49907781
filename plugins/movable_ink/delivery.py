"""One request to the collector, and what its answer means."""

import time
from collections.abc import Sequence
from typing import Any

import requests
from requests.auth import HTTPBasicAuth

from router import Rejected, Retry, TooLarge, codec, hookimpl
from router.client import Session, verdict
from router.retry import retry_after

from .settings import MOST_BYTES, Settings

# A lone event over MOST_BYTES goes out, until here: Movable Ink takes less than 2 MB.
LONE_BYTES = 2_000_000

LOCKED = 423
NOT_IMPLEMENTED = 501


@hookimpl
def deliver(payloads: Sequence[Any], settings: Settings, client: Session) -> None:
    body = _body(payloads, settings)
    _check_size(len(body), len(payloads))
    response = client.post(
        settings.url,
        data=body,
        headers={"Content-Type": "application/json"},
        auth=HTTPBasicAuth(*settings.credentials),
    )
    read(response)


def read(response: requests.Response) -> None:
    """Returns when the events were taken, else raises an outcome.

    The router's reading, with two differences: 423 passes, and 501 does not, because
    it says that this kind of event is not supported.
    """
    try:
        verdict(response)
    except Rejected as refusal:
        if response.status_code != LOCKED:
            raise
        after = retry_after(response.headers.get("Retry-After"), time.time())
        raise Retry(refusal.reason, after, detail=refusal.detail) from None
    except Retry as failure:
        if response.status_code != NOT_IMPLEMENTED:
            raise
        raise Rejected(failure.reason, detail=failure.detail) from None


def _body(payloads: Sequence[Any], settings: Settings) -> bytes:
    try:
        bodies = codec.dump_each(payloads)
    except ValueError:
        raise Rejected("cannot be written as JSON") from None
    if settings.batch:
        return b'{"events":[%b]}' % b",".join(bodies)
    (body,) = bodies
    return body


def _check_size(size: int, events: int) -> None:
    if size > MOST_BYTES and events > 1:
        raise TooLarge(f"{size} bytes, over the {MOST_BYTES} of a batch")
    if size >= LONE_BYTES:
        raise TooLarge(f"{size} bytes, Movable Ink takes less than {LONE_BYTES}")
