"""The HTTP client that plugins get, and how an answer is read.

`requests`, with the edges that a router cannot have taken off: its timeout counts
each socket operation and not the call, it follows redirects (which resends
credentials and turns a POST into a GET), keeps cookies, and reads ~/.netrc.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection

from router import codec
from router.errors import Misconfigured, Rejected, Retry, TooLarge
from router.prepared import Prepared, no_auth
from router.retry import retry_after

RETRIED = {408, 425, 429}
MISCONFIGURED = {401, 403, 404, 407}
DETAIL_BYTES = 2048
# Where the environment names the certificates to trust, as requests and curl have it.
CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Seconds by which an operation on a socket may end beside the deadline of its call.
TIMEOUT_STEP = 0.02
# No more of an answer is read: a partner that sends without end fills no memory.
LONGEST_ANSWER = 8 * 2**20

# It tells of addresses, which may hold keys.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_call = threading.local()


def verdict(response: requests.Response) -> None:
    """The default reading of an answer: returns for 2xx, else raises an outcome.

    Only the status decides; the body is free text and is kept as the detail.
    """
    status = response.status_code
    if 200 <= status < 300:
        return
    reason = f"answered {status} {response.reason or ''}".strip()
    detail = _said(response)
    if status in RETRIED or status >= 500:
        after = retry_after(response.headers.get("Retry-After"), time.time())
        raise Retry(reason, after, detail=detail)
    if status == 413:
        raise TooLarge(reason, detail=detail)
    if status in MISCONFIGURED or status < 400:
        raise Misconfigured(reason, detail=detail)
    raise Rejected(reason, detail=detail)


class Session(requests.Session):
    """A session for one lane: one deadline for the whole call, and no surprises.

    timeout: seconds from the first byte sent to the last byte read. Network failures
    raise `Retry`, an address that cannot be one raises `Misconfigured`; neither
    names the address, which may hold a key. Of an answer the first 8 MiB are kept.
    answers: how many it has had.
    """

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.timeout = timeout
        # Else requests asks the whole environment for each call, and ~/.netrc.
        self.trust_env = False
        # Else it takes those in the address, over a header that the plugin has set.
        self.auth = no_auth
        self._prepared = Prepared()
        self._environment: dict[Sequence[str], dict[str, Any]] = {}
        self.answers = 0
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.mount(scheme, DeadlineAdapter())

    def post_json(self, url: str, value: Any, **options: Any) -> requests.Response:
        """POSTs value as JSON, in the bytes that `router explain` shows."""
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.post(url, data=codec.dumps(value), headers=headers, **options)

    def request(self, *args: Any, **options: Any) -> requests.Response:
        with _failures_as_outcomes():
            return super().request(*args, **options)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        return self._prepared.of(self, request, super().prepare_request)

    def send(self, request: Any, **options: Any) -> requests.Response:
        timeout = options.get("timeout") or self.timeout
        options |= {"allow_redirects": False, "timeout": timeout}
        said = self._said_by_environment(request.url)
        proxies = options.get("proxies") or self.proxies
        options["proxies"] = {**said["proxies"], **proxies}
        if options.get("verify", self.verify) is True:
            options["verify"] = said["verify"]
        _call.deadline = time.monotonic() + timeout
        try:
            with _failures_as_outcomes():
                response = super().send(request, **options)
        finally:
            _call.deadline = None
        self.answers += 1
        return response

    def _said_by_environment(self, url: str) -> dict[str, Any]:
        """What the environment said of how to call a host, when that was first done."""
        host = urlsplit(url)[:2]
        if host not in self._environment:
            bundles = filter(None, map(os.environ.get, CA_BUNDLES))
            said = {"proxies": get_environ_proxies(url), "verify": next(bundles, True)}
            self._environment[host] = said
        return self._environment[host]


class DeadlineSocket:
    """A connected socket whose every operation ends at the deadline of the call."""

    def __init__(self, connected: Any) -> None:
        self.__dict__["_connected"] = connected

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # The socket counts its readers in an attribute, to stay open for them.
        setattr(self._connected, name, value)

    def makefile(self, *args: Any, **options: Any) -> Any:
        # The socket's own method, on us: its reader then reads through us.
        return type(self._connected).makefile(self, *args, **options)

    def settimeout(self, seconds: float | None) -> None:
        # urllib3 gives each operation a timeout of its own, which here is the call's.
        if getattr(_call, "deadline", None) is None:
            self._connected.settimeout(seconds)

    def recv_into(self, *args: Any) -> Any:
        self._hasten()
        return self._connected.recv_into(*args)

    def sendall(self, data: Any) -> None:
        self._hasten()
        self._connected.sendall(data)

    def _hasten(self) -> None:
        deadline = getattr(_call, "deadline", None)
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the deadline of the call has passed")
            # Each setting is a system call.
            if abs(left - (self._connected.gettimeout() or 0.0)) > TIMEOUT_STEP:
                self._connected.settimeout(left)


class Deadlined:
    """What both kinds of connection do: every socket keeps the call's deadline, also
    while a proxy is asked for a tunnel."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock = DeadlineSocket(self.sock)

    def _tunnel(self) -> None:
        plain = self.sock
        self.sock = DeadlineSocket(plain)
        super()._tunnel()  # type: ignore[misc]
        self.sock = plain


class DeadlineHTTP(Deadlined, HTTPConnection):
    pass


class DeadlineHTTPS(Deadlined, HTTPSConnection):
    pass


class BoundedBody:
    """The body of an answer, inflated, up to LONGEST_ANSWER; the rest is never read."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def stream(self, *args: Any, **options: Any) -> Iterator[bytes]:
        # In one piece, as many small ones would take many times their length.
        whole = bytearray()
        for piece in self._body.stream(*args, **options):
            whole += piece[: LONGEST_ANSWER - len(whole)]
            if len(whole) == LONGEST_ANSWER:
                self._body.close()
                break
        yield bytes(whole)


class DeadlineAdapter(HTTPAdapter):
    """An adapter whose pools open deadline-keeping connections, proxied ones too, and
    whose answers are bounded."""

    # What a connection was last asked for, and the pool that has it.
    _last: tuple[Any, Any] = (None, None)

    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        asked = (urlsplit(request.url)[:2], verify, proxies, cert)
        known, found = self._last  # as one, for other threads
        if known == asked:
            # For requests it takes a twentieth of a call to find it again.
            return found
        options = {"proxies": proxies, "cert": cert}
        pool: Any = super().get_connection_with_tls_context(request, verify, **options)
        is_tls = pool.scheme == "https"
        pool.ConnectionCls = DeadlineHTTPS if is_tls else DeadlineHTTP
        self._last = (asked, pool)
        return pool

    def close(self) -> None:
        self._last = (None, None)
        super().close()

    def build_response(self, *args: Any, **options: Any) -> requests.Response:
        response = super().build_response(*args, **options)
        response.raw = BoundedBody(response.raw)
        return response


@contextmanager
def _failures_as_outcomes() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # which all complaints of an address are
        raise Misconfigured(f"bad address: {type(error).__name__}") from None
    except requests.RequestException as error:
        raise Retry(f"no answer: {type(error).__name__}") from None


def _said(response: requests.Response) -> str:
    text = response.content[:DETAIL_BYTES].decode(errors="replace")
    request_id = response.headers.get("x-request-id")
    return f"x-request-id: {request_id}\n{text}" if request_id else text
