"""What SDKs in pages ask for beside sending events, and the ways of sending that need
no script: what they load first, what they report of themselves, the pixel.

The shapes are those that the SDKs read; docs/http-api.md names them.
"""

import base64
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import falcon
from falcon import Request, Response

from router import codec
from router.acceptance import Caller
from router.bodies import Bodies
from router.counts import Counts
from router.errors import Refused
from router.proxies import public_host
from router.resources import answer, caller
from router.sources import Sources

# A transparent image of one pixel.
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

# Short, as a key may be taken back; private, as the answer names the host asked for.
CACHE = "private, max-age=60"

# With it SDKs for phones wait after a 429 and drop what a 4xx refuses for good;
# without it they send that again for ever.
HTTP_CONFIG = {"rateLimitConfig": {"enabled": True}, "backoffConfig": {"enabled": True}}

logger = logging.getLogger("router.http")


class Projects:
    """`GET /v1/projects/<write key>/settings`: what Segment's SDKs load first.

    It sends them here for their events; nothing runs in the page but the SDK.
    """

    def __init__(self, sources: Sources, public_url: str) -> None:
        self._sources, self._public_url = sources, public_url

    def on_get(self, req: Request, resp: Response, rest: str) -> None:
        key, _, last = rest.rpartition("/")
        if last != "settings":
            raise falcon.HTTPNotFound
        # React Native doubles this where its proxy is given with the path.
        key = key.removeprefix("projects/")
        _enabled(self._sources, key)
        asked_for = req.forwarded_scheme, req.forwarded_host
        protocol, host = public_host(self._public_url, *asked_for)
        segment: dict[str, Any] = {"apiKey": key, "httpConfig": HTTP_CONFIG}
        segment |= {"apiHost": f"{host}/v1", "protocol": protocol}
        resp.cache_control = [CACHE]
        answer(
            resp,
            {
                "integrations": {"Segment.io": segment},
                "metrics": {"sampleRate": 0},
                "plan": {},
                "middlewareSettings": {},
                "edgeFunction": {},
                "consentSettings": {},
                "remotePlugins": [],
            },
        )

    on_head = on_get


class SourceConfig:
    """`GET /sourceConfig`: what RudderStack's SDKs load first."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def on_get(self, req: Request, resp: Response) -> None:
        sent_by = caller(req)
        key = sent_by.user or sent_by.query_key or ""
        name = _enabled(self._sources, key)
        resp.cache_control = [CACHE]
        source = {"id": name, "name": name, "writeKey": key, "enabled": True}
        source |= {"workspaceId": "", "updatedAt": "1970-01-01T00:00:00.000Z"}
        answer(resp, {"source": source | {"config": {}, "destinations": []}})

    def on_head(self, req: Request, resp: Response) -> None:
        """Asked without a key, to see whether an ad blocker is in the way."""


class Dropped:
    """`POST /v1/m`, `/rsaMetrics`: what SDKs measure of themselves."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies

    def on_post(self, req: Request, resp: Response) -> None:
        self._bodies.drop(req)
        answer(resp, {"success": True})


class Pixel:
    """`GET /v1/pixel/track` and its like: an event in the address of an image.

    It is always answered with the image: whoever sees it cannot mend anything.
    """

    def __init__(self, accept: Callable[[bytes, Caller], Any], counts: Counts) -> None:
        self._accept, self._counts = accept, counts

    def on_get(self, req: Request, resp: Response) -> None:
        resp.content_type = "image/gif"
        resp.cache_control = ["no-store"]
        resp.data = GIF
        try:
            self._accept(pixel_body(req.query_string), caller(req))
        except Refused as error:
            self._counts.add(error.source, error.code)
            logger.info("%s: no event: %s", req.path, error.code)
        except Exception:
            logger.exception("%s: a bug in the router", req.path)


def pixel_body(query: str) -> bytes:
    """The event of a pixel as JSON; raises Refused.

    It is either base64 in `data`, or in parameters such as `properties.subject`.
    """
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    if "data" in parameters:
        return _decoded(parameters["data"])
    event: dict[str, Any] = {}
    for name, value in parameters.items():
        *path, last = name.split(".")
        inner = event
        for part in path:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        inner[last] = value
    switches = event.get("integrations")
    if isinstance(switches, dict):
        # A query has no booleans.
        words = ((k, v) for k, v in switches.items() if v in ("true", "false"))
        switches |= {name: word == "true" for name, word in words}
    try:
        return codec.dumps(event)
    except ValueError as error:  # nested too deep
        raise Refused(400, "invalid_body", str(error)) from None


def _decoded(data: str) -> bytes:
    """From either alphabet of base64, with its padding or without."""
    # In a query a plus that was not encoded has become a blank.
    data = data.rstrip("=").replace(" ", "+").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except ValueError:
        raise Refused(400, "invalid_encoding", "data: expected base64") from None


def _enabled(sources: Sources, key: str) -> str:
    """The name of the source with that write key; raises Refused."""
    try:
        return sources.admit(key)
    except Refused as error:
        error.status = 404
        raise
