"""What must be so when calm has returned, whatever was done to the router meanwhile."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Of different temper: the Movable Ink sandbox, and one that is sent to like a webhook.
INK, HOOK = "movable_ink", "hook"
DELIVERED = ("delivered", "delivered")

# Of this name the webhook refuses events until it is mended; then they are retried.
REFUSED = "Refused"

# What becomes of an event of each name; the pages have none.
FATES: Mapping[str | None, Mapping[str, tuple[str, str]]] = {
    "Product Viewed": {INK: DELIVERED, HOOK: DELIVERED},
    "Product Added": {INK: ("dead", "requirements"), HOOK: DELIVERED},
    REFUSED: {INK: ("skipped", "unsupported_event"), HOOK: DELIVERED},
    None: {INK: ("skipped", "unsupported_type"), HOOK: ("skipped", "unsupported_type")},
}

# The most events that a lane of the webhook may have under way: its largest batch.
MOST_UNDER_WAY = 25
PARTITIONS = 8

# Seconds for which a request may lie unread at a partner when its sender is killed.
UNREAD = 1.0

# In every event, in the answers of both partners, and in every secret of conf.d.
CANARY = "canary"


@dataclass(frozen=True)
class Arrival:
    """An event that a partner took. payload: as it was written. asked_at: when its
    request was read, in seconds of the monotonic clock, if the partner tells. is_lost:
    the answer may not have come in time, or at all."""

    id: str
    payload: str
    asked_at: float | None = None
    is_lost: bool = False


@dataclass(frozen=True)
class Explained:
    """What `router explain` says: the outcome, its code, and the payload of one that
    would be delivered."""

    outcome: str
    code: str
    payload: str | None = None


@dataclass(frozen=True)
class Facts:
    """What was seen from outside.

    obligations: ids that were answered with 200, in the order of the answers. log: all
    events of the log, each partition's in order. arrivals: by destination, what its
    partner took, in order. letters: (id, state, code) of its dead letters, in every
    state. retried: ids of those that were put back to work once the webhook was mended.
    explained: by destination, what is said of a sample of ids. upsets: from when to
    when something was done by which a lane loses what it knows of its requests, in
    seconds of the monotonic clock. ledger: rows of `router ledger`. output: what the
    router wrote.
    """

    obligations: Sequence[str]
    log: Sequence[Mapping[str, Any]]
    arrivals: Mapping[str, Sequence[Arrival]]
    letters: Mapping[str, Sequence[tuple[str, str, str]]]
    retried: Sequence[str]
    explained: Mapping[str, Mapping[str, Explained]]
    upsets: Sequence[tuple[float, float]]
    ledger: Mapping[str, Mapping[str, Any]]
    output: str


def user_of(message_id: str) -> str:
    return message_id.partition(":")[0]


def by_user(ids: Iterable[str]) -> dict[str, list[str]]:
    """Each user's ids, in the order of their first appearance."""
    users = defaultdict(list)
    for one in dict.fromkeys(ids):
        users[user_of(one)].append(one)
    return users


def repeats(ids: Sequence[str]) -> int:
    """How many of them were there before."""
    return len(ids) - len(set(ids))


def violations(facts: Facts) -> list[str]:
    """Every promise that was broken; none, if all is well."""
    logged = [event["messageId"] for event in facts.log]
    found = []
    if repeats(logged):
        found.append(f"the log has {repeats(logged)} events twice")
    if lost := set(facts.obligations) - set(logged):
        found.append(f"the log lost {some(lost)}")
    acknowledged = set(facts.obligations)
    kept = by_user(one for one in logged if one in acknowledged)
    answered = by_user(one for one in facts.obligations if one not in lost)
    if wrong := [user for user, ids in answered.items() if kept[user] != ids]:
        found.append(f"the log has not kept the order of the answers of {some(wrong)}")
    for destination in (INK, HOOK):
        found += [f"{destination}: {one}" for one in _unkept(facts, destination)]
    if CANARY in facts.output:
        line = next(one for one in facts.output.splitlines() if CANARY in one)
        found.append(f"a secret or a customer's data is in the router's output: {line}")
    if "Traceback" in facts.output:
        start = facts.output.index("Traceback")
        found.append(f"a traceback: {facts.output[start : start + 2000]}")
    return found


def _unkept(facts: Facts, destination: str) -> list[str]:
    fates = {e["messageId"]: FATES[e.get("event")][destination] for e in facts.log}
    due = {one for one, fate in fates.items() if fate == DELIVERED}
    taken = {one.id for one in facts.arrivals[destination]}
    found = []
    if lost := due - taken:
        found.append(f"lost {some(lost)}")
    if strange := taken - due:
        found.append(f"should not have got {some(strange)}")
    found += _out_of_order(facts, destination)
    found += _repeated(facts, destination)
    found += _unlike_explained(facts, destination, fates)
    found += _uneven(facts, destination, fates)
    return found


def _in_turn(facts: Facts, destination: str) -> list[str]:
    """What goes out in the log's order: not what is refused, and retried later."""
    return [
        event["messageId"]
        for event in facts.log
        if FATES[name := event.get("event")][destination] == DELIVERED
        and name != REFUSED
    ]


def _out_of_order(facts: Facts, destination: str) -> list[str]:
    arrived = list(dict.fromkeys(one.id for one in facts.arrivals[destination]))
    in_turn = _in_turn(facts, destination)
    retried = set(facts.retried) if destination == HOOK else set()
    again = [e["messageId"] for e in facts.log if e["messageId"] in retried]
    found = []
    for what, ids in (("out of order", in_turn), ("retried out of order", again)):
        came = set(arrived) & set(ids)
        expected = by_user(one for one in ids if one in came)
        orders = by_user(one for one in arrived if one in came)
        if wrong := [user for user, ids in expected.items() if orders[user] != ids]:
            found.append(f"{what}: {some(wrong)}: {orders[min(wrong)]}")
    return found


def _repeated(facts: Facts, destination: str) -> list[str]:
    """Repeats that should not be, by a partner that tells when it was asked: some are
    asked in time, and take late what was sent again meanwhile."""
    known = [one for one in facts.arrivals[destination] if one.asked_at is not None]
    asked = sorted(known, key=lambda one: one.asked_at or 0)
    found = []
    if older := _too_old(asked, _in_turn(facts, destination)):
        found.append(f"got again what was under way no more: {some(older)}")
    if needless := _needless(asked, facts.upsets):
        found.append(f"got again for no reason: {some(needless)}")
    return found


def _too_old(asked: Sequence[Arrival], in_turn: Sequence[str]) -> set[str]:
    """What came again when its lane had gone on by more than is ever under way."""
    places: dict[str, tuple[int, int]] = {}
    newest: Counter[int] = Counter()
    for one in in_turn:
        partition = zlib.crc32(user_of(one).encode()) % PARTITIONS
        newest[partition] += 1
        places[one] = (partition, newest[partition])
    newest.clear()
    seen, older = set(), set()
    for one in (arrival.id for arrival in asked if arrival.id in places):
        partition, place = places[one]
        newest[partition] = max(newest[partition], place)
        if one in seen and newest[partition] - place >= MOST_UNDER_WAY:
            older.add(one)
        seen.add(one)
    return older


def _needless(
    asked: Sequence[Arrival], upsets: Sequence[tuple[float, float]]
) -> set[str]:
    """What was sent again though its answer was not lost, and nothing had happened to
    its lane since. Only for lanes of one stream: with more, an ordinary stop repeats
    what was sent behind a batch that waits."""
    last: dict[str, Arrival] = {}
    found = set()
    for arrival in asked:
        before, last[arrival.id] = last.get(arrival.id), arrival
        if before is None or before.is_lost:
            continue
        since, now = (before.asked_at or 0) - UNREAD, arrival.asked_at or 0
        if not any(since <= end and start <= now for start, end in upsets):
            found.add(arrival.id)
    return found


def _unlike_explained(
    facts: Facts, destination: str, fates: Mapping[str, tuple[str, str]]
) -> list[str]:
    """Also when it says what should not become of an event."""
    explained = facts.explained[destination]
    delivered = ("deliver", "deliver")
    outcomes = {
        one: delivered if fates[one] == DELIVERED else fates[one] for one in explained
    }
    found = []
    if wrong := [
        one
        for one, said in explained.items()
        if (said.outcome, said.code) != outcomes[one]
    ]:
        found.append(f"explain is wrong of {some(wrong)}")
    if unlike := {
        one.id
        for one in facts.arrivals[destination]
        if one.id in explained and one.payload != explained[one.id].payload
    }:
        found.append(f"not the payload that explain shows: {some(unlike)}")
    return found


def _uneven(
    facts: Facts, destination: str, fates: Mapping[str, tuple[str, str]]
) -> list[str]:
    found = []
    dead = Counter(
        f"{one} {code}" for one, (state, code) in fates.items() if state == "dead"
    )
    # One that was put back to work, and taken, is kept for a while.
    closed = {
        event["messageId"]
        for event in facts.log
        if event.get("event") == REFUSED and destination == HOOK
    }
    letters = Counter(
        f"{one} {code}"
        for one, state, code in facts.letters[destination]
        if not (state == "delivered" and one in closed)
    )
    if letters != dead:
        different = (letters - dead) + (dead - letters)
        found.append(f"dead letters differ: {some(different)}")
    row, counts = facts.ledger[destination], Counter(fates.values())
    expected = {
        "accepted": len(facts.log),
        "delivered": counts[DELIVERED],
        "skipped": {c: n for (s, c), n in sorted(counts.items()) if s == "skipped"},
        "dead": {c: n for (s, c), n in sorted(counts.items()) if s == "dead"},
        "expired": {},
        "pending": 0,
        "balanced": True,
    }
    found += [
        f"ledger: {name} is {row[name]}, not {value}"
        for name, value in expected.items()
        if row[name] != value
    ]
    return found


def some(ids: Iterable[str]) -> str:
    """How many there are, and the first few."""
    ordered = sorted(ids)
    return f"{len(ordered)} ({', '.join(ordered[:5])})"
