"""What happens to every request and answer, whatever its resource."""

import re
from collections.abc import Sequence
from typing import Any

from falcon import CORSMiddleware, Request, Response

from router.proxies import Network, client_address

# What clients send to, and pages may call. The rest is for operators.
FOR_CLIENTS = re.compile("/+(v1/|pixel/|beacon/|sourceConfig|rsaMetrics)")

# What a page may read of an answer; browsers hide other headers. SDKs before
# analytics-next 1.84 look for the second.
EXPOSED = ("Retry-After", "X-RateLimit-Reset")


class Addresses:
    """`req.remote_addr` is the client's, also behind the proxies that are trusted."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def process_request(self, req: Request, resp: Response) -> None:
        forwarded = req.get_header("X-Forwarded-For")
        address = client_address(req.remote_addr, forwarded, self._trusted)
        req.env["REMOTE_ADDR"] = address or ""


class CORS(CORSMiddleware[Any, Any]):
    """Falcon's CORS for the paths of pages, errors included, with `Vary`.

    A page that may not read a 429 takes it for a failure of the network. Origins:
    those that may call; none means any, as write keys of pages are public anyway.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        super().__init__(
            allow_origins=origins or "*", allow_credentials="*", expose_headers=EXPOSED
        )

    def process_response(
        self,
        req: Request,
        resp: Response,
        resource: Any,
        req_succeeded: bool,  # noqa: FBT001 - falcon hands it over by position
    ) -> None:
        if FOR_CLIENTS.match(req.path):
            resp.append_header("Vary", "Origin")
            super().process_response(req, resp, resource, req_succeeded)
