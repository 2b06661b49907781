"""The HTTP resources: thin translations between falcon and what lies below."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from falcon import HTTP_200, Request, Response

from router import codec
from router.acceptance import Caller
from router.bodies import Bodies
from router.log import Log
from router.sources import basic_user

# The last is where React Native posts when its proxy is given with the path.
BATCHES = ("batch", "import", "b", "batch/b")

# Where only pages and mails send, which need not say from where.
BY_BROWSERS = re.compile("/+(beacon|v1/pixel|pixel)/")


class Calls:
    """`POST /v1/track` and its like: one event. `POST /v1/batch`: many.

    accept takes the body and who sent it.
    """

    def __init__(
        self, accept: Callable[[bytes, Caller], Mapping[str, Any]], bodies: Bodies
    ) -> None:
        self._accept, self._bodies = accept, bodies

    def on_post(self, req: Request, resp: Response) -> None:
        answer(resp, self._accept(self._bodies.read(req), caller(req)))


class Health:
    """`GET /health`: the process answers."""

    def on_get(self, req: Request, resp: Response) -> None:
        answer(resp, {"status": "ok"})

    on_head = on_get


class Ready:
    """`GET /ready`: events can be accepted; calls found_ready when they can."""

    def __init__(self, log: Log, found_ready: Callable[[], None]) -> None:
        self._log, self._found_ready = log, found_ready

    def on_get(self, req: Request, resp: Response) -> None:
        self._log.check_writable()
        self._found_ready()
        answer(resp, {"status": "ready"})

    on_head = on_get


def caller(req: Request) -> Caller:
    """Who sent the request."""
    has_origin = req.get_header("Origin") is not None
    is_browser = has_origin or BY_BROWSERS.match(req.path) is not None
    key = req.get_param("writeKey")
    return Caller(basic_user(req.auth), key, req.remote_addr or None, is_browser)


def answer(resp: Response, content: Any, status: str | int = HTTP_200) -> None:
    """Answers with JSON; an object, as some clients look into every answer."""
    resp.status = status
    resp.content_type = "application/json"
    resp.data = codec.dumps(content)
