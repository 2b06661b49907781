"""The judge sees each promise that is broken, and only those."""

from dataclasses import replace
from typing import Any

import pytest

from faults.judge import CANARY, HOOK, INK, Facts, violations
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

# What a router that keeps its promises leaves behind.
KEPT = Facts(
    obligations=[event["messageId"] for event in LOG],
    log=LOG,
    arrivals={
        INK: ["a:0", "b:2", "a:1"],
        HOOK: ["a:0", "a:1", "a:0", "a:1", "a:2", "b:2"],
    },
    letters={INK: [("a:2", "requirements")], HOOK: [("b:0", "rejected")]},
    ledger={
        INK: ROW
        | {
            "delivered": 3,
            "skipped": {"unsupported_event": 1, "unsupported_type": 1},
            "dead": {"requirements": 1},
        },
        HOOK: ROW
        | {"delivered": 4, "skipped": {"unsupported_type": 1}, "dead": {"rejected": 1}},
    },
    output="nothing to be seen\n",
)


def of_ink(**changes: Any) -> dict[str, Any]:
    return dict(KEPT.ledger) | {INK: KEPT.ledger[INK] | changes}


def arriving(*ids: str) -> dict[str, Any]:
    return dict(KEPT.arrivals) | {INK: ids}


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
            {"letters": {**KEPT.letters, INK: []}},
            f"{INK}: dead letters differ: 1 (a:2 requirements)",
        ),
        (
            {"letters": {**KEPT.letters, INK: [("a:2", "rejected")]}},
            f"{INK}: dead letters differ: 2 (a:2 rejected, a:2 requirements)",
        ),
        (
            {"letters": {**KEPT.letters, INK: 2 * [("a:2", "requirements")]}},
            f"{INK}: dead letters differ: 1 (a:2 requirements)",
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
