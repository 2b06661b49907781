"""The ledger, against a toy model, and against processes that die as they commit."""

import random
import sqlite3
import threading
from collections import Counter
from dataclasses import replace

import model
import pytest
from conftest import eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from model import PARTITIONS, letter

from router.ledger import SCHEMA, DeadLetter, Fenced, Hold, Ledger

STARTS = dict.fromkeys(range(PARTITIONS), 0)
HELD = Hold("misconfigured", "wrong key", 1, 2.5)
TEN_DELIVERED = {("delivered", "delivered"): 10}


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path)
    yield made
    made.close()


def check_adds_up(ledger, destination="shop"):
    offsets, counts = ledger.balance(destination)
    passed = sum(offset - start for start, offset in offsets.values())
    assert passed == sum(counts.values())
    return passed


NAMES = st.sampled_from(["shop", "mail"])
NUMBERS = st.integers(0, 3)


class TheLedgerIsLikeDicts(RuleBasedStateMachine):
    """A ledger beside dicts of offsets, counts and letters."""

    def __init__(self):
        super().__init__()
        self.directory = next(DIRECTORIES)
        self.ledger = Ledger(self.directory)
        self.offsets = {"shop": {}, "mail": {}}
        self.counts = {"shop": Counter(), "mail": Counter()}
        self.letters = {"shop": [], "mail": []}

    @rule(name=NAMES, start=st.integers(0, 50))
    def register(self, name, start):
        self.ledger.register(name, dict.fromkeys(range(PARTITIONS), start))
        if not self.offsets[name]:
            self.offsets[name] = dict.fromkeys(range(PARTITIONS), (start, start))

    @rule(
        name=NAMES,
        partition=st.integers(0, PARTITIONS - 1),
        delivered=NUMBERS,
        skipped=NUMBERS,
        dead=NUMBERS,
        astray=st.sampled_from([0, 0, 0, 1, -1]),
    )
    def commit(self, name, partition, delivered, skipped, dead, astray):
        counts = Counter(
            {
                ("delivered", "delivered"): delivered,
                ("skipped", "integrations"): skipped,
                ("dead", "rejected"): dead,
            }
        )
        start, offset = self.offsets[name].get(partition, (0, 0))
        begin = offset + astray
        end = begin + delivered + skipped + dead
        letters = [letter(partition, n, name) for n in range(end - dead, end)]
        span = (begin, end)
        if astray or not self.offsets[name]:
            with pytest.raises(Fenced, match=f"{name}: partition {partition}"):
                self.ledger.commit(name, partition, span, counts, letters)
            return
        self.ledger.commit(name, partition, span, counts, letters)
        self.offsets[name][partition] = (start, end)
        self.counts[name] += counts
        self.letters[name] += letters

    @rule()
    def reopen(self):
        self.ledger.close()
        self.ledger = Ledger(self.directory)

    @rule(limit=st.integers(1, 5))
    def letters_come_newest_first(self, limit):
        found = self.ledger.dead_letters("shop", limit=limit)
        expected = self.letters["shop"][::-1][:limit]
        assert [without_id(one) for one in found] == expected

    @invariant()
    def all_is_as_in_the_dicts(self):
        for name in ("shop", "mail"):
            assert self.ledger.offsets(name) == self.offsets[name]
            assert +self.ledger.counts(name) == self.counts[name]
            found = self.ledger.dead_letters(name, limit=10_000)
            assert [without_id(one) for one in found] == self.letters[name][::-1]
        known = [name for name in ("mail", "shop") if self.offsets[name]]
        assert self.ledger.destinations() == known

    def teardown(self):
        self.ledger.close()


DIRECTORIES = iter(())


def without_id(one):
    return DeadLetter(**vars(one) | {"id": None, "history": ()})


def test_the_ledger_is_like_dicts(tmp_path_factory):
    global DIRECTORIES
    DIRECTORIES = iter(lambda: tmp_path_factory.mktemp("ledger"), None)
    machine = TheLedgerIsLikeDicts.TestCase
    machine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
    machine("runTest").runTest()


def test_a_destination_keeps_its_offsets_when_it_is_registered_again(ledger):
    ledger.register("shop", {0: 5, 1: 7})
    ledger.commit("shop", 0, (5, 15), TEN_DELIVERED)
    ledger.register("shop", {0: 99, 1: 99})
    assert ledger.offsets("shop") == {0: (5, 15), 1: (7, 7)}


def test_to_read_it_writes_nothing(tmp_path, ledger):
    ledger.register("shop", STARTS)
    ledger.close()
    assert ledger.destinations() == ["shop"]
    assert (tmp_path / "ledger.db-wal").stat().st_size == 0


def test_of_two_lanes_that_commit_the_same_span_one_is_fenced(ledger):
    ledger.register("shop", STARTS)
    ledger.commit("shop", 1, (0, 10), TEN_DELIVERED)
    with pytest.raises(Fenced, match="shop: partition 1 has moved on"):
        ledger.commit("shop", 1, (0, 10), TEN_DELIVERED, [letter(1, 9)])
    assert ledger.offsets("shop")[1] == (0, 10)
    assert ledger.counts("shop") == TEN_DELIVERED
    assert ledger.dead_letters("shop") == []


def test_a_commit_that_cannot_be_whole_is_not_made(ledger):
    ledger.register("shop", STARTS)
    broken = DeadLetter(**vars(letter(0, 9)) | {"code": None})
    with pytest.raises(Exception, match="NOT NULL"):
        ledger.commit("shop", 0, (0, 10), TEN_DELIVERED, [letter(0, 8), broken])
    assert ledger.offsets("shop")[0] == (0, 0)
    assert ledger.counts("shop") == {}
    assert ledger.dead_letters("shop") == []
    ledger.commit("shop", 0, (0, 10), TEN_DELIVERED)


def test_a_dead_letter_is_found_by_its_id_and_by_its_message(ledger):
    ledger.register("shop", STARTS)
    letters = [letter(0, n) for n in range(3)]
    ledger.commit("shop", 0, (0, 3), {("dead", "rejected"): 3}, letters)
    (found,) = ledger.dead_letters(message_id="0:1")
    assert ledger.dead_letters(letter_id=found.id) == [found]
    assert ledger.dead_letters("mail", message_id="0:1") == []
    assert without_id(found) == letters[1]
    assert found.event == {"type": "track"}


@given(seed=st.integers(0, 2**32), limit=st.integers(1, 300_000))
@settings(max_examples=15, deadline=None)
def test_a_crash_between_any_two_writes_leaves_whole_commits(
    tmp_path_factory, seed, limit
):
    directory = tmp_path_factory.mktemp("ledger")
    with model.start("commit", directory, seed, limit) as child:
        said, _ = child.communicate(timeout=60)
    assert child.returncode < 0
    check_commits(directory, seed, len(model.numbers(said)))


def test_kill_9_in_the_middle_of_commits_leaves_whole_commits(tmp_path_factory):
    for seed in range(8):
        directory = tmp_path_factory.mktemp("ledger")
        child = model.start("commit", directory, seed, 1 << 30)
        said = model.kill_after(child, random.randrange(1, 300))
        check_commits(directory, seed, len(said))


def check_commits(directory, seed, acknowledged):
    """All acknowledged commits are there, whole, and at most one more."""
    ledger = Ledger(directory)
    counts = +ledger.counts("shop")
    check_adds_up(ledger)
    possible = []
    for many in (acknowledged, acknowledged + 1):
        made = [model.shares(seed, number)[0] for number in range(many)]
        possible.append(sum(map(Counter, made), Counter()))
    assert counts in possible
    letters = ledger.dead_letters("shop", limit=1_000_000)
    assert len(letters) == counts["dead", "rejected"]
    assert len({(one.partition, one.offset) for one in letters}) == len(letters)
    ledger.close()


def test_the_ledger_adds_up_at_every_instant_of_another_processs_work(tmp_path, ledger):
    child = model.start("commit", tmp_path, 1, 1 << 30)
    with child:
        child.stdout.readline()
        seen = set()
        eventually(lambda: seen.add(check_adds_up(ledger)) or len(seen) > 100, every=0)
        child.kill()


def test_lanes_of_several_threads_commit_at_once_and_none_is_lost(ledger):
    ledger.register("shop", STARTS)

    def work(partition):
        for number in range(100):
            span = (number * 10, number * 10 + 10)
            ledger.commit("shop", partition, span, TEN_DELIVERED)
        ledger.close()

    run_at_once(work, range(PARTITIONS))
    assert check_adds_up(ledger) == PARTITIONS * 1000


def run_at_once(work, items):
    errors = []

    def caught(item):
        try:
            work(item)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caught, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_hold_keeps_its_beginning_and_takes_the_rest_of_a_later_one(ledger):
    ledger.hold("shop", Hold("misconfigured", "wrong key", 1.5, 2.5))
    ledger.hold("shop", Hold("retry_after", "busy", 3.5, 9.25, probes=2))
    assert ledger.holds("shop") == [Hold("retry_after", "busy", 1.5, 9.25, probes=2)]
    assert ledger.holds("mail") == []


def test_a_lane_sees_the_holds_of_its_destination_and_its_own(ledger):
    whole = Hold("misconfigured", "wrong key", 1, 2)
    one, two = (Hold("plugin_error", "KeyError", 1, 2, partition=n) for n in (1, 2))
    for hold in (two, one, whole):
        ledger.hold("shop", hold)
    assert ledger.holds("shop") == [whole, one, two]
    assert ledger.holds("shop", 1) == [whole, one]
    assert ledger.holds("shop", 0) == [whole]


def test_a_hold_ends_once(ledger):
    ledger.hold("shop", Hold("misconfigured", "wrong key", 1, 2))
    ledger.hold("shop", Hold("plugin_error", "KeyError", 1, 2, partition=1))
    whole, _ = ledger.holds("shop")
    assert ledger.release(whole)
    assert not ledger.release(whole)
    assert [hold.partition for hold in ledger.holds("shop")] == [1]


def test_what_an_operator_may_have_mended_is_probed_at_once(ledger):
    ledger.hold("shop", Hold("misconfigured", "wrong key", 1, 100))
    ledger.hold("shop", Hold("retry_after", "busy", 1, 100, partition=1))
    ledger.hold("mail", Hold("misconfigured", "wrong key", 1, 100))
    ledger.probe_now("shop", ("misconfigured", "plugin_error"))
    assert [hold.until for hold in ledger.holds("shop")] == [0, 100]
    assert [hold.until for hold in ledger.holds("mail")] == [100]


def test_a_probe_that_is_under_way_ends_its_hold_though_a_process_starts(ledger):
    ledger.hold("shop", Hold("plugin_error", "KeyError", 1, 2))
    (seen,) = ledger.holds("shop")
    assert ledger.take_probe(seen, 100)
    ledger.probe_now("shop", ("plugin_error",))
    assert ledger.release(replace(seen, until=100))
    assert ledger.holds("shop") == []


def test_a_probe_is_not_taken_from_a_hold_that_is_not_as_it_was(ledger):
    ledger.hold("shop", Hold("misconfigured", "wrong key", 1, 2.5))
    (seen,) = ledger.holds("shop")
    assert ledger.take_probe(seen, 7.5)
    assert not ledger.take_probe(seen, 8.5)
    assert not ledger.release(seen)
    (now,) = ledger.holds("shop")
    assert (now.until, now.since) == (7.5, 1)
    assert ledger.take_probe(now, 8.5)
    (last,) = ledger.holds("shop")
    assert ledger.release(last)
    assert not ledger.take_probe(last, 9.5)


def test_of_many_threads_and_processes_one_wins_each_probe(tmp_path, ledger):
    holds = 40
    for number in range(holds):
        ledger.hold(f"shop{number}", HELD)
    children = [model.start("probe", tmp_path, holds) for _ in range(3)]
    for child in children:
        assert child.stdout.readline() == b"0\n"
    won = []

    def work(go_on):
        if go_on:
            go_on.stdin.write(b"\n")
            go_on.stdin.flush()
        for number in range(holds):
            if ledger.take_probe(replace(HELD, account=f"shop{number}"), 10_000.0):
                won.append(number)
        ledger.close()

    run_at_once(work, [*children, None, None, None])
    for child in children:
        with child:
            said = child.stdout.read().decode()
        won += [int(number) for number in said.strip(" []\n").split(",") if number]
    assert sorted(won) == list(range(holds))


def test_a_ledger_whose_disk_is_full_refuses_a_commit_whole_and_recovers(tmp_path):
    said = model.output("commit_while_full", tmp_path)
    assert said["refused"] == 3
    ledger = Ledger(tmp_path)
    assert check_adds_up(ledger) == said["passed"] > 0
    ledger.close()


def test_a_ledger_of_the_first_format_is_brought_forward(tmp_path, ledger):
    database = sqlite3.connect(tmp_path / "ledger.db")
    row = "INSERT INTO offsets VALUES ('shop', 0, 3, 3);"
    database.executescript(f"{SCHEMA} {row} PRAGMA user_version = 1;")
    database.close()
    ledger.arrivals.add({("web", "accepted"): 2})
    ledger.arrivals.add({("web", "accepted"): 3, ("", "invalid_json"): 1})
    assert ledger.arrivals.counts() == {("web", "accepted"): 5, ("", "invalid_json"): 1}
    assert ledger.offsets("shop") == {0: (3, 3)}


def test_a_hold_or_a_letter_put_back_ends_the_quiet_of_every_process(tmp_path):
    ours, theirs = Ledger(tmp_path), Ledger(tmp_path)
    ours.register("shop", {0: 0})
    assert ours.is_quiet("shop", "shop")
    assert ours.is_quiet("mail", "mail#1")
    hold = Hold("misconfigured", "no key", 0, 10)
    theirs.hold("mail", hold)
    assert ours.is_quiet("shop", "shop")
    assert not ours.is_quiet("mail", "mail")
    assert not ours.is_quiet("mail", "mail#1")
    assert ours.release(*ours.holds("mail"))
    theirs.commit("shop", 0, (0, 1), {("dead", "rejected"): 1}, [letter("shop", 0)])
    assert ours.is_quiet("shop", "shop")
    (dead,) = theirs.dead_letters("shop")
    theirs.letters.put_back([dead.id], now=1)
    assert not ours.is_quiet("shop", "shop")
    assert not ours.is_quiet("shop", "shop#1")
    assert ours.is_quiet("mail", "mail#1")


def test_a_hold_without_a_sign_is_seen_a_second_later(tmp_path):
    now = 100.0
    ours, theirs = Ledger(tmp_path, clock=lambda: now), Ledger(tmp_path)
    assert ours.is_quiet("shop", "shop")
    sign = ours._db.sign.value()
    theirs.hold("shop", Hold("misconfigured", "no key", 0, 10))
    # As if the process had died between the two.
    theirs._db.sign._map()[:] = sign
    assert ours.is_quiet("shop", "shop")
    now = 101.0
    assert not ours.is_quiet("shop", "shop")
