"""Dead letters as an operator sees them: alike ones together, one of them without what
is a customer's or secret, and its event as it may be changed."""

import re
from collections.abc import Sequence
from typing import Any

from router import codec, reports
from router.destination import Destination
from router.errors import InvalidEvent
from router.events import Arrival, accept, new_id, user_key
from router.explain import MASK, explain, hidden, outcome_row, secrets_of, without
from router.letters import DeadLetter, Letters
from router.timestamps import format_iso

# What makes two messages of one kind differ: quoted values, instants, ids, numbers. The
# status of an answer is none of them.
QUOTED = r"\"[^\"]*\"|`[^`]*`|(?<!\w)'[^']*'(?!\w)"
INSTANT = r"\b\d{4}-\d\d-\d\d[T ][\d:.]+Z?"
ID = r"\b(?=[\w-]{8})(?:[a-zA-Z_-]*\d){3}[\w-]*"
NUMBER = r"\b(?<!answered )(?<!\.py:)\d+(?:\.\d+)?\b"
DIFFERENT = re.compile("|".join((QUOTED, INSTANT, ID, NUMBER)))

REQUEST_ID = re.compile(r"x-request-id: (.*)\n")


def fold(reason: str) -> str:
    """The message without what is of one event alone."""
    return DIFFERENT.sub("*", reason)


def groups(letters: Letters, destination: str | None) -> list[dict[str, Any]]:
    """The dead letters by destination, code and message, most first.

    Id, messageId and problems are those of the last of them, as an example.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in letters.alike(destination):
        key = (one.destination, one.code, fold(one.reason))
        start = {"count": 0, "first": one.first, "last": one.last, "id": one.newest}
        group = found.setdefault(key, start)
        group["count"] += one.count
        group["first"] = min(group["first"], one.first)
        group["last"] = max(group["last"], one.last)
        group["id"] = max(group["id"], one.newest)
    ordered = sorted(found.items(), key=lambda item: -item[1]["count"])
    return [_group(letters, *key, group) for key, group in ordered]


def chosen(
    letters: Letters,
    destination: str | None = None,
    code: str | None = None,
    like: DeadLetter | None = None,
) -> list[int]:
    """The ids of dead letters of a destination, of a code, or of a letter's group, in
    the order of the log."""
    if like is None:
        return [letter_id for letter_id, _ in letters.dead(destination, code)]
    reason = fold(like.reason)
    group = letters.dead(like.destination, like.code)
    return [letter_id for letter_id, said in group if fold(said) == reason]


def page(
    letter: DeadLetter, destination: Destination | None, *, unmask: bool
) -> dict[str, Any]:
    """All about one: what the partner answered, what befell it, what would be sent now.

    Unmask shows the bodies of the event, the request and the answer. Secrets are never
    shown, so where they are not known (the destination is not enabled) neither is the
    answer.
    """
    event, found = letter.event, REQUEST_ID.match(letter.detail)
    history = [{**line, "at": format_iso(line["at"])} for line in letter.history]
    row = reports.letter(letter) | {
        "requestId": found and found[1],
        "detail": letter.detail and MASK,
        "history": history,
        "event": event if unmask else _masked_event(event),
        "now": destination and event and _now(letter, destination, unmask=unmask),
    }
    if destination is None:
        return row
    if unmask:
        row["detail"] = without(letter.detail, secrets_of(destination.settings))
    return hidden(row, destination.settings)


def masked(value: Any) -> Any:
    """The value with its shape, and which of its parts are empty or missing."""
    if isinstance(value, dict):
        return {key: masked(member) for key, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [masked(member) for member in value]
    return value if value is None or value == "" else MASK


def _masked_event(event: Any) -> Any:
    """With its type, which is nothing of a customer's; a dropped one is None."""
    return event and masked(event) | {"type": event["type"]}


def edited(letter: DeadLetter, raw: Any) -> bytes:
    """The body of an event that is to be sent instead of the letter's.

    It is checked as one that comes in; raises InvalidEvent. It must be of the same
    user, in whose order it is sent, and keep its message id.
    """
    arrival = Arrival(letter.record.received_at)
    event = accept(raw, letter.source, arrival, new_id)
    if event.message_id != letter.message_id:
        raise InvalidEvent("message_changed", "messageId must stay as it was")
    if event.user_key != user_key(letter.event):
        who = "anonymousId, or userId where there is none,"
        raise InvalidEvent("user_changed", f"{who} must stay as it was")
    return event.body


def _group(
    letters: Letters, destination: str, code: str, reason: str, group: dict[str, Any]
) -> dict[str, Any]:
    (example,) = letters.find(letter_id=group["id"])
    return {
        "destination": destination,
        "code": code,
        "reason": reason,
        "count": group["count"],
        "first": format_iso(group["first"]),
        "last": format_iso(group["last"]),
        "id": example.id,
        "messageId": example.message_id,
        "problems": list(example.problems),
    }


def _now(
    letter: DeadLetter, destination: Destination, *, unmask: bool
) -> dict[str, Any]:
    if unmask:
        return explain(destination, letter.record)
    delivery = destination.prepare(letter.record)
    payload = masked(codec.loads(codec.dumps(delivery.payload)))
    outcome = delivery.state or "deliver"
    row = outcome_row(destination.name, letter.message_id, outcome, delivery)
    row = hidden(row, destination.settings)
    return row if delivery.state else row | {"payload": payload}
