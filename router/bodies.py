"""The bytes of a request's body: read whole, inflated, and within limits."""

import zlib
from contextlib import nullcontext, suppress
from gzip import GzipFile
from io import BytesIO

from falcon import Request

from router.deadlines import Deadlines, hang_up
from router.errors import Refused

# How much of a body that is too large is read all the same, and in what pieces.
MOST_DRAINED = 16 * 1024 * 1024
CHUNK = 64 * 1024

PLAIN = ("", "identity")
GZIP = ("gzip", "x-gzip")
GZIP_MAGIC = b"\x1f\x8b"


class Bodies:
    """Reads the bodies of requests.

    limit: bytes, both as sent and inflated; neither is held beyond it. seconds: how
    long a client may take to send one.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._deadlines = Deadlines(seconds)

    def read(self, req: Request) -> bytes:
        """The body, inflated if it is gzip, whatever its headers say.

        Raises Refused.
        """
        body = self._received(req)
        encoding = req.get_header("Content-Encoding", default="").strip().lower()
        if encoding not in PLAIN + GZIP:
            expected = "send the body as it is, or with gzip"
            raise Refused(415, "unsupported_encoding", expected)
        # Proxies drop the header, and JSON never begins so.
        if body.startswith(GZIP_MAGIC):
            return _inflated(body, self._limit)
        if encoding in GZIP:
            what = "Content-Encoding is gzip, the body is not"
            raise Refused(400, "invalid_encoding", what)
        return body

    def drop(self, req: Request) -> None:
        """Reads a body that nobody asked for.

        Else gunicorn closes the connection on it, and whoever still sends may never
        see the answer.
        """
        with suppress(Refused):
            self._received(req)

    def _received(self, req: Request) -> bytes:
        # What gunicorn lets an app see of the connection; other servers do not.
        connection = req.env.get("gunicorn.socket")
        try:
            with self._deadlines.over(connection) if connection else nullcontext():
                body = self._drained(req)
            promised = req.content_length or 0
            if len(body) < min(promised, self._limit):
                raise EOFError(f"{len(body)} of {promised} bytes")
        except (OSError, EOFError) as error:
            # The client is gone or too slow: an answer would only keep it from
            # sending its events again.
            if connection:
                hang_up(connection)
            raise Refused(
                400, "invalid_body", f"the body ended early: {error}"
            ) from None
        except Exception as error:
            # Whatever else a server raises here, it is of what the client sent.
            what = f"the body cannot be read ({type(error).__name__})"
            raise Refused(400, "invalid_body", what) from None
        if len(body) > self._limit:
            raise _too_large(self._limit)
        return body

    def _drained(self, req: Request) -> bytes:
        """The body, as far as it is needed to know that it is too large."""
        # A server that ends the stream at the end of the body can take chunked bodies.
        ends = req.env.get("wsgi.input_terminated")
        stream = req.stream if ends else req.bounded_stream
        body: bytes = stream.read(self._limit + 1)
        # What is left unread would be taken for the connection's next request.
        left = MOST_DRAINED if len(body) > self._limit else 0
        while left > 0 and (more := stream.read(CHUNK)):
            left -= len(more)
        return body


def _inflated(body: bytes, limit: int) -> bytes:
    """All members of a gzip file; raises Refused."""
    try:
        inflated = GzipFile(fileobj=BytesIO(body)).read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        message = f"the body is no whole gzip file: {error}"
        raise Refused(400, "invalid_encoding", message) from None
    if len(inflated) > limit:
        raise _too_large(limit)
    return inflated


def _too_large(limit: int) -> Refused:
    message = f"at most {limit} bytes in one request"
    return Refused(400, "payload_too_large", message)
