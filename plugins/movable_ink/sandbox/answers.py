"""How the sandbox reads a body and words an answer, whatever was asked."""

import uuid
from typing import Any

import falcon

from router import codec

MOST_BODY_BYTES = 2_000_000
MOST_DISCARDED_BYTES = 16_000_000
REQUEST_ID = "x-request-id"


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
        answer(resp, {"message": error.message, "request_id": request_id(resp)})


class RequestIds:
    """Gives every answer an id."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_header(REQUEST_ID, str(uuid.uuid4()))


def request_id(resp: falcon.Response) -> str:
    """The id that the answer has."""
    return str(resp.get_header(REQUEST_ID))


def answer(resp: falcon.Response, value: Any) -> None:
    """Answers with a value as JSON."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = codec.dumps(value)


def not_found(req: falcon.Request, resp: falcon.Response, **params: Any) -> None:
    """Any other path, as the collector answers it."""
    resp.status = falcon.HTTP_404
    resp.content_type = "text/plain"
    resp.text = "404 page not found"


def read(req: falcon.Request) -> bytes:
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
