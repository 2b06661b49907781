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
from router.requirements import is_absent
from router.timestamps import format_iso, parse

TYPES = ("identify", "track", "page", "screen", "group", "alias")

# Credentials, and what only a server may say: never passed on.
STRIPPED = ("writeKey", "_metadata", "receivedAt", "request_ip", "rudderId")

IDS = ("userId", "anonymousId", "groupId", "previousId")

OBJECTS = ("properties", "traits", "context")
TEXTS = ("name", "category")

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


@dataclass(frozen=True)
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


def accept(
    raw: Any, source: str, arrival: Arrival, new_id: Callable[[], str]
) -> Accepted:
    """The event that goes into the log; raises InvalidEvent."""
    notes: list[str] = []
    event = _normalized(raw, arrival, new_id, notes)
    body, at = codec.dumps(event), arrival.received_at
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
    event = {key: value for key, value in raw.items() if key not in STRIPPED}
    event["type"] = arrival.kind or event.get("type")
    if event["type"] not in TYPES:
        raise InvalidEvent("unknown_type", f"type must be one of {', '.join(TYPES)}")
    if not isinstance(event.get("integrations", {}), dict | None):
        notes.append("integrations_not_object")
        del event["integrations"]
    _inherit(event, arrival.envelope, notes)
    switches = event.get("integrations") or {}
    if any(not isinstance(switches.get(name), bool | None) for name in ALL):
        notes.append("all_not_boolean")
    members: dict[str, Any] = {name: _id(event, name) for name in IDS}
    members |= {name: _member(event, name, dict) for name in OBJECTS}
    if event["type"] in ("page", "screen"):
        members |= {name: _member(event, name, str) for name in TEXTS}
    for name, value in members.items():
        event[name] = value
        if value is None:
            del event[name]
    _require(event)
    _complete(event, arrival)
    event["messageId"] = _identifier(event.get("messageId")) or new_id()
    _set_times(event, arrival, notes)
    return event


def _inherit(
    event: dict[str, Any], envelope: Mapping[str, Any], notes: list[str]
) -> None:
    for name in ("context", "integrations"):
        outer, inner = envelope.get(name), event.get(name)
        if not isinstance(outer, dict | None):
            notes.append(f"{name}_not_object")
        if isinstance(outer, dict) and (inner is None or isinstance(inner, dict)):
            event[name] = {**outer, **(inner or {})}


def _id(event: dict[str, Any], name: str) -> str | None:
    value = event.get(name)
    identifier = _identifier(value)
    if identifier is None and not is_absent(value):
        raise InvalidEvent("invalid_id", f"{name} must be text or a number")
    return identifier


def _identifier(value: Any) -> str | None:
    """The text of an id, or None where value is none."""
    if isinstance(value, bool) or is_absent(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float | Numeral) else None


def _member(event: dict[str, Any], name: str, kind: type) -> Any:
    """An object or a text; refused with the codes of Segment's delivery overview."""
    value = event.get(name)
    if value is not None and not isinstance(value, kind):
        code, words = ("string", "text") if kind is str else ("object", "an object")
        raise InvalidEvent(f"{name}_not_{code}", f"{name} must be {words}")
    return None if is_absent(value) else value


def _require(event: dict[str, Any]) -> None:
    """What each type of call cannot do without."""
    kind = event["type"]
    if "userId" not in event and "anonymousId" not in event:
        missing = "missing identity: give userId or anonymousId"
        raise InvalidEvent("no_user_anon_id", missing)
    if kind == "track" and is_absent(event.get("event")):
        raise InvalidEvent("event_not_defined", "a track call needs an event name")
    if kind == "track" and not isinstance(event["event"], str):
        raise InvalidEvent("event_not_string", "event must be text")
    if kind == "group" and "groupId" not in event:
        raise InvalidEvent("group_id_required", "a group call needs groupId")
    if kind == "alias" and "userId" not in event:
        raise InvalidEvent("user_id_required", "an alias call needs userId")
    if kind == "alias" and "previousId" not in event:
        raise InvalidEvent("previous_id_required", "an alias call needs previousId")


def _complete(event: dict[str, Any], arrival: Arrival) -> None:
    """Gives the event what its client left to the server, or put elsewhere."""
    kind = event["type"]
    context = dict(event.get("context") or {})
    # The SDKs of RudderStack put an identify call's traits there.
    if kind == "identify" and isinstance(context.get("traits"), dict):
        event.setdefault("traits", context["traits"])
    if kind in OBJECT_OF:
        event.setdefault(OBJECT_OF[kind], {})
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
    received_at, said = arrival.received_at, {}
    times = {
        name: event.get(name) for name in ("timestamp", "originalTimestamp", "sentAt")
    }
    times["envelope"] = arrival.envelope.get("sentAt")
    for name, value in times.items():
        said[name] = parse(value)
        if said[name] is None and not is_absent(value):
            notes.append("invalid_timestamp")
    given, original = said["timestamp"], said["originalTimestamp"]
    was_corrected = original is not None and given is not None
    original = _first(original, given, received_at)
    sent = _first(said["sentAt"], said["envelope"], received_at)
    corrected = received_at - (sent - original)
    happened = _first(given if was_corrected else None, corrected)
    event["originalTimestamp"] = format_iso(original)
    try:
        event["timestamp"] = format_iso(happened)
    except OverflowError:  # the correction left the calendar
        event["timestamp"] = format_iso(received_at)
    event["sentAt"] = format_iso(sent)
    event["receivedAt"] = format_iso(received_at)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
