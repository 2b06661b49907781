"""A partner in every mood, the plugin that delivers to it, and what may become of each
kind of event."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stage import Process, Stage

from router import (
    DestinationSettings,
    Misconfigured,
    Rejected,
    Retry,
    TooLarge,
    codec,
    hookimpl,
)
from router.events import Accepted
from router.requirements import required

DELIVERED = ("delivered", "delivered")

# Kinds of events, with what may become of them. A kind that the plugin refuses may be
# delivered too, once the plugin is mended.
REFUSED = {
    "rejected": ("dead", "rejected"),
    "too_large": ("dead", "event_too_large"),
    "sick": ("dead", "retries_exhausted"),
    "bug": ("dead", "plugin_error"),
}
UNSENT = {
    "mapping_rejected": ("dead", "rejected"),
    "incomplete": ("dead", "requirements"),
    "unwanted": ("skipped", "unsupported_event"),
    "unselected": ("skipped", "event_not_selected"),
    "switched_off": ("skipped", "integrations"),
    "group": ("skipped", "unsupported_type"),
}
MAPPING_BUG = "mapping_bug"
KINDS = ("good", *REFUSED, *UNSENT, MAPPING_BUG)

# How a call ended. For all but the first its events were not taken, as far as the
# router can know.
TAKEN, KILLED, UNDER_WAY = "taken", "killed", "under way"
CODES = {
    Rejected: "rejected",
    TooLarge: "event_too_large",
    Retry: "retries_exhausted",
    ZeroDivisionError: "plugin_error",
    Misconfigured: "misconfigured",
}


class Settings(DestinationSettings):
    partner: Any = None
    process: Any = None


class Plugin:
    @hookimpl
    def settings(self) -> type[Settings]:
        return Settings

    @hookimpl
    def requirements(self) -> dict[str, Any]:
        return {"incomplete": [required("properties.price")]}

    @hookimpl
    def track(self, event: Any, settings: Settings) -> Any:
        match event["event"]:
            case "unwanted":
                return None
            case "mapping_rejected":
                raise Rejected("not this one")
            case "mapping_bug" if not settings.partner.is_mended:
                return {}["a bug in the mapping"]
        return self.identify(event)

    @hookimpl
    def identify(self, event: Any) -> Any:
        return {"id": event["messageId"], "more": "x" * event["more"]}

    @hookimpl
    def connect(self, settings: Settings) -> "Client":
        return Client(settings)

    @hookimpl
    def deliver(self, payloads: Sequence[Any], client: "Client") -> None:
        client.post([payload["id"] for payload in payloads])


@dataclass
class Call:
    """A request to the partner. seen: how many of its events, from the first, it came
    to see."""

    destination: str
    client: "Client"
    ids: Sequence[str]
    number: int
    seen: int = 0
    ended: str = UNDER_WAY

    def __str__(self) -> str:
        batch = f"{' '.join(self.ids)} ({self.seen} seen)"
        return f"{self.destination} call {self.number}: {batch}: {self.ended}"


class Client:
    """One stream's connection to the partner of its destination."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process: Process = settings.process
        self._partner: Partner = settings.partner

    def post(self, ids: Sequence[str]) -> None:
        self._partner.answer(self, ids)


@dataclass
class Partner:
    """Of one destination. kinds: of events, by id. begins: told of each call."""

    stage: Stage
    draw: random.Random
    kinds: dict[str, str]
    begins: Callable[[Call], None]
    calls: list[Call] = field(default_factory=list)
    is_mended: bool = False

    def __post_init__(self) -> None:
        # Of answers that are not the events' own doing, how many are bad.
        self._share = self.draw.choice([0.0, 0.1, 0.3, 0.6])
        self._tells_index = self.draw.choice([True, False])
        self._locked_until = 0.0
        self._most = self.draw.choice([1, 2, 3, 100])

    def answer(self, client: Client, ids: Sequence[str]) -> None:
        """Raises what the plugin raises. A process may be killed before the partner has
        seen the request, and before it sees the answer."""
        name = client.settings.name
        call = Call(name, client, ids, len(self.calls))
        self.calls.append(call)
        self.begins(call)
        try:
            self._pass(client)
            outcome = self._outcome(ids)
            some = self.draw.randint(0, len(ids)) * (self.draw.random() < 0.5)
            call.seen = len(ids) if outcome is None else some
            self._pass(client)
        except BaseException:
            call.ended = KILLED
            raise
        call.ended = TAKEN if outcome is None else CODES[type(outcome)]
        if outcome is not None:
            raise outcome

    def _pass(self, client: Client) -> None:
        client.process.wait(NEVER, self.draw.choice([0.0, 0.001, 0.01, 0.1]))

    def _outcome(self, ids: Sequence[str]) -> BaseException | None:
        if not self.is_mended and (mood := self._mood(ids)):
            return mood
        kinds = [self.kinds[one] for one in ids]
        if "bug" in kinds and not self.is_mended:
            return ZeroDivisionError()
        if "sick" in kinds and not self.is_mended:
            return Retry("unwell")
        if "too_large" in kinds:
            return TooLarge("too much")
        if "rejected" in kinds:
            return Rejected("not that one", self._index(kinds))
        return None

    def _index(self, kinds: Sequence[str]) -> int | None:
        return kinds.index("rejected") if self._tells_index else None

    def _mood(self, ids: Sequence[str]) -> BaseException | None:
        """What is not the events' own doing."""
        draw = self.draw
        if self.stage.now < self._locked_until:
            return Misconfigured("wrong key")
        if len(ids) > self._most:
            return TooLarge("too many")
        if draw.random() >= self._share:
            return None
        match draw.choice("rrrraajjwtbm"):
            case "r":
                return Retry("unwell")
            case "a":
                return Retry("busy", draw.choice([-1, 0, 0.2, 2]))
            case "j":
                return Rejected("not that one")
            case "w":
                # An innocent one, one that is not there, or a bug of the plugin's.
                return Rejected("not that one", draw.randint(-1, len(ids)))
            case "t":
                return TooLarge("too much")
            case "b":
                return ZeroDivisionError()
        self._locked_until = self.stage.now + draw.choice([0.1, 1.0, 3.0])
        return Misconfigured("wrong key")


NEVER = threading.Event()


def made(
    draw: random.Random, user: str, number: int, kind: str, now: float
) -> Accepted:
    """An event of that kind."""
    content = {
        "type": "group" if kind == "group" else draw.choice(["track", "identify"]),
        "event": kind,
        "anonymousId": user,
        "messageId": f"{user}:{number}",
        "more": draw.choice([0, 10, 100]),
    }
    if kind not in ("good", *REFUSED, "group"):
        content["type"] = "track"
    if kind == "switched_off":
        content["integrations"] = {"All": False}
    message_id, body = str(content["messageId"]), codec.dumps(content)
    return Accepted("web", message_id, user, int(now * 1000), body)
