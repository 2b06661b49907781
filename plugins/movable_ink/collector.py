"""The sandbox: Movable Ink's collector as it was observed, and what it has taken.

    POST /behavioral/{key}            the collector
    GET, DELETE /profiles             whose events they are
    GET, POST, DELETE /faults         how the next requests to the collector end

The key is looked up before the credentials, and those before the body.
"""

import base64
import binascii
import hmac
import re
import time
import uuid
from typing import Any
from urllib.parse import unquote, urlsplit

import falcon

from router import codec, hookimpl
from router.hookspecs import WSGIApp

from .faults import Faults, broken_off, fault_problems
from .options import MOST_EVENTS, Options
from .profiles import Attribution
from .storage import Storage

COLLECTOR = re.compile(r"/behavioral/(?P<key>[^/]+)\Z")
MOST_BODY_BYTES = 2_000_000
MOST_DISCARDED_BYTES = 16_000_000
REQUEST_ID = "x-request-id"


@hookimpl
def sandbox(settings: Options) -> WSGIApp:
    storage = Storage(settings.data_dir / "sandbox", settings.name)
    faults = Faults(storage)
    app = falcon.App(middleware=[RequestIds()])
    app.add_error_handler(Refusal, Refusal.answer)
    app.add_route("/profiles", ProfilesResource(storage))
    app.add_route("/faults", FaultsResource(faults))
    app.add_sink(not_found, "/")
    app.add_sink(Collector(settings, storage, faults), COLLECTOR)
    return app


class Refusal(Exception):
    """An answer other than 200, in the collector's words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @staticmethod
    def answer(
        req: falcon.Request, resp: falcon.Response, error: "Refusal", params: Any
    ) -> None:
        resp.status = error.status
        _answer(resp, {"message": error.message, "request_id": _request_id(resp)})


class RequestIds:
    """Gives every answer an id."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_header(REQUEST_ID, str(uuid.uuid4()))


class Collector:
    """Takes events, single or as `{"events": [...]}`."""

    def __init__(self, settings: Options, storage: Storage, faults: Faults) -> None:
        self._key = unquote(urlsplit(settings.url).path.rstrip("/").rpartition("/")[2])
        self._credentials = b":".join(settings.credentials)
        self._storage = storage
        self._faults = faults

    def __call__(
        self, req: falcon.Request, resp: falcon.Response, **params: Any
    ) -> None:
        # Read first, though looked at last: an answer to a client that is still
        # sending would be lost with the connection.
        body = _read(req)
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
        events, request_id = _events(body), _request_id(resp)
        self._storage.append({"request_id": request_id, "events": events})
        _answer(resp, {"request_id": request_id})


class ProfilesResource:
    """What the collector has taken, by profile."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        events = (e for record in self._storage.records() for e in record["events"])
        _answer(resp, {"profiles": Attribution(events).shown()})

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._storage.forget()
        resp.status = falcon.HTTP_204


class FaultsResource:
    """How the next requests are to be answered."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, {"faults": self._faults.left()})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        try:
            fault = codec.loads(_read(req))
        except ValueError:
            raise Refusal(400, "the body is not JSON") from None
        problems = fault_problems(fault)
        if problems:
            raise Refusal(400, "; ".join(problems))
        self._faults.add(fault)
        self.on_get(req, resp)

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._faults.clear()
        resp.status = falcon.HTTP_204


def not_found(req: falcon.Request, resp: falcon.Response, **params: Any) -> None:
    """Any other path, as the collector answers it."""
    resp.status = falcon.HTTP_404
    resp.content_type = "text/plain"
    resp.text = "404 page not found"


def _fail(resp: falcon.Response, fault: dict[str, Any]) -> None:
    if "retry_after" in fault:
        resp.set_header("Retry-After", str(fault["retry_after"]))
    raise Refusal(fault["status"], fault.get("message", "as the sandbox was told"))


def _read(req: falcon.Request) -> bytes:
    """The body, or as much of it as shows that it is too large; the rest is dropped."""
    chunked = req.env.get("wsgi.input_terminated")
    stream = req.stream if chunked else req.bounded_stream
    body: bytes = stream.read(MOST_BODY_BYTES)
    discarded = 0
    while len(body) == MOST_BODY_BYTES and discarded < MOST_DISCARDED_BYTES:
        dropped = len(stream.read(65536))
        discarded += dropped
        if not dropped:
            break
    return body


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


def _answer(resp: falcon.Response, value: Any) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = codec.dumps(value)


def _request_id(resp: falcon.Response) -> str:
    return str(resp.get_header(REQUEST_ID))
