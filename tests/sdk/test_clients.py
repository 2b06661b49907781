"""Unmodified clients: what they send arrives, whatever happens on the way."""

import re
from itertools import count
from typing import Any

import pytest
from conftest import ROOT, eventually

from sdk import faults, golden
from sdk.clients import CLIENTS
from sdk.conftest import CONF, Stage

# Small, so that a stream of events takes many requests.
BATCH = 4


def tracks(first: int, last: int) -> list[dict[str, Any]]:
    """Calls of one user, numbered."""
    common = {"type": "track", "anonymousId": "a", "event": "Counted"}
    return [
        {**common, "messageId": f"m-{n}", "properties": {"n": n}}
        for n in range(first, last)
    ]


def check(stage: Stage, calls: int, test: str) -> list[int]:
    """Each event is in the log once; their numbers, as they came to the archive."""
    eventually(lambda: set(numbers(stage)) == set(range(calls)), 60)
    assert stage.logged() == calls
    came = numbers(stage)
    if test not in stage.client.reorders:
        assert list(dict.fromkeys(came)) == list(range(calls))
    return came


def numbers(stage: Stage) -> list[int]:
    return [event["properties"]["n"] for event in stage.router.archived()]


def test_every_call_arrives_as_in_the_golden_file(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    came = stage.every_call()
    file = golden.GOLDEN / f"{stage.client.golden or stage.client.name}.json"
    if request.config.getoption("write_golden"):
        file.write_text(came)
    assert came == file.read_text()


def test_503_twice_and_every_event_arrives_once(stage: Stage) -> None:
    with stage.router.running(*faults.ACCESS_LOG):
        with stage.run(BATCH) as driver:
            with faults.unavailable(stage.router):
                driver.call(*tracks(0, 20), pause=0.01)
                eventually(lambda: faults.answers(stage.router, 503) >= 2, 30)
            driver.call(*tracks(20, 40), pause=0.01)
        assert len(check(stage, 40, "unavailable")) == 40


def test_429_until_the_rate_is_kept_and_every_event_arrives_once(stage: Stage) -> None:
    limited = 'write_key = "key"\nrate_limit = 4'
    stage.router.configure(CONF.replace('write_key = "key"', limited))
    with stage.router.running(*faults.ACCESS_LOG):
        with stage.run(BATCH) as driver:
            driver.call(*tracks(0, 40), pause=0.01)
        assert faults.answers(stage.router, 429) >= 1
        assert len(check(stage, 40, "limited")) == 40


def test_kill_9_in_the_middle_and_every_event_arrives(stage: Stage) -> None:
    """Only what was on its way to the archive comes to it a second time."""
    stage.router.start()
    with stage.run(BATCH) as driver:
        for sent in count(1):
            driver.call(*tracks(sent - 1, sent), pause=0.01)
            if len(before := numbers(stage)) >= 10:
                break
        faults.kill(stage.router)
        before = numbers(stage)
        driver.call(*tracks(sent, sent + 10), pause=0.01)
        stage.router.start()
        driver.call(*tracks(sent + 10, sent + 20), pause=0.01)
    after = check(stage, sent + 20, "killed")[len(before) :]
    again = set(before) & set(after)
    assert not again or set(before[-len(again) :]) == again
    stage.router.stop()


def test_the_docs_have_a_row_for_every_client_and_version() -> None:
    lines = (ROOT / "docs" / "http-api.md").read_text().replace("/", "-").splitlines()
    rows = [line for line in lines if re.search(r"\| (run|emulated): .*\|$", line)]
    for client in CLIENTS:
        found = re.match(r"(.+?)-(\d+\.\d+\.\d+)", client.name)
        assert found, client.name
        assert any(found[1] in row and found[2] in row for row in rows), client.name
