"""Posts events to any URL, signed so that the receiver knows from whom they are.

Ids, timestamps and signatures are those of the Standard Webhooks specification, 1.0.0
(https://www.standardwebhooks.com), so its public libraries verify them.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import falcon
import requests
from pydantic import Field, SecretStr, field_validator
from requests.utils import get_auth_from_url

from router import DestinationSettings, Misconfigured, Rejected, codec, hookimpl
from router.client import Session, verdict
from router.hookspecs import WSGIApp
from router.requirements import is_absolute_url
from router.settings import Duration

PREFIX = "whsec_"
# The specification's, of a key in bytes; and how old a request may be, in seconds.
SHORTEST_KEY, LONGEST_KEY = 24, 64
TOLERANCE = 5 * 60
GONE = 410

# RFC 9110: a name is a token, a value has no control characters and no blank ends.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")
OURS = re.compile(r"webhook-.*|content-length|transfer-encoding", re.IGNORECASE)


class Settings(DestinationSettings):
    """With `batch_events` over 1 each body is a list of events, else it is an event."""

    url: SecretStr = Field(description="where events are posted; may hold a token")
    headers: dict[str, SecretStr] = Field(
        {}, description="a table of more headers, such as Authorization"
    )
    secrets: list[SecretStr] = Field(
        [], description="each signs, as whsec_...; two while one is being replaced"
    )
    # What the specification has senders wait at least.
    timeout: Duration = Field(15.0, description="for one whole request and its answer")

    @field_validator("url")
    @classmethod
    def _url_is_an_address(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        # What the parser says of an address may quote it.
        with suppress(ValueError):
            if is_absolute_url(text) and urlsplit(text).port != 0:
                return SecretStr(text)
        raise ValueError("is no full URL, expected https://example.com/hooks")

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            if not HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
            if OURS.fullmatch(name):
                raise ValueError(f"{name} is set by the router, expected another")
            if not HEADER_VALUE.fullmatch(secret.get_secret_value()):
                raise ValueError(f"{name} is blank, or no header can hold it")
        return value

    @field_validator("secrets")
    @classmethod
    def _secrets_are_keys(cls, value: list[SecretStr]) -> list[SecretStr]:
        for secret in value:
            key(secret)
        return value


@hookimpl
def settings() -> type[Settings]:
    return Settings


@hookimpl
def identify(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return event


track = page = screen = group = alias = identify


@hookimpl
def deliver(payloads: Sequence[Any], settings: Settings, client: Session) -> None:
    is_list = settings.batch_events > 1
    bodies = codec.dump_each(payloads)
    body = b"[%b]" % b",".join(bodies) if is_list else bodies[0]
    url = settings.url.get_secret_value()
    headers = {"Content-Type": "application/json", **plain(settings.headers)}
    headers |= signed(webhook_id(payloads), int(time.time()), body, settings.secrets)
    # The session takes none that are not given to it, not even from the address.
    user = get_auth_from_url(url)
    options: dict[str, Any] = {"auth": user} if any(user) else {}
    read(client.post(url, data=body, headers=headers, **options))


def read(response: requests.Response) -> None:
    """The router's reading, but that 410 is no event's fault: the specification has it
    say that the receiver wants no more."""
    try:
        verdict(response)
    except Rejected as refusal:
        if response.status_code != GONE:
            raise
        raise Misconfigured(refusal.reason, detail=refusal.detail) from None


def webhook_id(payloads: Sequence[Mapping[str, Any]]) -> str:
    """The same for the same events, however often and by whom they are sent.

    A hash, as clients choose message ids, and a dot in one would blur what is signed.
    A message id stands for an event of one source for a day; hence the instant, too.
    """
    names = [[one.get("messageId"), one.get("receivedAt")] for one in payloads]
    return f"msg_{hashlib.sha256(codec.dumps(names)).hexdigest()[:32]}"


def signed(
    name: str, timestamp: int, body: bytes, secrets: Sequence[SecretStr]
) -> dict[str, str]:
    """The headers of one attempt; timestamp: its own, in seconds since 1970."""
    content = f"{name}.{timestamp}.".encode() + body
    headers = {"webhook-id": name, "webhook-timestamp": str(timestamp)}
    if secrets:
        headers["webhook-signature"] = " ".join(sign(key(s), content) for s in secrets)
    return headers


def sign(secret: bytes, content: bytes) -> str:
    """`v1,` and the HMAC-SHA256 in base64."""
    digest = hmac.digest(secret, content, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def key(secret: SecretStr) -> bytes:
    """The bytes that a `whsec_...` stands for; raises ValueError."""
    text = secret.get_secret_value()
    try:
        found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:
        found = b""
    if not (text.startswith(PREFIX) and SHORTEST_KEY <= len(found) <= LONGEST_KEY):
        size = f"{SHORTEST_KEY} to {LONGEST_KEY} bytes"
        raise ValueError(f"expected {PREFIX} and then {size} in base64")
    return found


def plain(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in headers.items()}


@hookimpl
def sandbox(settings: Settings) -> WSGIApp:
    app = falcon.App()
    app.add_sink(Receiver(settings), "/")
    return app


class Receiver:
    """Answers 204 to what a receiver should take, else 401 and why."""

    def __init__(self, settings: Settings) -> None:
        self._headers = plain(settings.headers)
        self._keys = [key(secret) for secret in settings.secrets]

    def __call__(
        self, req: falcon.Request, resp: falcon.Response, **params: Any
    ) -> None:
        if req.method != "POST":
            raise falcon.HTTPMethodNotAllowed(["POST"])
        if problem := self._problem(req, req.bounded_stream.read()):
            raise falcon.HTTPUnauthorized(title=problem)
        resp.status = falcon.HTTP_204

    def _problem(self, req: falcon.Request, body: bytes) -> str | None:
        for name, value in self._headers.items():
            if not is_same(req.get_header(name) or "", value):
                return f"the header {name} is missing or another"
        name = req.get_header("webhook-id") or ""
        timestamp = req.get_header("webhook-timestamp") or ""
        if not re.fullmatch(r"[0-9]{1,12}", timestamp):
            return "webhook-timestamp is missing or no number"
        if abs(time.time() - int(timestamp)) > TOLERANCE:
            return f"webhook-timestamp is {TOLERANCE} seconds off, or more"
        given = (req.get_header("webhook-signature") or "").split(" ")
        content = f"{name}.{timestamp}.".encode() + body
        expected = [sign(one, content) for one in self._keys]
        if expected and not any(is_same(g, e) for g in given for e in expected):
            return "webhook-signature is of another key, or of other content"
        return None


def is_same(given: str, expected: str) -> bool:
    """Compares in constant time, which tells a stranger nothing."""
    return hmac.compare_digest(given.encode(), expected.encode())
