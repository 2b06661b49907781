"""What must be so when calm has returned, whatever was done to the router meanwhile."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Of different temper: the Movable Ink sandbox, and one that is sent to like a webhook.
INK, HOOK = "movable_ink", "hook"
DELIVERED = ("delivered", "delivered")

# What becomes of an event of each name; the pages have none.
FATES: Mapping[str | None, Mapping[str, tuple[str, str]]] = {
    "Product Viewed": {INK: DELIVERED, HOOK: DELIVERED},
    "Product Added": {INK: ("dead", "requirements"), HOOK: DELIVERED},
    "Refused": {INK: ("skipped", "unsupported_event"), HOOK: ("dead", "rejected")},
    None: {INK: ("skipped", "unsupported_type"), HOOK: ("skipped", "unsupported_type")},
}

# In every event, in the answers of both partners, and in every secret of conf.d.
CANARY = "canary"


@dataclass(frozen=True)
class Facts:
    """What was seen from outside.

    obligations: ids that were answered with 200, in the order of the answers. log: all
    events of the log, each partition's in order. arrivals: by destination, the ids that
    its partner took, in order. letters: (id, code) of its dead letters. ledger: rows of
    `router ledger`. output: what the router wrote.
    """

    obligations: Sequence[str]
    log: Sequence[Mapping[str, Any]]
    arrivals: Mapping[str, Sequence[str]]
    letters: Mapping[str, Sequence[tuple[str, str]]]
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
    due = [one for one, fate in fates.items() if fate == DELIVERED]
    arrived = by_user(facts.arrivals[destination])
    found = []
    if lost := set(due) - set(facts.arrivals[destination]):
        found.append(f"lost {some(lost)}")
    if strange := set(facts.arrivals[destination]) - set(due):
        found.append(f"should not have got {some(strange)}")
    orders = by_user(one for one in due if one not in lost)
    if wrong := [user for user, ids in orders.items() if arrived[user] != ids]:
        found.append(f"out of order: {some(wrong)}: {arrived[min(wrong)]}")
    dead = Counter(
        f"{one} {code}" for one, (state, code) in fates.items() if state == "dead"
    )
    letters = Counter(f"{one} {code}" for one, code in facts.letters[destination])
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
