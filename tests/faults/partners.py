"""The two partners, and what goes wrong with them."""

import json
import random
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from time import monotonic, time

import requests

from faults.judge import CANARY, REFUSED, Arrival
from router.testing.scripted import CLOSE, RESET, Request, answer

# The timeout of both destinations, in seconds; a busy machine must keep within it.
TIMEOUT = 3.0

# A plugin as the README has it, for batches.
PLUGIN = """
from pydantic import Field, SecretStr

from router import DestinationSettings, hookimpl
from router.client import verdict


class Settings(DestinationSettings):
    url: SecretStr = Field(description="where events are posted")


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event):
    return {"id": event["messageId"], "name": event["event"], **event["properties"]}


@hookimpl
def deliver(payloads, settings, client):
    verdict(client.post_json(settings.url.get_secret_value(), payloads))
"""

BODY = f"{CANARY} as the partner was sent".encode()
TAKEN = answer()

# Moods in which an answer is lost, or late, or may be late on a busy machine.
LOST = ("late", "slow", "half", "lost")


def elements(text: str) -> list[str]:
    """The elements of the first array in a JSON text, as they are written there."""
    decoder, found = json.JSONDecoder(), []
    end = text.index("[")
    while text[end] != "]":
        start = end + 1
        _, end = decoder.raw_decode(text, start)
        found.append(text[start:end])
    return found


def taken_by_ink(directory: Path) -> list[Arrival]:
    """What the sandbox has noted; a line that a dying process has left is none."""
    found = []
    for line in (directory / "movable_ink.jsonl").read_text().splitlines():
        try:
            events = elements(line)
        except (ValueError, IndexError):
            continue
        found += [Arrival(json.loads(one)["messageId"], one) for one in events]
    return found


class Hook:
    """Takes whole batches, refuses those that hold a poisonous event until it is
    mended, and misbehaves as `mood` says: of its requests, as many as `share` says."""

    def __init__(self, seed: int) -> None:
        self.taken: list[Arrival] = []
        self.mood, self.share = "well", 1.0
        self.is_mended = False
        self._dice = random.Random(f"{seed}/hook")
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Iterator[bytes | float | str]:
        with self._lock:
            mood = self.mood if self._dice.random() < self.share else "well"
        if len(request.body) < int(request.headers["content-length"]):
            yield CLOSE  # its sender was killed
            return
        events, asked_at = json.loads(request.body), monotonic()
        # Now, as what it answers late may be sent again, and refused, before that.
        is_mended = self.is_mended
        match mood:
            case "500":
                yield answer("500 Internal Server Error", body=BODY)
                return
            case "429":
                yield answer("429 Too Many Requests", "Retry-After: 1", body=BODY)
                return
            case "429 until":
                header = f"Retry-After: {formatdate(time() + 2, usegmt=True)}"
                yield answer("429 Too Many Requests", header, body=BODY)
                return
            case "403":
                yield answer("403 Forbidden", body=BODY)
                return
            case "reset":
                yield RESET
                return
            case "late":
                yield TIMEOUT + 0.5
            case "slow":
                yield TIMEOUT * 0.9
        is_poisonous = any(event["name"] == REFUSED for event in events)
        if is_poisonous and not is_mended:
            yield answer("400 Bad Request", body=BODY)
            return
        payloads = elements(request.body.decode())
        with self._lock:
            self.taken += [
                Arrival(event["id"], payload, asked_at, mood in LOST)
                for event, payload in zip(events, payloads, strict=True)
            ]
        if mood == "half":
            yield TAKEN[:12]
            yield CLOSE
        elif mood == "lost":
            yield RESET
        else:
            yield TAKEN


MOODS = ("500", "429", "429 until", "403", "reset", "late", "slow", "half", "lost")

# Of the Movable Ink sandbox; a delay ends a call at its timeout, and is then taken.
FAULTS = {
    "500": {"status": 500},
    "429": {"status": 429, "retry_after": 1},
    "403": {"status": 403},
    "reset": {"reset": True},
    "late": {"delay": TIMEOUT + 0.5},
    "slow": {"delay": TIMEOUT * 0.9},
}


def give_fault(url: str, name: str, times: int) -> bool:
    """Whether the sandbox knows of it; the router that it is part of may be dying."""
    fault = FAULTS[name] | {"times": times, "message": CANARY}
    return _ask("POST", url, json=fault)


def clear_faults(url: str) -> bool:
    return _ask("DELETE", url)


def _ask(method: str, url: str, **options: object) -> bool:
    address = f"{url}/sandbox/movable_ink/faults"
    try:
        return requests.request(method, address, timeout=5, **options).ok
    except requests.RequestException:
        return False
