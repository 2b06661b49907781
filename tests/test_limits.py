"""How many events a source may send: with a clock of its own, and over processes."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from conftest import CONF, ROOT, Router
from hypothesis import given
from hypothesis import strategies as st
from sdk.faults import kill

from router.limits import BURST, STATE, Limits

EVENT = {"type": "track", "userId": "u", "event": "E"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(tmp_path: Path, clock: Clock) -> Limits:
    return Limits(tmp_path / "limits", {"web": 8}, clock)


def test_a_source_without_a_limit_never_waits(limits: Limits) -> None:
    assert limits.wait("ios", 10**9) is None
    assert limits.wait("ios", 10**9) is None


def test_a_burst_goes_through_and_the_rest_waits_its_turn(
    limits: Limits, clock: Clock
) -> None:
    assert sum(limits.wait("web", 1) is None for _ in range(99)) == BURST * 8 + 1
    assert limits.wait("web", 1) == pytest.approx(1 / 8)
    clock.now += 1 / 8
    assert limits.wait("web", 1) is None
    assert limits.wait("web", 1) is not None
    clock.now += 1000
    assert sum(limits.wait("web", 1) is None for _ in range(99)) == BURST * 8 + 1


def test_a_batch_larger_than_the_burst_is_taken_and_made_up_for(
    limits: Limits, clock: Clock
) -> None:
    assert limits.wait("web", 80) is None
    assert limits.wait("web", 1) == pytest.approx(10 - BURST)
    clock.now += 10 - BURST + 0.01
    assert limits.wait("web", 1) is None


def test_what_is_refused_is_not_charged(limits: Limits, clock: Clock) -> None:
    limits.wait("web", 80)
    for _ in range(50):
        limits.wait("web", 100)
    assert limits.wait("web", 1) == pytest.approx(10 - BURST)


def test_a_debt_is_paid_in_full_however_low_the_limit(
    tmp_path: Path, clock: Clock
) -> None:
    limits = Limits(tmp_path, {"web": 1}, clock)
    assert limits.wait("web", 2500) is None
    clock.now += 2500 - BURST - 1
    assert limits.wait("web", 1) == 1
    clock.now += 1
    assert limits.wait("web", 1) is None


def test_a_clock_that_begins_anew_forgives_nothing_and_costs_nothing(
    limits: Limits, clock: Clock
) -> None:
    assert limits.wait("web", 80) is None
    clock.now = 3.0
    assert limits.wait("web", 1) == 10 - BURST
    clock.now += 10 - BURST
    assert limits.wait("web", 1) is None


@pytest.mark.parametrize("data", [b"torn", b"", bytes(STATE.size)])
def test_a_file_that_was_cut_off_is_begun_anew(
    limits: Limits, tmp_path: Path, data: bytes
) -> None:
    assert limits.wait("web", 80) is None
    (tmp_path / "limits" / "web").write_bytes(data)
    assert limits.wait("web", 1) is None


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), max_size=40))
def test_over_any_time_no_more_than_the_limit_a_burst_and_one_request(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    limits = Limits(tmp_path_factory.mktemp("limits"), {"web": 10}, clock)
    begun, taken = clock.now, 0
    for seconds, number in steps:
        clock.now += seconds
        if limits.wait("web", number) is None:
            taken += number
        assert taken <= (clock.now - begun + BURST) * 10 + 60


TAKE = """
import sys
from pathlib import Path
from router.limits import Limits

limits = Limits(Path(sys.argv[1]), {"web": 2048}, lambda: 5.0)
print("ready", flush=True)
sys.stdin.readline()
print(sum(limits.wait("web", 1) is None for _ in range(2000)))
"""


def test_the_limit_is_one_over_all_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    takers = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(4)]
    for one in takers:
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
    for one in takers:
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.flush()
    taken = sum(int(one.communicate(timeout=30)[0]) for one in takers)
    assert taken == BURST * 2048 + 1


def test_clients_get_429_and_when_to_come_again(router: Router) -> None:
    router.configure(CONF.replace('"key"', '"key"\nrate_limit = 10'))
    gthread = ["--workers", "2", "--worker-class", "gthread", "--threads", "4"]
    with router.running(*gthread):
        batch = {"batch": [EVENT] * 100}
        assert router.post("/v1/batch", batch).status_code == 200
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: router.post("/v1/t", EVENT), range(16)))
        for answer in answers:
            content = answer.json()
            assert (answer.status_code, content["code"]) == (429, "rate_limited")
            assert content["error"] == content["message"]
            after = answer.headers["Retry-After"]
            assert after.isdigit()
            assert 1 <= int(after) <= 8
            assert answer.headers["X-RateLimit-Reset"] == after
        page = {"Origin": "https://shop.example"}
        refused = requests.post(
            f"{router.url}/v1/t", json=EVENT, auth=("key", ""), headers=page, timeout=9
        )
        exposed = refused.headers["Access-Control-Expose-Headers"]
        assert {"Retry-After", "X-RateLimit-Reset"} <= set(exposed.split(", "))
    assert len(router.archived()) == 100
    assert json.dumps(router.json("status", ok=False)).count("rate_limited") == 1


def test_a_restart_forgives_nothing_and_who_waits_as_told_is_taken(
    router: Router,
) -> None:
    router.configure(CONF.replace('"key"', '"key"\nrate_limit = 10'))
    with router.running("--workers", "2"):
        assert router.post("/v1/batch", {"batch": [EVENT] * 100}).status_code == 200
        kill(router)  # its workers too, which would else answer for a while
        router.start("--workers", "2")
        refused = router.post("/v1/t", EVENT)
        assert refused.status_code == 429
        time.sleep(int(refused.headers["Retry-After"]))
        assert router.post("/v1/t", EVENT).status_code == 200


def test_events_are_taken_where_the_limit_cannot_be_asked(router: Router) -> None:
    router.configure(CONF.replace('"key"', '"key"\nrate_limit = 10'))
    router.data.mkdir()
    (router.data / "limits").write_text("a file in the place of the folder")
    with router.running():
        for _ in range(50):
            assert router.post("/v1/t", EVENT).status_code == 200
    assert router.log().count("the rate limit of web is not in force") == 1
