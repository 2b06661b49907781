"""One event, as a client sent it, made into what the log keeps.

The rules are those of Segment's HTTP API as its clients use it; docs/http-api.md
lists them. Fields keep their camelCase names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from router import codec
from router.errors import InvalidEvent
from router.requirements import is_absent, is_identifier
from router.timestamps import format_iso, parse

TYPES = ("identify", "track", "page", "screen", "group", "alias")

# Credentials and what a client says of itself: used on the way in, never passed on.
STRIPPED = ("writeKey", "_metadata", "receivedAt")

IDS = ("userId", "anonymousId", "groupId", "previousId")

OBJECTS = ("properties", "traits", "context")
TEXTS = ("name", "category")


@dataclass(frozen=True)
class Accepted:
    """An event that may go into the log; received_at in milliseconds."""

    source: str
    message_id: str
    user_key: str
    received_at: int
    body: bytes

    def columns(self) -> tuple[str, str, int, bytes]:
        """What the log keeps beside the place of the event."""
        return self.source, self.message_id, self.received_at, self.body


def accept(
    raw: Any,
    source: str,
    received_at: int,
    new_id: Callable[[], str],
    kind: str | None = None,
    envelope: Mapping[str, Any] | None = None,
) -> Accepted:
    """The event that goes into the log; raises InvalidEvent.

    kind: the type that the request's path says, which wins over the event's own.
    envelope: the batch around it, from which it inherits `context`, `integrations`
    and `sentAt`. received_at: the request's, in milliseconds.
    """
    event = normalize(raw, received_at, new_id, kind, envelope or {})
    try:
        body = codec.dumps(event)
    except ValueError:
        raise InvalidEvent(
            "invalid_number", "NaN and infinities are not JSON: send null instead"
        ) from None
    # Lone surrogates in them are repaired as those in the body were.
    ids = codec.dumps([event["messageId"], user_key(event)])
    message_id, key = codec.loads(ids)
    return Accepted(source, message_id, key, received_at, body)


def new_id() -> str:
    """A message id for an event that came without one."""
    return str(uuid4())


def user_key(event: Mapping[str, Any]) -> str:
    """What orders events: `anonymousId`, else `userId`."""
    return str(event.get("anonymousId") or event.get("userId") or "")


def normalize(
    raw: Any,
    received_at: int,
    new_id: Callable[[], str],
    kind: str | None,
    envelope: Mapping[str, Any],
) -> dict[str, Any]:
    """The event with its type, ids and times in one form; raises InvalidEvent."""
    if not isinstance(raw, dict):
        raise InvalidEvent("invalid_event", "an event must be a JSON object")
    event = {key: value for key, value in raw.items() if key not in STRIPPED}
    event["type"] = kind or event.get("type")
    if event["type"] not in TYPES:
        raise InvalidEvent("unknown_type", f"type must be one of {', '.join(TYPES)}")
    _inherit(event, envelope)
    members: dict[str, Any] = {name: _id(event, name) for name in IDS}
    members |= {name: _member(event, name, dict) for name in OBJECTS}
    if event["type"] in ("page", "screen"):
        members |= {name: _member(event, name, str) for name in TEXTS}
    for name, value in members.items():
        event[name] = value
        if value is None:
            del event[name]
    _require(event)
    given = event.get("messageId")
    event["messageId"] = str(given) if is_identifier(given) else new_id()
    _set_times(event, received_at, envelope)
    return event


def _inherit(event: dict[str, Any], envelope: Mapping[str, Any]) -> None:
    for name in ("context", "integrations"):
        outer, inner = envelope.get(name), event.get(name)
        if isinstance(outer, dict) and (inner is None or isinstance(inner, dict)):
            event[name] = {**outer, **(inner or {})}


def _id(event: dict[str, Any], name: str) -> str | None:
    value = event.get(name)
    if is_absent(value):
        return None
    if not is_identifier(value):
        raise InvalidEvent("invalid_id", f"{name} must be text or a whole number")
    return str(int(value)) if isinstance(value, float) else str(value)


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
    if kind == "alias" and "previousId" not in event:
        raise InvalidEvent("previous_id_required", "an alias call needs previousId")


def _set_times(
    event: dict[str, Any], received_at: int, envelope: Mapping[str, Any]
) -> None:
    """Segment's correction of clocks that are wrong, in whole milliseconds.

    The client says when it happened (O) and when it sent (S) by its own clock; what
    passed between them is true, so it happened at R - (S - O). An event with both an
    originalTimestamp and a timestamp was corrected before.
    """
    sent = _first(
        parse(event.get("sentAt")), parse(envelope.get("sentAt")), received_at
    )
    given = parse(event.get("timestamp"))
    original = parse(event.get("originalTimestamp"))
    was_corrected = original is not None and given is not None
    original = _first(original, given, received_at)
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
