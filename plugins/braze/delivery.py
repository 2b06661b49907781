"""One request to `/users/track`, and what its answer means."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from router import Partial, Rejected, Retry, TooLarge, codec, hookimpl
from router.client import Session, verdict

from .settings import Settings

logger = logging.getLogger("router.delivery")

KINDS = ("attributes", "events", "purchases")
BAD_REQUEST, TOO_MANY_REQUESTS = 400, 429

Refused = dict[int, Rejected]


@dataclass
class Request:
    """The objects of one request by kind, each with its payload's position."""

    objects: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)

    def add(self, kind: str, position: int, one: Any) -> None:
        self.objects.setdefault(kind, []).append((position, one))

    def __len__(self) -> int:
        return sum(map(len, self.objects.values()))

    def body(self) -> dict[str, list[Any]]:
        return {kind: [one for _, one in found] for kind, found in self.objects.items()}

    def positions(self) -> set[int]:
        return {position for found in self.objects.values() for position, _ in found}

    def refused(self, errors: Sequence[Any]) -> Refused:
        """The payloads whose objects the errors name, as `input_array` and `index`."""
        blamed: dict[int, list[Any]] = {}
        for error in errors:
            position = self.position(error)
            if position is not None:
                blamed.setdefault(position, []).append(error)
        return {position: _rejected(found) for position, found in blamed.items()}

    def position(self, error: Any) -> int | None:
        """The payload that an error is of, if that can be known."""
        if len(self.positions()) == 1:
            return next(iter(self.positions()))
        if not isinstance(error, Mapping):
            return None
        found = self.objects.get(str(error.get("input_array")), [])
        index = error.get("index")
        if not isinstance(index, int) or not 0 <= index < len(found):
            return None
        return found[index][0]


@hookimpl
def deliver(payloads: Sequence[Any], settings: Settings, client: Session) -> None:
    parts = list(split(payloads, settings))
    if len(parts) > 1 and len(payloads) > 1:
        raise TooLarge("more objects than Braze takes in one request")
    refused: Refused = {}
    # Of a lone event, whose objects are too many, there are several.
    for part in parts:
        response = client.post_json(
            f"{settings.endpoint}/users/track",
            part.body(),
            headers={"Authorization": f"Bearer {settings.api_key.get_secret_value()}"},
        )
        refused |= read(response, part, settings.name, time.time())
    if refused:
        raise Partial(refused)


def split(payloads: Sequence[Any], settings: Settings) -> Iterator[Request]:
    """The requests that hold the objects of the payloads, in order."""
    part = Request()
    for position, payload in enumerate(payloads):
        for kind in KINDS:
            for one in payload.get(kind, ()):
                if len(part) == settings.most_objects:
                    yield part
                    part = Request()
                part.add(kind, position, one)
    yield part


def read(response: requests.Response, part: Request, name: str, now: float) -> Refused:
    """What Braze refused of a request that it took, else raises an outcome.

    It takes what is right of a request, and answers 201 with an error for each object
    that is not; or 400, when none is right. name: the destination's. now: epoch
    seconds.
    """
    errors = _errors(response)
    refused = part.refused(errors)
    try:
        verdict(response)
    except Retry as failure:
        after = failure.after
        if after is None and response.status_code == TOO_MANY_REQUESTS:
            after = _until_reset(response.headers.get("X-RateLimit-Reset"), now)
        raise Retry(failure.reason, after, detail=failure.detail) from None
    except Rejected as failure:
        if response.status_code == BAD_REQUEST and refused.keys() == part.positions():
            return refused
        index = min(refused, default=None)
        raise Rejected(failure.reason, index, detail=failure.detail) from None
    if unnamed := sum(part.position(error) is None for error in errors):
        logger.warning("%s: %d errors of Braze name no object", name, unnamed)
    return refused


def _errors(response: requests.Response) -> list[Any]:
    try:
        said = codec.loads(response.content)
    except ValueError:
        return []
    errors = said.get("errors") if isinstance(said, Mapping) else None
    return errors if isinstance(errors, list) else []


def _rejected(errors: Sequence[Any]) -> Rejected:
    kinds = {error.get("input_array") for error in errors if isinstance(error, Mapping)}
    named = [kind for kind in KINDS if kind in kinds]
    what = " and ".join(named) or "objects"
    return Rejected(f"Braze refused its {what}", detail=codec.dumps(errors).decode())


def _until_reset(header: str | None, now: float) -> float | None:
    """Seconds until the instant that X-RateLimit-Reset names, in epoch seconds."""
    text = (header or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        return None
    return float(text) - now
