"""The circuit of a destination: when it opens, what happens then, how it closes."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
from conftest import eventually
from partners import (
    BUG,
    PLUGIN,
    QUICK,
    TAKEN,
    TOO_LARGE,
    Partner,
    Request,
    Site,
    rejected,
    retry,
)

from router.circuit import Circuit
from router.destination import PLUGIN_ERROR
from router.gate import CIRCUIT, MISCONFIGURED, RETRY
from router.ledger import ALL_PARTITIONS, Hold
from router.retry import Policy

# Ten calls of which half fail; waits of a fixed length, so that probes can be counted.
STEADY = Policy(first=0.3, longest=0.3, draw=lambda low, high: high)


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
def site(tmp_path: Path, partner: Partner) -> Iterator[Site]:
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        made.configure()
        yield made
        made.close()


class Mendable:
    """A script: every call fails until it is mended, after a moment."""

    def __init__(self) -> None:
        self.is_mended = False

    def __call__(self, request: Request) -> object:
        time.sleep(0.02)
        return TAKEN if self.is_mended else retry()


@pytest.fixture
def failing(partner: Partner) -> Mendable:
    partner.script = script = Mendable()
    return script


def users_of(site: Site) -> list[str]:
    """One user for each partition."""
    return [site.user_in(partition) for partition in range(4)]


def accept(site: Site, numbers: range) -> list[str]:
    return site.accept([(user, n) for n in numbers for user in users_of(site)])


def is_open(site: Site) -> Hold | None:
    (hold, *more) = [*site.ledger.holds("shop"), None]
    return hold if hold and hold.kind == CIRCUIT and more == [None] else None


def opens(*calls: tuple[int, bool], policy: Policy = QUICK) -> list[bool]:
    circuit = Circuit(policy)
    return [circuit.add(lane, is_failing=failed) for lane, failed in calls]


# When it opens.


def test_it_opens_at_the_tenth_call_and_says_so_once():
    calls = [(n % 2, True) for n in range(15)]
    assert opens(*calls) == [False] * 9 + [True] + [False] * 5


def test_fewer_calls_are_no_evidence():
    assert not any(opens(*[(n, True) for n in range(9)]))


def test_it_opens_when_half_of_the_last_calls_have_failed():
    good, bad = (0, False), (1, True)
    assert opens(*[good] * 5, *[bad] * 4, (2, True)) == [False] * 9 + [True]
    assert not any(opens(*[good] * 6, *[bad] * 4, (2, False)))
    assert opens(*[good] * 100, *[bad] * 9, (2, True))[-1]


def test_one_lane_that_fails_is_no_evidence():
    assert not any(opens(*[(3, True)] * 100))


def test_calls_from_before_a_hold_are_forgotten():
    circuit = Circuit(QUICK)
    for lane in range(9):
        circuit.add(lane, is_failing=True)
    circuit.forget()
    assert not circuit.add(9, is_failing=True)


def test_a_few_failures_do_not_open_it(site, partner):
    partner.script = lambda request: retry() if request.attempt < 3 else TAKEN
    seen = set()
    with site.delivering():
        # Three calls for each are nine: the tenth, were it one that fails, opens it.
        ids = site.accept([(user, 0) for user in users_of(site)[:3]])
        while not site.is_done():
            seen |= {hold.kind for hold in site.ledger.holds("shop")}
    assert sorted(partner.taken()) == sorted(ids)
    assert seen <= {"retry"}


def test_an_event_that_always_fails_holds_its_own_lane_and_no_other(site, partner):
    users = users_of(site)
    partner.script = lambda r: retry() if r.ids == (f"{users[0]}:0",) else TAKEN
    with site.delivering():
        site.accept([(users[0], 0)])
        eventually(lambda: len(partner.sent()) > 25)
        accept(site, range(1, 4))
        eventually(lambda: len(partner.taken()) == 9)
        assert [hold.partition for hold in site.ledger.holds("shop")] in ([0], [])


@pytest.mark.parametrize("outcome", [rejected(), TOO_LARGE])
def test_errors_of_the_payload_do_not_open_it(site, partner, outcome):
    partner.script = lambda request: outcome
    with site.delivering():
        ids = accept(site, range(10))
        while not site.is_done():
            assert site.ledger.holds("shop") == []
    assert sorted(site.dead()) == sorted(ids)


# While it is open.


def test_one_call_at_a_time_probes_and_nothing_is_lost_or_given_up(
    site, partner, failing, caplog
):
    site.configure(give_up_after="1ms", concurrency=2)
    with site.delivering(STEADY):
        ids = accept(site, range(5))
        hold = eventually(lambda: is_open(site))
        assert (hold.partition, hold.reason) == (ALL_PARTITIONS, "unwell")
        eventually(lambda: is_open(site).probes)
        partner.most_at_once.clear()
        before = len(partner.sent())
        eventually(lambda: len(partner.sent()) > before + 10)
        assert partner.most_at_once["shop"] == 1
        began = [request.began for request in partner.sent()[before:]]
        assert min(b - a for a, b in pairwise(began)) > 0.29
        assert is_open(site).since == hold.since
        assert site.dead() == []
        failing.is_mended = True
        eventually(site.is_done)
    assert site.ledger.holds("shop") == []
    assert sorted(partner.taken()) == sorted(ids)
    for user in users_of(site):
        mine = [one for one in partner.taken() if one.startswith(f"{user}:")]
        assert mine == [f"{user}:{n}" for n in range(5)]
    lines = [record.message for record in caplog.records]
    assert lines == [
        "shop: circuit open, one call at a time: unwell",
        "shop: circuit closed: taken again",
    ]


def test_what_failed_during_an_outage_is_not_given_up_at_its_next_failure(
    site, partner, failing
):
    site.configure(give_up_after="1ms")
    users = users_of(site)
    with site.delivering(Policy(first=0.3, longest=0.3, give_up_attempts=5)):
        site.accept([(user, 0) for user in users[1:]])
        eventually(lambda: is_open(site))
        site.accept([(users[0], 0)])
        hopeless = (f"{users[0]}:0",)

        def tries():
            return [request.ids for request in partner.sent()].count(hopeless)

        eventually(lambda: tries() > 5, 30)
        in_outage = tries()
        partner.script = lambda r: retry() if r.ids == hopeless else TAKEN
        numbers = count(1)

        def is_dead():
            site.accept([(users[1], next(numbers))])
            return site.dead() == [f"{users[0]}:0"]

        eventually(is_dead, 30, every=0.2)
    (letter,) = site.ledger.dead_letters("shop")
    assert letter.code == "retries_exhausted"
    # What failed as a probe is not counted for that, though it was sent.
    assert tries() - in_outage >= 5
    assert letter.attempts == tries()


def test_a_lane_that_probes_in_vain_leaves_the_next_probe_to_another(site, partner):
    users = users_of(site)
    poison = (f"{users[0]}:0",)
    partner.script = lambda r: retry() if r.ids == poison else TAKEN

    def poisoned():
        return [request.ids for request in partner.sent()].count(poison)

    wasted = 0
    with site.delivering(STEADY):
        site.accept([(users[0], 0)])
        for number in range(1, 9):
            now = time.time()
            site.ledger.hold("shop", Hold(CIRCUIT, "unwell", now, now))
            before = poisoned()
            eventually(lambda n=before: poisoned() > n)
            before = poisoned()
            (other,) = site.accept([(users[1], number)])
            eventually(lambda one=other: one in partner.taken())
            wasted += poisoned() - before
            eventually(lambda: not is_open(site))
    assert wasted <= 1


def test_slow_calls_open_it_and_quick_ones_close_it(site, partner, caplog):
    slow = True

    def answer(request):
        time.sleep(0.3 if slow else 0)
        return TAKEN

    partner.script = answer
    # Slow is from 0.2 s on.
    policy = Policy(slow=0.02)
    with site.delivering(policy):
        ids = accept(site, range(14))
        hold = eventually(lambda: is_open(site))
        assert hold.reason.startswith("slow: 0.")
        assert hold.reason.endswith(" s of 10 s")
        # What was under way, and a few more.
        before = len(partner.taken())
        eventually(lambda: len(partner.taken()) > before + 5)
        partner.most_at_once.clear()
        # They go on one by one, though slowly, and without a wait between them.
        before = len(partner.taken())
        eventually(lambda: len(partner.taken()) > before + 5)
        assert partner.most_at_once["shop"] == 1
        assert is_open(site)
        slow = False
        eventually(site.is_done)
    assert site.ledger.holds("shop") == []
    assert sorted(partner.taken()) == sorted(ids)
    assert [record.message for record in caplog.records][1:] == [
        "shop: circuit closed: taken again"
    ]


def test_lanes_that_waited_long_by_themselves_go_on_as_soon_as_it_closes(
    site, partner, failing
):
    with site.delivering(STEADY):
        now = time.time()
        for lane in (2, 3):
            own = Hold("retry", "unwell", now, now + 600, partition=lane)
            site.ledger.hold("shop", own)
        accept(site, range(3))
        eventually(lambda: is_open(site))
        failing.is_mended = True
        eventually(site.is_done)


# A plugin that refuses an event before it asks its partner.

CHOOSY = PLUGIN.replace(
    "    said = client.post",
    """    if any(payload["id"].endswith("999") for payload in payloads):
        raise TooLarge("more than the partner takes")
    said = client.post""",
)


@pytest.mark.parametrize("kind", [CIRCUIT, MISCONFIGURED])
def test_what_the_plugin_refuses_unasked_is_no_answer_of_the_partner(
    site, partner, failing, kind
):
    site.write_plugin("scripted", CHOOSY)
    users = users_of(site)
    now = time.time()
    site.ledger.hold("shop", Hold(kind, "unwell", now, now, probes=1))
    with site.delivering(STEADY):
        site.accept([(users[0], 999)])
        eventually(lambda: site.dead() == [f"{users[0]}:999"])
        (hold,) = site.ledger.holds("shop")
        assert (hold.kind, hold.probes) == (kind, 1)
        # Nobody waits for a probe that was none.
        site.accept([(user, 1) for user in users])
        eventually(partner.sent, 5)
        assert partner.most_at_once["shop"] == 1
        failing.is_mended = True
        eventually(site.is_done)
    assert site.ledger.holds("shop") == []


@pytest.mark.parametrize("kind", [PLUGIN_ERROR, RETRY])
def test_but_it_ends_what_its_lane_alone_waits_for(site, partner, kind):
    site.write_plugin("scripted", CHOOSY)
    users = users_of(site)
    now = time.time()
    own = Hold(kind, "its own", now, now, partition=0)
    whole = Hold(MISCONFIGURED, "wrong key", now, now)
    site.ledger.hold("shop", own)
    with site.delivering(STEADY):
        site.accept([(users[0], 999)])
        eventually(lambda: site.dead() == [f"{users[0]}:999"])
        assert site.ledger.holds("shop") == []
        site.ledger.hold("shop", replace(whole, until=now + 600))
        site.ledger.hold("shop", own)
        site.accept([(users[0], 1999)])
        site.ledger.hold("shop", whole)
        eventually(lambda: len(site.dead()) == 2)
        (hold,) = site.ledger.holds("shop")
        assert (hold.kind, hold.probes) == (MISCONFIGURED, 0)
    assert partner.sent() == []


def test_bugs_that_are_not_in_a_row_hold_no_lane(site, partner):
    site.write_plugin("scripted", CHOOSY)
    site.configure(partitions=1)
    partner.script = lambda request: BUG
    ids = site.accept([("ann", n) for n in (1, 2, 999, 3, 4)])
    with site.delivering(replace(STEADY, stall_after=3)):
        eventually(site.is_done)
    assert site.dead() == ids


OTHER_MEANS = """
from router import DestinationSettings, Rejected, hookimpl


class Settings(DestinationSettings):
    url: str


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event):
    return event


@hookimpl
def deliver(payloads):
    raise Rejected("no")
"""


def test_a_plugin_that_asks_by_other_means_is_believed(site):
    site.write_plugin("scripted", OTHER_MEANS)
    now = time.time()
    site.ledger.hold("shop", Hold(CIRCUIT, "unwell", now, now))
    with site.delivering(STEADY):
        accept(site, range(1))
        eventually(site.is_done)
    assert site.ledger.holds("shop") == []


def test_a_batch_that_is_halved_unasked_is_one_probe(site, partner, failing):
    site.write_plugin("scripted", CHOOSY)
    site.configure(batch_events=8, partitions=1)
    now = time.time()
    site.ledger.hold("shop", Hold(CIRCUIT, "unwell", now, now))
    ids = site.accept([("ann", n) for n in (1, 2, 3, 999)])
    with site.delivering(Policy(first=600.0, longest=600.0, draw=max)):
        eventually(partner.sent, 5)
        eventually(lambda: site.hold().until > time.time() + 60)
        assert (site.hold().kind, site.hold().probes) == (CIRCUIT, 1)
        assert [request.ids for request in partner.sent()] == [tuple(ids[:2])]


# Everywhere, and after a restart.


def test_it_counts_in_every_process(site, partner, failing):
    with site.process(), site.process():
        failing.is_mended = True
        numbers = count()

        def both_deliver():
            number = next(numbers)
            accept(site, range(number, number + 1))
            return len({request.process for request in partner.sent()}) == 2

        eventually(both_deliver, 30, every=0.2)
        eventually(site.is_done)
        before = len(partner.taken())
        failing.is_mended = False
        partner.most_at_once.clear()
        now = time.time()
        site.ledger.hold("shop", Hold(CIRCUIT, "unwell", now, now + 1))
        sent = len(partner.sent())
        accept(site, range(1000, 1003))
        eventually(lambda: len(partner.sent()) > sent + 2, 30)
        assert partner.sent()[sent].began - now_monotonic(now) > 0.9
        assert partner.most_at_once["shop"] == 1
        assert is_open(site)
        failing.is_mended = True
        eventually(site.is_done, 30)
    assert site.ledger.holds("shop") == []
    assert len(partner.taken()) == before + 12
    assert len({request.process for request in partner.sent()[sent:]}) == 2


def now_monotonic(epoch: float) -> float:
    return time.monotonic() - (time.time() - epoch)


def test_a_restart_probes_at_once_and_with_one_call(site, partner, failing):
    slow = Policy(first=600.0, longest=600.0, draw=lambda low, high: high)
    with site.delivering(STEADY):
        accept(site, range(2))
        since = eventually(lambda: is_open(site)).since
    sent = len(partner.sent())
    with site.delivering(slow):
        eventually(lambda: is_open(site) and is_open(site).until > time.time() + 500)
        time.sleep(0.5)
    assert len(partner.sent()) == sent + 1
    assert is_open(site).since == since
    failing.is_mended = True
    with site.delivering(slow):
        eventually(site.is_done)
    assert site.ledger.holds("shop") == []


def test_a_wait_does_not_last_longer_when_the_clock_is_set_back(site, partner):
    now = time.time()
    site.ledger.hold("shop", Hold("retry_after", "busy", now - 10, now + 3600))
    with site.delivering():
        accept(site, range(2))
        eventually(site.is_done)
    assert site.ledger.holds("shop") == []


def test_then_one_call_at_a_time_probes_as_ever(site, partner, failing):
    now = time.time()
    site.ledger.hold("shop", Hold("retry_after", "busy", now - 10, now + 3600))
    began = time.monotonic()
    with site.delivering(STEADY):
        accept(site, range(2))
        eventually(lambda: len(partner.sent()) > 3)
        assert partner.most_at_once["shop"] == 1
        assert len(partner.sent()) <= 2 + (time.monotonic() - began) / STEADY.longest
        failing.is_mended = True
        eventually(site.is_done)
