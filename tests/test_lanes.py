"""Lanes between a real log and a scripted partner: order, outcomes, holds, takeover."""

import os
import random
import re
import resource
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from itertools import count, pairwise

import partners
import pytest
from conftest import eventually
from partners import (
    BUG,
    MISCONFIGURED,
    QUICK,
    ROOT,
    TAKEN,
    TOO_LARGE,
    Partner,
    Site,
    partial,
    rejected,
    retry,
    stop,
)

from router import config
from router.claims import claim
from router.errors import StorageUnavailable
from router.gate import Stopped, Surroundings
from router.lane import Lane
from router.ledger import Hold
from router.retry import Policy
from router.wakeup import ring

NEVER = 30.0


@pytest.fixture
def partner():
    return Partner()


@pytest.fixture
def site(tmp_path, partner):
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        made.configure()
        yield made
        made.close()


class Clock:
    """Epoch seconds, which pass `speed` times as fast, and may be moved on."""

    def __init__(self, speed=1.0):
        self.began = time.time()
        self.ahead = 0.0
        self.speed = speed

    def __call__(self):
        passed = time.time() - self.began
        return self.began + passed * self.speed + self.ahead


def numbered(user, numbers):
    return [(user, number) for number in numbers]


def by_user(ids):
    found = defaultdict(list)
    for one in ids:
        user, number = one.split(":")
        found[user].append(int(number))
    return dict(found)


def for_a_while(claim, seconds=1.0):
    """That the claim is true and stays so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert claim()
        time.sleep(0.02)


def hold_of(site, destination="shop"):
    """The hold of a destination, once it has one."""
    return eventually(lambda: site.hold(destination))


# Order


def fate(seed):
    """A script of all outcomes, the same for the same requests."""

    def answer(request):
        draw = random.Random(f"{seed}{request.ids}{request.attempt}")
        outcomes = [
            (60, TAKEN),
            (12, retry()),
            (2, retry(0.01)),
            (6, TOO_LARGE),
            (6, rejected()),
            (6, rejected(draw.randrange(len(request.ids)))),
            (6, partial(*draw.sample(range(len(request.ids)), 1))),
            (2, MISCONFIGURED),
            (6, BUG),
        ]
        weights, answers = zip(*outcomes, strict=True)
        return draw.choices(answers, weights)[0]

    return answer


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("batch_events", [1, 10])
def test_no_event_is_overtaken_or_lost_whatever_the_partner_answers(
    site, partner, concurrency, batch_events
):
    site.configure(concurrency=concurrency, batch_events=batch_events)
    partner.script = fate(random.randrange(10**9))
    policy = Policy(first=0.01, longest=0.05, least=0.001, stall_after=10**6)
    events = [(f"u{n % 7}", n) for n in range(140)]
    # Time runs fast, as a probe that is answered with Retry is followed by the next
    # only after the deadline of the call.
    with site.delivering(policy, Clock(speed=50)):
        for begin in range(0, 140, 20):
            site.accept(events[begin : begin + 20])
        site.accept([("u0", 140), ("u1", 141)], name="Bug")
        site.accept([("u0", 142)], name="Unknown")
        eventually(site.is_done, NEVER)
    taken, dead = partner.taken(), site.dead()
    assert len(taken) == len(set(taken))
    assert set(taken).isdisjoint(dead)
    assert {*taken, *dead} == {f"{u}:{n}" for u, n in events} | {"u0:140", "u1:141"}
    assert len(taken) > 70
    for numbers in by_user(taken).values():
        assert numbers == sorted(numbers)
    # Nor was a later event tried before an earlier one had its end.
    tried = defaultdict(list)
    for request in partner.sent():
        for user, numbers in by_user(request.ids).items():
            assert numbers == sorted(numbers)
            tried[user].append(numbers[0])
    for firsts in tried.values():
        assert firsts == sorted(firsts)
    site.check_ledger()
    states = Counter(dict(site.ledger.counts("shop")))
    assert states["delivered", "delivered"] == len(taken)
    assert states["skipped", "unsupported_event"] == 1


def test_events_of_different_users_go_out_at_once_and_those_of_one_do_not(
    site, partner
):
    site.configure(partitions=1, concurrency=4)
    users = [f"u{n}" for n in range(12)]
    under_way, clashes = Counter(), []
    lock = threading.Lock()

    def answer(request):
        user = request.ids[0].split(":")[0]
        with lock:
            under_way[user] += 1
            clashes.append(under_way[user])
        time.sleep(0.02)
        with lock:
            under_way[user] -= 1
        return TAKEN

    partner.script = answer
    site.accept([(user, n) for n in range(3) for user in users])
    with site.delivering():
        eventually(site.is_done)
    assert set(clashes) == {1}
    assert partner.most_at_once["shop"] == 4


# Outcomes


def refusing(guilty, outcome):
    return lambda request: outcome if guilty & set(request.ids) else TAKEN


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(rejected(), "rejected"), (TOO_LARGE, "event_too_large"), (BUG, "plugin_error")],
)
def test_of_eight_events_the_two_guilty_die_and_six_go_out_in_order(
    site, partner, outcome, code
):
    site.configure(partitions=1, batch_events=8)
    ids = site.accept(numbered("ada", range(8)))
    partner.script = refusing({ids[2], ids[7]}, outcome)
    with site.delivering():
        eventually(site.is_done)
    assert site.dead() == [ids[2], ids[7]]
    letters = site.ledger.dead_letters("shop")
    assert {letter.code for letter in letters} == {code}
    # Of eight, of four, of two, and alone.
    assert [letter.attempts for letter in letters] == [4, 4]
    assert partner.taken() == [one for one in ids if one not in site.dead()]
    site.check_ledger()


def test_a_batch_that_is_too_large_goes_out_in_halves(site, partner):
    site.configure(partitions=1, batch_events=8)
    ids = site.accept(numbered("ada", range(8)))
    partner.script = lambda request: TOO_LARGE if len(request.ids) > 3 else TAKEN
    with site.delivering():
        eventually(site.is_done)
    assert [len(request.ids) for request in partner.sent()] == [8, 4, 2, 2, 4, 2, 2]
    assert partner.taken() == ids
    assert site.dead() == []


def test_a_guilty_event_that_the_partner_names_dies_without_halving(site, partner):
    site.configure(partitions=1, batch_events=8)
    ids = site.accept(numbered("ada", range(8)))

    def answer(request):
        return rejected(request.ids.index(ids[3])) if ids[3] in request.ids else TAKEN

    partner.script = answer
    with site.delivering():
        eventually(site.is_done)
    sent = [request.ids for request in partner.sent()]
    assert sent == [tuple(part) for part in (ids, ids[:3], ids[3:4], ids[4:])]
    assert site.dead() == [ids[3]]
    assert partner.taken() == [one for one in ids if one != ids[3]]


def test_those_that_the_partner_refuses_of_a_batch_it_took_die_without_a_second_request(
    site, partner
):
    site.configure(partitions=1, batch_events=8)
    ids = site.accept(numbered("ada", range(8)))
    partner.script = lambda request: partial(1, 6)
    with site.delivering():
        eventually(site.is_done)
    assert [request.ids for request in partner.sent()] == [tuple(ids)]
    letters = site.ledger.dead_letters("shop")
    assert {(one.message_id, one.code, one.reason) for one in letters} == {
        (ids[1], "rejected", "not number 1"),
        (ids[6], "rejected", "not number 6"),
    }
    assert partner.taken() == [ids[n] for n in (0, 2, 3, 4, 5, 7)]
    assert site.ledger.counts("shop") == {
        ("delivered", "delivered"): 6,
        ("dead", "rejected"): 2,
    }


def test_all_of_a_batch_or_none_of_it_may_be_refused_in_parts(site, partner):
    site.configure(partitions=1, batch_events=4)
    ids = site.accept(numbered("ada", range(8)))
    partner.script = lambda r: partial(*range(4)) if ids[0] in r.ids else partial()
    with site.delivering():
        eventually(site.is_done)
    assert site.dead() == ids[:4]
    assert partner.taken() == ids[4:]
    assert len(partner.sent()) == 2


@pytest.mark.parametrize("index", [3, -1])
def test_a_partial_refusal_of_what_was_not_sent_is_a_bug_and_delivers_nothing(
    site, partner, index
):
    site.configure(partitions=1, batch_events=3)
    ids = site.accept(numbered("ada", range(3)))
    partner.script = lambda request: partial(index)
    with site.delivering():
        eventually(site.is_done)
    letters = site.ledger.dead_letters("shop")
    for one in letters:
        assert one.reason.startswith("the plugin raised IndexError at ")
    assert site.dead() == ids


@pytest.mark.parametrize("index", [8, 100, -1])
def test_an_index_that_no_event_has_is_as_good_as_none(site, partner, index):
    site.configure(partitions=1, batch_events=8)
    ids = site.accept(numbered("ada", range(8)))
    partner.script = refusing({ids[3]}, rejected(index))
    with site.delivering():
        eventually(site.is_done, 5)
    assert site.dead() == [ids[3]]
    assert partner.taken() == [one for one in ids if one != ids[3]]
    assert len(partner.sent()) < 10


def test_what_is_tried_again_is_the_same_to_the_byte(site, partner):
    site.configure(partitions=1, batch_events=5)
    site.accept(numbered("ada", range(5)))
    partner.script = lambda request: retry() if request.attempt < 4 else TAKEN
    policy = Policy(first=0.1, longest=0.1, draw=lambda low, high: high)
    with site.delivering(policy):
        site.accept(numbered("ada", range(5, 10)))
        eventually(site.is_done)
    bodies = [request.body for request in partner.sent()]
    assert bodies[:4] == bodies[:1] * 4
    times = [request.began for request in partner.sent()[:4]]
    waits = [after - before for before, after in pairwise(times)]
    assert min(waits) >= 0.09
    assert by_user(partner.taken()) == {"ada": list(range(10))}


def test_each_wait_for_a_partner_that_stays_unwell_may_be_twice_as_long(site, partner):
    site.configure(partitions=1)
    site.accept([("ada", 0)])
    partner.script = lambda request: retry() if request.attempt < 4 else TAKEN
    policy = Policy(first=0.2, draw=lambda low, high: high)
    with site.delivering(policy):
        eventually(site.is_done)
    waits = [b.began - a.began for a, b in pairwise(partner.sent())]
    assert len(waits) == 3
    for wait, least in zip(waits, (0.2, 0.4, 0.8), strict=True):
        assert wait >= least - 0.01


# Holds


def test_retry_after_holds_all_lanes_of_its_destination_and_no_other(site, partner):
    site.configure("shop", "mail")
    busy = True
    partner.script = lambda request: (
        retry(1.5) if busy and request.destination == "shop" else TAKEN
    )
    users = [site.user_in(partition) for partition in range(4)]
    with site.delivering():
        site.accept([(users[0], 0)])
        hold = hold_of(site)
        busy = False
        rest = site.accept([(user, n) for n in range(1, 4) for user in users])
        eventually(lambda: set(rest) <= set(partner.taken("mail")), 1.0)
        assert len(partner.sent("shop")) == 1
        assert (hold.kind, hold.partition) == ("retry_after", -1)
        eventually(site.is_done)
    first, second = partner.sent("shop")[:2]
    assert second.began - first.began >= 1.45
    assert site.hold() is None
    assert len(partner.taken("shop")) == 13


def test_an_answer_that_was_under_way_does_not_end_the_wait_that_a_partner_asked_for(
    site, partner
):
    site.configure(partitions=1, concurrency=8)
    joined, late = threading.Event(), threading.Event()
    asked = threading.Lock()

    def answer(request):
        if asked.acquire(blocking=False):
            joined.wait(10)
            return retry(600.0)
        joined.set()
        late.wait(10)
        return TAKEN

    partner.script = answer
    ids = site.accept([(f"u{n}", n) for n in range(8)])
    with site.delivering():
        hold_of(site)
        # The lane looks at the hold several times before the others are answered, and
        # those that had passed it before have been sent.
        time.sleep(0.5)
        under_way = len(partner.sent())
        assert under_way > 1
        late.set()
        eventually(lambda: len(partner.taken()) >= under_way - 1)
        for_a_while(lambda: site.hold() is not None, 0.5)
    assert partner.sent()[0].ids[0] in ids
    assert len(partner.sent()) == under_way


def test_a_misconfigured_destination_is_held_loses_nothing_and_is_probed_by_one(
    site, partner
):
    mended = False

    def answer(request):
        if mended:
            return TAKEN
        time.sleep(0.03)
        return MISCONFIGURED

    partner.script = answer
    users = [site.user_in(partition) for partition in range(4)]
    with site.delivering():
        site.accept([(users[0], 0)])
        hold_of(site)
        site.accept([(user, n) for n in range(1, 6) for user in users])
        eventually(lambda: len(partner.sent()) > 10)
        assert partner.most_at_once["shop"] == 1
        hold = hold_of(site)
        assert (hold.kind, hold.reason) == ("misconfigured", "wrong key")
        assert hold.partition == -1
        assert site.ledger.counts("shop") == {}
        mended = True
        eventually(site.is_done)
        assert site.hold() is None
    assert site.dead() == []
    assert by_user(partner.taken()) == {
        user: [0, 1, 2, 3, 4, 5][user != users[0] :] for user in users
    }
    site.check_ledger()


def test_requests_that_fail_together_are_one_failure(site, partner):
    together = threading.Barrier(4)

    def answer(request):
        time.sleep(together.wait(10) * 0.1)
        return MISCONFIGURED

    partner.script = answer
    policy = Policy(first=100.0, longest=10_000.0, draw=lambda low, high: high)
    with site.delivering(policy):
        site.accept([(site.user_in(partition), 0) for partition in range(4)])
        hold_of(site)
        for_a_while(lambda: site.hold().until < time.time() + 101)
        assert len(partner.sent()) == 4
        assert site.hold().probes == 0


def test_a_hold_outlives_the_process_and_is_probed_when_it_starts_again(site, partner):
    partner.script = lambda request: MISCONFIGURED
    slow = Policy(first=600.0, longest=600.0, draw=lambda low, high: high)
    (only,) = site.accept([("ada", 0)])
    with site.delivering(slow):
        hold_of(site)
    assert hold_of(site).until > time.time() + 500
    partner.script = lambda request: TAKEN
    with site.delivering(slow):
        eventually(site.is_done)
        assert site.hold() is None
    assert partner.taken() == [only]


def test_a_lane_that_is_stalled_leaves_the_probe_to_those_that_can_go(site, partner):
    stalled, other = site.user_in(0), site.user_in(1)
    with site.delivering():
        site.accept([(stalled, 0)])
        eventually(site.is_done)
        now = time.time()
        own = Hold("plugin_error", "KeyError", now, now + 600, partition=0)
        whole = Hold("misconfigured", "wrong key", now, now - 1)
        site.ledger.hold("shop", own)
        site.ledger.hold("shop", whole)
        site.accept([(stalled, 1)])
        for_a_while(lambda: site.hold() == whole)
        began = time.monotonic()
        site.accept([(other, 2)])
        eventually(lambda: len(partner.taken()) == 2)
        assert time.monotonic() - began < 2
    assert site.ledger.holds("shop") == [own]


# Bugs of a plugin


def test_a_mapping_that_raises_costs_its_own_event_only(site, partner):
    site.configure(partitions=1, batch_events=4)
    good = site.accept(numbered("ada", range(5)))
    bad = site.accept([("ada", 5)], name="Bug")
    good += site.accept(numbered("ada", range(6, 9)))
    bad += site.accept([("ada", 9), ("ada", 10)], name="Bug")
    good += site.accept(numbered("ada", range(11, 15)))
    with site.delivering():
        eventually(site.is_done)
    assert partner.taken() == good
    assert site.dead() == bad
    (letter, *_) = site.ledger.dead_letters("shop")
    assert letter.code == "plugin_error"
    place = rf"{re.escape(str(site.plugins))}/\w+\.py:\d+"
    assert re.fullmatch(f"the plugin raised KeyError at {place}", letter.reason)
    site.check_ledger()


@pytest.mark.parametrize("place", ["Bug", "Confused", "deliver"])
def test_a_bug_that_hits_every_event_stalls_the_lane_and_spares_the_rest(
    site, partner, place
):
    site.configure(partitions=2)
    policy = Policy(first=0.01, longest=0.05, least=0.001, stall_after=3)
    user, other = site.user_in(0), site.user_in(1)
    if place == "deliver":
        partner.script = lambda r: BUG if user in r.ids[0] else TAKEN
    ids = site.accept(numbered(user, range(20)), place)
    with site.delivering(policy):
        eventually(lambda: site.hold() and site.hold().probes >= 3)
        hold = hold_of(site)
        assert (hold.kind, hold.partition) == ("plugin_error", 0)
        assert site.dead() == ids[:3]
        site.accept([(other, 0)])
        eventually(lambda: partner.taken() == [f"{other}:0"])
        assert site.dead() == ids[:3]
        if place == "deliver":
            partner.script = lambda request: TAKEN
            eventually(site.is_done)
            assert site.hold() is None
            assert partner.taken()[1:] == ids[3:]
    site.check_ledger()


@pytest.mark.parametrize(("bugs", "is_passed"), [(1, True), (3, True), (4, False)])
def test_a_held_lane_passes_bugs_where_the_mapping_takes_what_follows(
    site, partner, bugs, is_passed
):
    site.configure(partitions=1)
    bad = site.accept(numbered("ada", range(bugs)), "Bug")
    good = site.accept(numbered("ada", range(bugs, 9)))
    now = time.time()
    site.ledger.hold("shop", Hold("plugin_error", "KeyError", now, now, partition=0))
    with site.delivering(Policy(first=0.01, longest=0.05, least=0.001, stall_after=3)):
        if is_passed:
            eventually(site.is_done)
            assert site.dead() == bad
            assert partner.taken() == good
            assert site.hold() is None
        else:
            eventually(lambda: hold_of(site).probes >= 3)
            assert site.dead() == partner.taken() == []
    site.check_ledger()


def test_a_plugin_that_is_mended_goes_on_where_it_stalled(site, partner):
    site.configure(partitions=1)
    ids = site.accept(numbered("ada", range(20)), "Bug")
    slow = Policy(first=600, longest=600, stall_after=3, draw=lambda low, high: high)
    with site.delivering(slow):
        held_until = hold_of(site).until
    with site.delivering(slow):
        # It is probed when it starts, in vain.
        eventually(lambda: hold_of(site).until > held_until)
        assert site.dead() == ids[:3]
    site.write_plugin("mended", partners.PLUGIN.replace('"Bug"', '"Another"'))
    site.configure(plugin="mended", partitions=1)
    with site.delivering(slow):
        eventually(site.is_done)
    assert site.dead() == ids[:3]
    assert partner.taken() == ids[3:]
    assert site.hold() is None


def test_a_client_that_cannot_be_closed_does_not_keep_the_claim(site, partner):
    site.write_plugin(
        "scripted",
        partners.PLUGIN + "\n\n@hookimpl\ndef connect(settings):\n"
        "    from router.client import Session\n\n"
        "    class Stubborn(Session):\n"
        "        def close(self):\n"
        "            super().close()\n"
        "            raise OSError('cannot be closed')\n\n"
        "    return Stubborn(settings.timeout)\n",
    )
    site.configure(partitions=1)
    with site.delivering():
        site.accept([("ada", 0)])
        eventually(site.is_done)
    held = eventually(lambda: claim(site.data, "shop", 0), 2)
    held.release()


# Giving up


def test_an_event_is_given_up_after_attempts_and_time_and_only_while_others_are_taken(
    site, partner
):
    site.configure(partitions=2, give_up_after="4h")
    clock = Clock()
    hopeless, other = site.user_in(0), site.user_in(1)
    partner.script = lambda r: retry() if r.ids[0] == f"{hopeless}:0" else TAKEN

    def tries():
        return len(partner.sent())

    def tries_on(more=15):
        before = tries()
        eventually(lambda: tries() > before + more)
        assert site.dead() == []

    with site.delivering(QUICK, clock):
        site.accept(numbered(hopeless, range(3)))
        # Attempts alone are no reason.
        tries_on(more=25)
        # Nor are attempts and time, as it may be an outage.
        clock.ahead += 5 * 3600
        tries_on()
        # Now something else is taken.
        site.accept([(other, 0)])
        eventually(site.is_done)
    assert site.dead() == [f"{hopeless}:0"]
    (letter,) = site.ledger.dead_letters("shop")
    assert (letter.code, letter.reason) == ("retries_exhausted", "unwell")
    assert letter.attempts > 40
    assert by_user(partner.taken()) == {other: [0], hopeless: [1, 2]}
    site.check_ledger()


def test_an_event_is_not_given_up_before_its_time_though_others_are_taken(
    site, partner
):
    site.configure(partitions=2, give_up_after="4h")
    clock = Clock()
    hopeless, other = site.user_in(0), site.user_in(1)
    partner.script = lambda r: retry() if r.ids[0] == f"{hopeless}:0" else TAKEN
    with site.delivering(QUICK, clock):
        site.accept([(hopeless, 0)])
        eventually(lambda: len(partner.sent()) > 1)
        site.accept(numbered(other, range(5)))
        eventually(lambda: len(partner.sent()) > 40)
        clock.ahead += 3.9 * 3600
        before = len(partner.sent())
        eventually(lambda: len(partner.sent()) > before + 20)
        assert site.dead() == []
        clock.ahead += 0.2 * 3600
        eventually(lambda: site.dead() == [f"{hopeless}:0"])


def test_an_event_is_not_given_up_before_its_attempts(site, partner):
    site.configure(partitions=2, give_up_after="1s")
    hopeless, other = site.user_in(0), site.user_in(1)
    partner.script = lambda r: retry() if hopeless in r.ids[0] else TAKEN
    clock = Clock()
    policy = Policy(
        first=0.05, longest=0.05, give_up_attempts=12, draw=lambda low, high: high
    )
    with site.delivering(policy, clock):
        site.accept([(hopeless, 0)])
        eventually(lambda: len(partner.sent()) == 1)
        clock.ahead += 3600
        site.accept([(other, 0)])
        eventually(site.is_done)
    (letter,) = site.ledger.dead_letters("shop")
    assert letter.attempts == 12
    assert len(partner.sent()) == 13


def test_what_was_taken_before_an_outage_is_no_reason_to_give_up(site, partner):
    site.configure(partitions=1, give_up_after="1ms")
    before = {f"ada:{number}" for number in range(3)}
    partner.script = lambda r: TAKEN if r.ids[0] in before else retry()
    site.accept(numbered("ada", range(4)))
    with site.delivering():
        eventually(lambda: len(partner.sent()) > 13)  # more than the attempts
        # Until what was noted of the first is committed, and beyond.
        for_a_while(lambda: site.dead() == [], 1.5)


# Destinations beside each other


def test_a_destination_that_hangs_does_not_delay_another(site, partner):
    site.configure("shop", "mail")
    released = threading.Event()

    def answer(request):
        if request.destination == "shop":
            released.wait(10)
        return TAKEN

    partner.script = answer
    users = [site.user_in(partition) for partition in range(4)]
    with site.delivering():
        site.accept([(user, 0) for user in users])
        eventually(lambda: len(partner.sent("shop")) == 4)
        began = time.monotonic()
        for number in range(1, 10):
            site.accept([(user, number) for user in users])
        eventually(lambda: len(partner.taken("mail")) == 40)
        assert time.monotonic() - began < 2
        assert partner.taken("shop") == []
        released.set()
        eventually(site.is_done)


def test_a_new_destination_begins_at_the_end_of_the_log_or_at_its_beginning(
    site, partner
):
    site.configure("mail")
    old = site.accept([(f"u{n}", n) for n in range(6)])
    with site.delivering():
        eventually(lambda: len(partner.taken("mail")) == 6)
    site.configure("mail", "shop", start="latest")
    with site.delivering():
        eventually(lambda: site.ledger.offsets("shop"))
        new = site.accept([(f"u{n}", n) for n in range(6, 10)])
        eventually(site.is_done)
        eventually(lambda: site.is_done("mail"))
    assert sorted(partner.taken("mail")) == sorted(old + new)
    assert sorted(partner.taken("shop")) == sorted(new)
    site.check_ledger()


def test_a_destination_that_was_disabled_gets_what_waited_in_order(site, partner):
    site.configure("shop", "mail", batch_events=3, start="latest")
    with site.delivering():
        eventually(lambda: site.ledger.offsets("shop"))
        site.accept(numbered("ada", range(5)) + numbered("bob", range(5)))
        eventually(site.is_done)
    before = site.ledger.offsets("shop")
    table = (site.conf / "all.toml").read_text()
    off = table.replace("[destinations.shop]", "[destinations.shop]\nenabled = false")
    (site.conf / "all.toml").write_text(off)
    with site.delivering():
        site.accept(numbered("ada", range(5, 20)) + numbered("bob", range(5, 20)))
        eventually(lambda: site.is_done("mail"))
    assert site.ledger.offsets("shop") == before
    assert len(partner.taken("shop")) == 10
    (site.conf / "all.toml").write_text(table)
    with site.delivering():
        eventually(site.is_done)
    assert by_user(partner.taken("shop")) == {
        "ada": list(range(20)),
        "bob": list(range(20)),
    }
    site.check_ledger()


# Starting and stopping


def test_stop_ends_the_request_under_way_commits_and_nothing_is_sent_twice(
    site, partner
):
    site.configure(partitions=1, batch_events=5)
    released = threading.Event()

    def answer(request):
        released.wait(10)
        return TAKEN

    partner.script = answer
    ids = site.accept(numbered("ada", range(20)))
    with site.delivering() as lanes:
        eventually(partner.sent)
        stopping = threading.Thread(target=stop, args=(lanes,))
        stopping.start()
        for_a_while(stopping.is_alive, 0.5)
        released.set()
        stopping.join()
    assert partner.taken() == ids[:5]
    assert site.ledger.offsets("shop") == {0: (0, 5)}
    site.check_ledger()
    with site.delivering():
        eventually(site.is_done)
    assert partner.taken() == ids
    assert len(partner.sent()) == 4


@pytest.mark.parametrize("outcome", [retry(), retry(600.0), MISCONFIGURED, BUG])
def test_a_lane_that_waits_stops_at_once(site, partner, outcome):
    partner.script = lambda request: outcome
    slow = Policy(first=600, longest=600, stall_after=0, draw=lambda low, high: high)
    (only,) = site.accept([("ada", 0)])
    with site.delivering(slow) as lanes:
        eventually(partner.sent)
        if outcome != retry():
            hold_of(site)
        began = time.monotonic()
        stop(lanes)
        assert time.monotonic() - began < 5
    assert site.passed() == 0
    assert [request.ids for request in partner.sent()] == [(only,)]


def test_a_lane_that_is_woken_as_it_is_to_stop_does_not_miss_it(site, partner):
    for number in range(4):
        ended = threading.Event()

        def wake(ended=ended):
            while not ended.wait(0.0005):
                ring(site.data, range(4))

        thread = threading.Thread(target=wake)
        thread.start()
        try:
            with site.delivering() as lanes:
                site.accept([(f"u{n}", number) for n in range(8)])
                eventually(site.is_done)
                stop(lanes, 5)
        finally:
            ended.set()
            thread.join()
    assert len(partner.taken()) == 32
    site.check_ledger()


# Several processes


@contextmanager
def accepting(site):
    """Another process that accepts; call it with (user, number)."""
    with subprocess.Popen(
        [sys.executable, partners.__file__, site.data, "4"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:

        def accept(user, number):
            child.stdin.write(f"{user} {number}\n")
            child.stdin.flush()
            return float(child.stdout.readline())

        try:
            yield accept
        finally:
            child.kill()


def test_what_another_process_accepts_is_on_its_way_within_milliseconds(site, partner):
    with site.delivering(), accepting(site) as accept:
        accept("ada", 0)
        eventually(site.is_done)
        delays = []
        for number in range(1, 16):
            stored = accept(f"u{number}", number)
            eventually(lambda n=number: f"u{n}:{n}" in partner.taken(), 5, every=0.001)
            delays.append(partner.taken_at(f"u{number}:{number}") - stored)
    # Lanes look at the log by themselves once a second.
    assert max(delays) < 0.5
    assert sorted(delays)[7] < 0.1


def test_what_a_process_appended_and_could_not_ring_for_is_found(site, partner):
    with site.delivering():
        site.accept([("ada", 0)])
        eventually(site.is_done)
        site.log.append([partners.event("ada", 1)])
        eventually(site.is_done, 5)
    assert partner.taken() == ["ada:0", "ada:1"]


def lanes_of(partner):
    """For each process how many of the 8 users it last delivered for."""
    last = {}
    for request in partner.sent():
        last[request.ids[0].split(":")[0]] = request.process
    return sorted(Counter(last.values()).values())


@pytest.fixture
def eight(site):
    """A site with a user in each of 8 partitions; call it to accept from all."""
    site.configure(partitions=8)
    users = [site.user_in(partition) for partition in range(8)]
    numbers = count()

    def accept_round():
        number = next(numbers)
        return site.accept([(user, number) for user in users])

    return accept_round


def test_processes_share_lanes_evenly_and_take_over_what_one_leaves(
    site, partner, eight
):
    def shares():
        ids = eight()
        eventually(lambda: set(ids) <= set(partner.taken()))
        return lanes_of(partner)

    with site.process() as first:
        eventually(lambda: shares() == [8], NEVER)
        with site.process() as second:
            eventually(lambda: shares() == [4, 4], NEVER, every=0.1)
            for_a_while(lambda: shares() == [4, 4], 0.5)
            second.terminate()
            second.wait(10)
            eventually(lambda: shares() == [8])
        assert first.poll() is None
    taken = by_user(partner.taken())
    assert all(numbers == list(range(len(numbers))) for numbers in taken.values())


def test_the_lanes_of_a_killed_process_are_taken_over_within_a_second(
    site, partner, eight
):
    stuck = threading.Event()

    def answer(request):
        if request.process == victim and not stuck.is_set():
            stuck.wait(10)
        return TAKEN

    victim = 0
    partner.script = answer
    with site.process() as first, site.process() as second:
        eventually(lambda: eight() and lanes_of(partner) == [4, 4], NEVER, every=0.2)
        eventually(site.is_done)
        victim = first.pid
        ids = eight()
        # It dies with requests under way.
        eventually(lambda: [r.process for r in partner.sent()].count(first.pid) > 4)
        eventually(lambda: len(set(ids) & set(partner.taken())) == 4)
        first.kill()
        killed = time.monotonic()
        eventually(lambda: set(ids) <= set(partner.taken()), every=0.005)
        assert max(map(partner.taken_at, ids)) - killed < 1.0
        eventually(site.is_done)
        assert second.poll() is None
        stuck.set()
    site.check_ledger()


def test_processes_that_are_killed_at_any_time_lose_nothing_and_keep_the_order(
    site, partner, eight
):
    accepted = []
    for round_ in range(3):
        with site.process() as victim:
            before = len(partner.taken())
            accepted += eight()
            eventually(lambda n=before: len(partner.taken()) > n, NEVER)
            for _ in range(random.randrange(20)):
                accepted += eight()
            victim.kill()
            victim.wait()
        site.check_ledger()
        assert site.passed() <= len(set(partner.taken())), f"round {round_}"
    with site.process():
        eventually(site.is_done, NEVER)
    seen = list(dict.fromkeys(partner.taken()))
    assert sorted(seen) == sorted(accepted)
    for numbers in by_user(seen).values():
        assert numbers == sorted(numbers)
    # A crash repeats what was in flight, which is one event a lane.
    assert len(partner.taken()) <= len(accepted) + 3 * 8
    site.check_ledger()


# A full disk


@contextmanager
def full_disk(pid):
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_lane_that_cannot_commit_waits_and_does_not_send_again(
    site, partner, concurrency
):
    site.configure(concurrency=concurrency)

    def committed():
        parts = range(site.log.partitions)
        return sum(site.ledger.committed("shop", n) or 0 for n in parts)

    with site.process() as child:
        site.accept([("ada", 0)])
        # A lane is done once that is noted, but sends no more before it is written.
        eventually(lambda: committed() == 1, NEVER)
        with full_disk(child.pid):
            site.accept(numbered("ada", range(1, 4)))
            eventually(lambda: len(partner.taken()) > 1)
            for_a_while(lambda: len(partner.taken()) <= 4, 1.6)
            # The rest is noted, and no more.
            assert committed() == 1
        eventually(site.is_done)
        # What was said before could not be written either.
        output = site.directory / "output.log"
        # Of the lane, or of its gate; the lanes that start meanwhile wait for it, too.
        back = f"shop(/{site.log.partition_of('ada')})?: the disk is back"
        eventually(lambda: re.search(back, output.read_text()))
    assert by_user(partner.taken()) == {"ada": [0, 1, 2, 3]}
    assert len(partner.sent()) == 4
    site.check_ledger()
    assert len(re.findall(back, output.read_text())) == 1


def test_a_probe_that_was_taken_is_not_sent_again_as_the_disk_is_full(site, partner):
    full = threading.Event()
    answered = threading.Event()

    def answer(request):
        if request.ids == ("ada:0",):
            return TAKEN
        if request.attempt == 1:
            return retry(0.1)
        if request.attempt == 2:
            full.set()
            answered.wait(10)
        return TAKEN

    partner.script = answer
    with site.process() as child:
        site.accept([("ada", 0)])
        eventually(site.is_done, NEVER)
        site.accept([("ada", 1)])
        assert full.wait(10)
        with full_disk(child.pid):
            answered.set()
            for_a_while(lambda: partner.taken().count("ada:1") <= 1, 1.6)
        eventually(site.is_done)
    assert partner.taken() == ["ada:0", "ada:1"]


# What a plugin may do wrong besides


def with_more(site, more):
    site.write_plugin("scripted", f"{partners.PLUGIN}\n\n{more}")
    site.configure(partitions=1)


@pytest.mark.parametrize(
    "raised", ["OSError('no such host')", "Partial({})", "Rejected('not you')"]
)
def test_a_plugin_that_cannot_connect_is_held_and_costs_no_event(site, partner, raised):
    with_more(site, f"@hookimpl\ndef connect(settings):\n    raise {raised}\n")
    name = raised.partition("(")[0]
    ids = site.accept(numbered("ada", range(5)))
    with site.delivering():
        hold = hold_of(site)
        # Mending conf.d would not help.
        assert hold.kind == "plugin_error"
        line = len(partners.PLUGIN.splitlines()) + 5
        where = f"{site.plugins / 'scripted.py'}:{line}"
        assert hold.reason == f"connect raised {name} at {where}"
        eventually(lambda: site.hold().probes >= 3)
    assert site.dead() == []
    site.write_plugin("mended", partners.PLUGIN)
    site.configure(plugin="mended", partitions=1)
    with site.delivering():
        eventually(site.is_done)
    assert partner.taken() == ids


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise SystemExit", "the plugin raised SystemExit"),
        ("return True", "the plugin raised TypeError"),
    ],
)
def test_a_deliver_that_exits_or_answers_is_a_bug(site, partner, body, reason):
    with_more(
        site, f"@hookimpl\ndef deliver(payloads, settings, client):\n    {body}\n"
    )
    ids = site.accept(numbered("ada", range(2)))
    with site.delivering():
        eventually(site.is_done)
    assert site.dead() == ids
    letters = site.ledger.dead_letters("shop")
    for one in letters:
        assert one.code == "plugin_error"
        assert one.reason.startswith(f"{reason} at ")


def test_a_mapping_that_exits_is_a_bug(site, partner):
    with_more(site, "@hookimpl\ndef track(event):\n    raise SystemExit\n")
    ids = site.accept([("ada", 0)])
    with site.delivering():
        eventually(site.is_done)
    assert site.dead() == ids


def test_what_is_tried_again_can_be_seen_and_is_told_of_only_when_it_lasts(
    site, partner, caplog
):
    site.configure(partitions=1)
    partner.script = lambda request: retry() if request.attempt < 3 else TAKEN
    policy = Policy(first=0.3, longest=0.3, draw=lambda low, high: high)
    with site.delivering(policy):
        site.accept([("ada", 0)])
        hold = hold_of(site)
        assert (hold.kind, hold.reason, hold.partition) == ("retry", "unwell", 0)
        eventually(site.is_done)
        assert site.hold() is None
        assert caplog.text == ""
        partner.script = lambda request: retry() if request.attempt < 6 else TAKEN
        site.accept([("ada", 1)])
        eventually(site.is_done)
    assert "shop: not taken for a while: unwell" in caplog.text
    assert "shop: taken again, was held: retry" in caplog.text


def test_a_lane_that_the_ledger_knows_nothing_of_waits_for_it(site, partner, caplog):
    # As while somebody removes the data directory under it.
    site.configure(partitions=1)
    site.accept(("ada", number) for number in range(3))
    held = claim(site.data, "shop", 0)
    shop = config.load(site.conf, {}).destinations["shop"]
    lane = Lane(shop, 0, held, Surroundings(site.log, site.ledger))
    lane.start()
    eventually(lambda: "it has no place of shop/0" in caplog.text)
    site.ledger.register("shop", {0: 0})
    eventually(site.is_done)
    lane.stop()
    lane.join(10)
    assert len(partner.taken()) == 3
    assert "Traceback" not in caplog.text


def test_what_was_noted_and_not_committed_is_counted_once(site, partner):
    # One stream of a lane is stopped while it waits for the disk; another goes on.
    site.configure(partitions=1, concurrency=2)
    site.accept(("ada", number) for number in range(3))
    site.ledger.register("shop", {0: 0})
    held = claim(site.data, "shop", 0)
    shop = config.load(site.conf, {}).destinations["shop"]
    lane = Lane(shop, 0, held, Surroundings(site.log, site.ledger))
    lane._progress.resume()
    first, *others = [shop.prepare(one) for one in site.log.read(0, 0, 3)]
    lane._window = [first, *others]
    commit, full = site.ledger.commit, StorageUnavailable("the disk is full")

    def fail(*_):
        raise full

    site.ledger.commit = fail
    first.settle("delivered", "delivered")
    lane.stop()
    with pytest.raises(Stopped):
        lane._commit()
    site.ledger.commit = commit
    for one in others:
        one.settle("delivered", "delivered")
    lane._commit()
    lane.commit()
    held.release()
    assert site.ledger.balance("shop") == ({0: (0, 3)}, {("delivered", "delivered"): 3})
