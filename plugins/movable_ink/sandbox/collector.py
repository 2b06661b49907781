"""The collector, as it was observed.

The key is looked up before the credentials, and those before the body.
"""

import base64
import binascii
import hmac
import re
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import falcon

from router import codec

from ..settings import MOST_EVENTS, Settings
from .answers import MOST_BODY_BYTES, Refusal, answer, read, request_id
from .faults import Faults, broken_off
from .storage import Storage

PATH = re.compile(r"/behavioral/(?P<key>[^/]+)\Z")


class Collector:
    """Takes events, single or as `{"events": [...]}`."""

    def __init__(self, settings: Settings, storage: Storage, faults: Faults) -> None:
        self._key = unquote(urlsplit(settings.url).path.rstrip("/").rpartition("/")[2])
        self._credentials = b":".join(settings.credentials)
        self._storage = storage
        self._faults = faults

    def __call__(
        self, req: falcon.Request, resp: falcon.Response, **params: Any
    ) -> None:
        # Read first, though looked at last: an answer to a client that is still
        # sending would be lost with the connection.
        body = read(req)
        fault = self._faults.meet()
        time.sleep(fault.get("delay", 0))
        if fault.get("reset"):
            resp.stream = broken_off(req.env)
            return
        if fault.get("status", 200) >= 300:
            _fail(resp, fault)
        self._take(req, resp, params["key"], body)
        resp.status = fault.get("status", 200)

    def _take(
        self, req: falcon.Request, resp: falcon.Response, key: str, body: bytes
    ) -> None:
        if not _is_same(key.encode(), self._key.encode()):
            raise Refusal(404, "Behavioral endpoint key not found")
        if req.method != "POST":
            raise Refusal(405, "Method not allowed")
        if not _is_same(_credentials(req), self._credentials):
            raise Refusal(401, "Invalid credentials")
        if len(body) >= MOST_BODY_BYTES:
            raise Refusal(413, "Request body too large")
        events, taken_as = _events(body), request_id(resp)
        self._storage.append({"request_id": taken_as, "events": events})
        answer(resp, {"request_id": taken_as})


def _fail(resp: falcon.Response, fault: dict[str, Any]) -> None:
    if "retry_after" in fault:
        resp.set_header("Retry-After", str(fault["retry_after"]))
    raise Refusal(fault["status"], fault.get("message", "as the sandbox was told"))


def _events(body: bytes) -> list[Any]:
    try:
        value = codec.loads(body)
    except ValueError:
        raise Refusal(400, "Invalid JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "Expected a JSON object")
    events = value.get("events", [value])
    if not isinstance(events, list) or not events:
        raise Refusal(400, "Expected events to be a non-empty list")
    if len(events) > MOST_EVENTS:
        raise Refusal(400, f"Expected at most {MOST_EVENTS} events")
    if not all(isinstance(event, dict) for event in events):
        raise Refusal(400, "Expected every event to be a JSON object")
    return events


def _credentials(req: falcon.Request) -> bytes:
    scheme, _, encoded = (req.auth or "").partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_same(given: bytes, expected: bytes) -> bool:
    return hmac.compare_digest(given, expected)
