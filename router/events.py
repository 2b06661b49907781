"""One event, as a client sent it, made into what the log keeps.

The rules are those of Segment's HTTP API as its clients use it; docs/http-api.md
lists them. Fields keep their camelCase names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from router import codec
from router.codec import Numeral
from router.errors import InvalidEvent
from router.lazy import lazy
from router.requirements import is_absent
from router.timestamps import format_iso, parse

TYPES = ("identify", "track", "page", "screen", "group", "alias")

# Credentials, and what only a server may say: never passed on.
STRIPPED = ("writeKey", "_metadata", "receivedAt", "request_ip", "rudderId")

IDS = ("userId", "anonymousId", "groupId", "previousId")

OBJECTS = ("properties", "traits", "context")
TEXTS = ("name", "category")

# What an event takes over from its batch, member by member.
INHERITED = ("context", "integrations")

# The member of `integrations` that stands for all destinations, as clients spell it.
ALL = ("All", "all", "ALL")

# The object that each type of call always has, empty where its client gave none.
OBJECT_OF = {
    "identify": "traits",
    "track": "properties",
    "page": "properties",
    "screen": "properties",
    "group": "traits",
}


# Not frozen: so it is made in a quarter of the time.
@dataclass(slots=True)
class Accepted:
    """An event that may go into the log; received_at in milliseconds."""

    source: str
    message_id: str
    user_key: str
    received_at: int
    body: bytes
    # Codes of what was wrong with it and could be left out.
    notes: tuple[str, ...] = ()

    def columns(self) -> tuple[str, str, int, bytes]:
        """What the log keeps beside the place of the event."""
        return self.source, self.message_id, self.received_at, self.body


@dataclass(frozen=True)
class Arrival:
    """How an event came.

    received_at: its request's, in milliseconds. kind: the type that the request's
    path says, which wins over the event's own. envelope: the batch around it, from
    which it inherits `context`, `integrations` and `sentAt`. address: the client's, and
    whether the client is a browser, whose events get it.
    """

    received_at: int
    kind: str | None = None
    envelope: Mapping[str, Any] = field(default_factory=dict)
    address: str | None = None
    is_browser: bool = False

    # What is the same for all events of a request is made for the first of them.

    @lazy
    def received(self) -> str:
        """received_at as events say it."""
        return format_iso(self.received_at)

    @lazy
    def sent_at(self) -> int:
        """When the envelope was sent, or else received_at, in milliseconds."""
        said = parse(self.envelope.get("sentAt"))
        return self.received_at if said is None else said

    @lazy
    def sent(self) -> str:
        """sent_at as events say it."""
        return format_iso(self.sent_at)

    @lazy
    def inherited(self) -> dict[str, dict[str, Any]]:
        """The objects that events inherit, by name."""
        found = {name: self.envelope.get(name) for name in INHERITED}
        return {name: value for name, value in found.items() if isinstance(value, dict)}

    @lazy
    def notes(self) -> tuple[str, ...]:
        """Codes of what is wrong with the envelope, as each event has them."""
        outer = [(name, self.envelope.get(name)) for name in INHERITED]
        wrong = [f"{name}_not_object" for name, value in outer if not _is_object(value)]
        said = self.envelope.get("sentAt")
        if parse(said) is None and not is_absent(said):
            wrong.append("invalid_timestamp")
        return tuple(wrong)


def accept(
    raw: Any, source: str, arrival: Arrival, new_id: Callable[[], str]
) -> Accepted:
    """The event that goes into the log; raises InvalidEvent."""
    notes = list(arrival.notes)
    event = _normalized(raw, arrival, new_id, notes)
    body, at = codec.pack(event), arrival.received_at
    return Accepted(source, event["messageId"], user_key(event), at, body, tuple(notes))


def new_id() -> str:
    """A message id for an event that came without one."""
    return str(uuid4())


def user_key(event: Mapping[str, Any]) -> str:
    """What orders events: `anonymousId`, else `userId`."""
    return str(event.get("anonymousId") or event.get("userId") or "")


def _normalized(
    raw: Any, arrival: Arrival, new_id: Callable[[], str], notes: list[str]
) -> dict[str, Any]:
    """The event with its type, ids and times in one form; raises InvalidEvent.

    notes: gets the codes of what was wrong and could be left out.
    """
    if not isinstance(raw, dict):
        raise InvalidEvent("invalid_event", "an event must be a JSON object")
    event = dict(raw)
    for name in STRIPPED:
        event.pop(name, None)
    event["type"] = kind = arrival.kind or event.get("type")
    if kind not in TYPES:
        raise InvalidEvent("unknown_type", f"type must be one of {', '.join(TYPES)}")
    if not _is_object(event.get("integrations")):
        notes.append("integrations_not_object")
        del event["integrations"]
    for name, outer in arrival.inherited.items():
        if _is_object(event.get(name)):
            event[name] = {**outer, **(event.get(name) or {})}
    switches = event.get("integrations")
    if switches and any(
        not isinstance(switches.get(name), bool | None) for name in ALL
    ):
        notes.append("all_not_boolean")
    for name in IDS:
        if name in event:
            _settle_id(event, name)
    for name in OBJECTS:
        if name in event:
            _settle_object(event, name)
    if kind in ("page", "screen"):
        for name in TEXTS:
            if name in event:
                _settle_text(event, name)
    _require(event)
    _complete(event, arrival)
    event["messageId"] = _identifier(event.get("messageId")) or new_id()
    _set_times(event, arrival, notes)
    return event


def _is_object(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _settle_id(event: dict[str, Any], name: str) -> None:
    value = event[name]
    identifier = _identifier(value)
    if identifier is not None:
        event[name] = identifier
    elif is_absent(value):
        del event[name]
    else:
        raise InvalidEvent("invalid_id", f"{name} must be text or a number")


def _identifier(value: Any) -> str | None:
    """The text of an id, or None where value is none."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int | float | Numeral) and not isinstance(value, bool)
    return str(value) if is_number else None


# What is of another kind is refused with the codes of Segment's delivery overview.


def _settle_object(event: dict[str, Any], name: str) -> None:
    if event[name] is None:
        del event[name]
    elif not isinstance(event[name], dict):
        raise InvalidEvent(f"{name}_not_object", f"{name} must be an object")


def _settle_text(event: dict[str, Any], name: str) -> None:
    if is_absent(event[name]):
        del event[name]
    elif not isinstance(event[name], str):
        raise InvalidEvent(f"{name}_not_string", f"{name} must be text")


def _require(event: dict[str, Any]) -> None:
    """What each type of call cannot do without."""
    kind = event["type"]
    if "userId" not in event and "anonymousId" not in event:
        missing = "missing identity: give userId or anonymousId"
        raise InvalidEvent("no_user_anon_id", missing)
    if kind == "track":
        name = event.get("event")
        if is_absent(name):
            raise InvalidEvent("event_not_defined", "a track call needs an event name")
        if not isinstance(name, str):
            raise InvalidEvent("event_not_string", "event must be text")
    if kind == "group" and "groupId" not in event:
        raise InvalidEvent("group_id_required", "a group call needs groupId")
    if kind == "alias" and "userId" not in event:
        raise InvalidEvent("user_id_required", "an alias call needs userId")
    if kind == "alias" and "previousId" not in event:
        raise InvalidEvent("previous_id_required", "an alias call needs previousId")


def _complete(event: dict[str, Any], arrival: Arrival) -> None:
    """Gives the event what its client left to the server, or put elsewhere."""
    kind, context = event["type"], event.get("context") or {}
    # The SDKs of RudderStack put an identify call's traits there.
    if kind == "identify" and isinstance(context.get("traits"), dict):
        event.setdefault("traits", context["traits"])
    if kind in OBJECT_OF:
        event.setdefault(OBJECT_OF[kind], {})
    if "direct" in context or arrival.is_browser:
        context = dict(context)
        is_direct = context.pop("direct", None) is True
        if arrival.address and (is_direct or arrival.is_browser):
            context["ip"] = context.get("ip") or arrival.address
        if context or "context" in event:
            event["context"] = context


def _set_times(event: dict[str, Any], arrival: Arrival, notes: list[str]) -> None:
    """Segment's correction of clocks that are wrong, in whole milliseconds.

    The client says when it happened (O) and when it sent (S) by its own clock; what
    passed between them is true, so it happened at R - (S - O). An event with both an
    originalTimestamp and a timestamp was corrected before.
    """
    given = _instant(event, "timestamp", notes)
    original = _instant(event, "originalTimestamp", notes)
    sent = _instant(event, "sentAt", notes)
    if original is not None and given is not None:
        happened = given
    else:
        if original is None:
            original = arrival.received_at if given is None else given
        passed = (arrival.sent_at if sent is None else sent) - original
        happened = arrival.received_at - passed
    event["originalTimestamp"] = format_iso(original)
    try:
        event["timestamp"] = format_iso(happened)
    except OverflowError:  # the correction left the calendar
        event["timestamp"] = arrival.received
    event["sentAt"] = arrival.sent if sent is None else format_iso(sent)
    event["receivedAt"] = arrival.received


def _instant(event: dict[str, Any], name: str, notes: list[str]) -> int | None:
    value = event.get(name)
    if value is None:
        return None
    instant = parse(value)
    if instant is None and not is_absent(value):
        notes.append("invalid_timestamp")
    return instant
