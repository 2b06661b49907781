"""The judge sees each promise that is broken, and only those."""

from dataclasses import replace
from typing import Any

import pytest

from faults.judge import (
    CANARY,
    HOOK,
    INK,
    MOST_UNDER_WAY,
    Arrival,
    Explained,
    Facts,
    violations,
)
from faults.load import make

LOG = [
    make("a", 0, "Product Viewed"),
    make("a", 1, "Product Viewed"),
    make("a", 2, "Product Added"),
    make("b", 0, "Refused"),
    make("b", 1, None),
    make("b", 2, "Product Viewed"),
]

ROW = {"accepted": 6, "expired": {}, "pending": 0, "balanced": True}

SENT = Explained("deliver", "deliver", "as sent")


def came(*ids: str, asked_at: float | None = None) -> list[Arrival]:
    return [Arrival(one, "as sent", asked_at) for one in ids]


# What a router that keeps its promises leaves behind: a lost answer and a kill cost it
# repeats, and the refused event came later.
KEPT = Facts(
    obligations=[event["messageId"] for event in LOG],
    log=LOG,
    arrivals={
        INK: came("a:0", "b:2", "a:1"),
        HOOK: [
            Arrival("a:0", "as sent", 5.0, is_lost=True),
            *came("a:0", "a:1", asked_at=8.0),
            *came("a:1", "a:2", "b:2", asked_at=10.0),
            *came("b:0", asked_at=20.0),
        ],
    },
    letters={
        INK: [("a:2", "dead", "requirements")],
        HOOK: [("b:0", "delivered", "delivered")],
    },
    retried=["b:0"],
    explained={
        INK: {"a:1": SENT, "a:2": Explained("dead", "requirements")},
        HOOK: {"b:1": Explained("skipped", "unsupported_type"), "b:2": SENT},
    },
    upsets=[(8.5, 9.5)],
    ledger={
        INK: ROW
        | {
            "delivered": 3,
            "skipped": {"unsupported_event": 1, "unsupported_type": 1},
            "dead": {"requirements": 1},
        },
        HOOK: ROW | {"delivered": 5, "skipped": {"unsupported_type": 1}, "dead": {}},
    },
    output="nothing to be seen\n",
)


def of_ink(**changes: Any) -> dict[str, Any]:
    return dict(KEPT.ledger) | {INK: KEPT.ledger[INK] | changes}


def arriving(*ids: str) -> dict[str, Any]:
    return dict(KEPT.arrivals) | {INK: came(*ids)}


def with_letters(*letters: tuple[str, str, str]) -> dict[str, Any]:
    return dict(KEPT.letters) | {INK: letters}


def explained(destination: str, message_id: str, *said: str) -> dict[str, Any]:
    return {**KEPT.explained, destination: {message_id: Explained(*said)}}


def test_a_router_that_keeps_its_promises_is_not_blamed() -> None:
    assert violations(KEPT) == []


def test_an_event_that_nobody_was_told_of_may_be_kept_or_not() -> None:
    assert violations(replace(KEPT, obligations=["a:0", "b:2"])) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"obligations": ["a:0", "z:9"]}, "the log lost 1 (z:9)"),
        (
            {"obligations": ["a:1", "a:0"]},
            "the log has not kept the order of the answers of 1 (a)",
        ),
        ({"log": [*LOG, LOG[0]]}, "the log has 1 events twice"),
        ({"arrivals": arriving("a:0", "b:2")}, f"{INK}: lost 1 (a:1)"),
        (
            {"arrivals": arriving("a:1", "a:0", "b:2", "a:1")},
            f"{INK}: out of order: 1 (a): ['a:1', 'a:0']",
        ),
        (
            {"arrivals": arriving("a:0", "a:1", "b:2", "a:2")},
            f"{INK}: should not have got 1 (a:2)",
        ),
        (
            {"letters": with_letters()},
            f"{INK}: dead letters differ: 1 (a:2 requirements)",
        ),
        (
            {"letters": with_letters(("a:2", "dead", "rejected"))},
            f"{INK}: dead letters differ: 2 (a:2 rejected, a:2 requirements)",
        ),
        (
            {"letters": with_letters(*2 * [("a:2", "dead", "requirements")])},
            f"{INK}: dead letters differ: 1 (a:2 requirements)",
        ),
        (
            {"letters": {**KEPT.letters, HOOK: [("b:0", "dead", "rejected")]}},
            f"{HOOK}: dead letters differ: 1 (b:0 rejected)",
        ),
        ({"upsets": []}, f"{HOOK}: got again for no reason: 1 (a:1)"),
        (
            {"upsets": [(5.5, 6.5), (11.0, 12.0)]},
            f"{HOOK}: got again for no reason: 1 (a:1)",
        ),
        (
            {"explained": explained(INK, "a:1", "deliver", "deliver", "other")},
            f"{INK}: not the payload that explain shows: 1 (a:1)",
        ),
        (
            {"explained": explained(INK, "a:2", "deliver", "deliver", "as sent")},
            f"{INK}: explain is wrong of 1 (a:2)",
        ),
        ({"ledger": of_ink(delivered=2)}, f"{INK}: ledger: delivered is 2, not 3"),
        ({"ledger": of_ink(accepted=7)}, f"{INK}: ledger: accepted is 7, not 6"),
        (
            {"ledger": of_ink(skipped={"unsupported_event": 1})},
            f"{INK}: ledger: skipped is {{'unsupported_event': 1}}, not "
            "{'unsupported_event': 1, 'unsupported_type': 1}",
        ),
        ({"ledger": of_ink(pending=1)}, f"{INK}: ledger: pending is 1, not 0"),
        ({"ledger": of_ink(balanced=False)}, f"{INK}: ledger: balanced is False"),
        ({"output": f"fine\nsaid {CANARY}-1\n"}, f"router's output: said {CANARY}-1"),
        ({"output": "Traceback (most recent call last):"}, "a traceback: Traceback"),
    ],
)
def test_a_broken_promise_is_seen(changes: dict[str, Any], found: str) -> None:
    assert any(found in one for one in violations(replace(KEPT, **changes)))


def test_letters_that_are_retried_out_of_order_are_seen() -> None:
    log = [*LOG, make("b", 3, "Refused")]
    kept = replace(KEPT, log=log, retried=["b:0", "b:3"])
    arrivals = {HOOK: [*came("b:3", asked_at=19.0), *KEPT.arrivals[HOOK]]}
    (found,) = [
        one
        for one in violations(replace(kept, arrivals={**KEPT.arrivals, **arrivals}))
        if "order" in one
    ]
    assert found == f"{HOOK}: retried out of order: 1 (b): ['b:3', 'b:0']"


@pytest.mark.parametrize("behind", [0, 1])
def test_only_what_was_under_way_may_come_again(behind: int) -> None:
    many = MOST_UNDER_WAY + behind
    log = [make("a", number, "Product Viewed") for number in range(many)]
    ids = [event["messageId"] for event in log]
    arrivals = [*came(*ids, asked_at=8.0), *came(ids[0], asked_at=10.0)]
    nothing: dict[str, dict[str, Explained]] = {INK: {}, HOOK: {}}
    facts = replace(KEPT, log=log, explained=nothing)
    found = violations(replace(facts, arrivals={INK: [], HOOK: arrivals}))
    too_old = f"{HOOK}: got again what was under way no more: 1 (a:0)"
    assert (too_old in found) == bool(behind)


def test_what_a_partner_takes_late_was_asked_of_it_in_time() -> None:
    late = Arrival("a:0", "as sent", 1.0, is_lost=True)
    hook = [*KEPT.arrivals[HOOK], late]
    assert violations(replace(KEPT, arrivals={**KEPT.arrivals, HOOK: hook})) == []
