"""Dead letters as a queue of work: whatever is done with them, the ledger adds up."""

import random
import sqlite3
from collections import Counter
from dataclasses import replace

import model
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from model import PARTITIONS, letter

from router.ledger import ARRIVALS, RETRIES, SCHEMA, Ledger
from router.letters import KEPT_CLOSED, LONGEST_HISTORY

NOW = 1_700_000_001_000
PAGE = (1000, 1 << 20)


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path)
    made.register("shop", dict.fromkeys(range(PARTITIONS), 0))
    yield made
    made.close()


def die(ledger, many=1, partition=0):
    """So many events of a partition die; the ids of their letters."""
    begin = ledger.offsets("shop")[partition][1]
    span = (begin, begin + many)
    letters = [letter(partition, n) for n in range(*span)]
    ledger.commit("shop", partition, span, {("dead", "rejected"): many}, letters)
    return [one.id for one in ledger.dead_letters("shop", limit=many)][::-1]


def one(ledger, letter_id):
    (found,) = ledger.dead_letters(letter_id=letter_id)
    return found


def settle(ledger, letter_id, state, code, now=NOW):
    changed = replace(one(ledger, letter_id), state=state, code=code, reason="")
    is_dead = state == "dead"
    ledger.letters.settle(
        [replace(changed, died_at=now) if is_dead else replace(changed, closed_at=now)],
        now,
    )


def account(found):
    """As what a letter should be counted."""
    if found.state in ("retrying", "dropped"):
        return {"retrying": ("retrying", "retrying"), "dropped": ("dead", "dropped")}[
            found.state
        ]
    return ("expired",) * 2 if found.code == "expired" else (found.state, found.code)


def accounts(ledger):
    return Counter(map(account, ledger.dead_letters("shop", limit=10_000)))


def check_adds_up(ledger):
    offsets, counts = ledger.balance("shop")
    assert sum(end - start for start, end in offsets.values()) == sum(counts.values())
    assert min(counts.values(), default=0) >= 0
    assert +counts == accounts(ledger)


class TheQueueAddsUp(RuleBasedStateMachine):
    """Any sequence of deaths, retries, outcomes and drops."""

    @initialize()
    def begin(self):
        self.ledger = Ledger(next(DIRECTORIES))
        self.ledger.register("shop", dict.fromkeys(range(PARTITIONS), 0))
        self.deaths = 0

    def ids(self, state):
        found = self.ledger.dead_letters("shop", state=state, limit=10_000)
        return [one.id for one in found]

    def some(self, data, state):
        ids = self.ids(state)
        return data.draw(st.lists(st.sampled_from([*ids, 999_999]), unique=True))

    @rule(partition=st.integers(0, PARTITIONS - 1), many=st.integers(1, 5))
    def die(self, partition, many):
        die(self.ledger, many, partition)
        self.deaths += many

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def expire(self, partition):
        begin = self.ledger.offsets("shop")[partition][1]
        gone = [replace(letter(partition, begin), code="expired")]
        counts = {("expired", "expired"): 1}
        self.ledger.commit("shop", partition, (begin, begin + 1), counts, gone)
        self.deaths += 1

    @rule(data=st.data(), body=st.sampled_from([None, b'{"type":"page"}']))
    def put_back(self, data, body):
        wanted = self.some(data, data.draw(st.sampled_from(["dead", "retrying", None])))
        dead = set(self.ids("dead"))
        moved = self.ledger.letters.put_back(wanted, NOW, body)
        assert moved == [one for one in wanted if one in dead]
        assert set(self.ids("dead")) == dead - set(moved)
        if body:
            assert all(one(self.ledger, n).body == body for n in moved)

    @rule(data=st.data())
    def drop(self, data):
        wanted = self.some(data, None)
        is_open = {*self.ids("dead"), *self.ids("retrying")}
        moved = self.ledger.letters.drop(wanted, NOW, "no use")
        assert moved == [one for one in wanted if one in is_open]

    @precondition(lambda self: self.ids("retrying"))
    @rule(
        data=st.data(),
        outcome=st.sampled_from(
            [
                ("delivered", "delivered"),
                ("skipped", "integrations"),
                ("dead", "too_large"),
                ("dead", "rejected"),
            ]
        ),
    )
    def settle(self, data, outcome):
        settle(self.ledger, data.draw(st.sampled_from(self.ids("retrying"))), *outcome)

    @rule()
    def reopen(self):
        self.ledger.close()

    @invariant()
    def it_adds_up_and_no_letter_is_lost(self):
        check_adds_up(self.ledger)
        found = self.ledger.dead_letters("shop", limit=10_000)
        assert len(found) == self.deaths
        for partition in range(PARTITIONS):
            page = self.ledger.letters.retrying("shop", partition, 0, *PAGE)
            wanted = [
                one.offset
                for one in found
                if (one.state, one.partition) == ("retrying", partition)
            ]
            assert [one.offset for one in page] == sorted(wanted)

    def teardown(self):
        self.ledger.close()


DIRECTORIES = iter(())


def test_any_sequence_of_deaths_retries_and_drops_adds_up(tmp_path_factory):
    global DIRECTORIES
    DIRECTORIES = iter(lambda: tmp_path_factory.mktemp("ledger"), None)
    machine = TheQueueAddsUp.TestCase
    machine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    machine("runTest").runTest()


@given(seed=st.integers(0, 2**32), limit=st.integers(60_000, 900_000))
@settings(max_examples=15, deadline=None)
def test_a_crash_between_any_two_writes_leaves_a_queue_that_adds_up(
    tmp_path_factory, seed, limit
):
    directory = tmp_path_factory.mktemp("ledger")
    with model.start("work_the_queue", directory, seed, limit) as child:
        child.communicate(timeout=60)
    assert child.returncode < 0
    after = Ledger(directory)
    check_adds_up(after)
    after.close()


def test_kill_9_in_the_middle_of_retries_leaves_a_queue_that_adds_up(tmp_path_factory):
    for seed in range(5):
        directory = tmp_path_factory.mktemp("ledger")
        child = model.start("work_the_queue", directory, seed, 1 << 30)
        model.kill_after(child, random.randrange(20, 200))
        after = Ledger(directory)
        check_adds_up(after)
        assert accounts(after).total() > 0
        after.close()


def test_a_letter_tells_what_befell_it(ledger):
    (letter_id,) = die(ledger)
    ledger.letters.put_back([letter_id], NOW)
    settle(ledger, letter_id, "dead", "event_too_large", NOW + 1)
    ledger.letters.put_back([letter_id], NOW + 2, b'{"type":"page"}')
    settle(ledger, letter_id, "delivered", "delivered", NOW + 3)
    found = one(ledger, letter_id)
    assert [(line["state"], line["code"], line["at"]) for line in found.history] == [
        ("dead", "rejected", 1_700_000_000_000),
        ("retrying", "retrying", NOW),
        ("dead", "event_too_large", NOW + 1),
        ("retrying", "retrying", NOW + 2),
        ("delivered", "delivered", NOW + 3),
    ]
    assert [line["reason"] for line in found.history] == [
        "not that one", "", "", "with another event", ""
    ]  # fmt: skip
    assert (found.died_at, found.closed_at) == (NOW + 1, NOW + 3)


def test_a_history_that_grows_all_day_keeps_its_beginning_and_its_end(ledger):
    (letter_id,) = die(ledger)
    for number in range(LONGEST_HISTORY):
        ledger.letters.put_back([letter_id], NOW + number)
        settle(ledger, letter_id, "dead", "rejected", NOW + number)
    history = one(ledger, letter_id).history
    assert len(history) == LONGEST_HISTORY
    assert history[0]["at"] == 1_700_000_000_000
    assert history[-1]["at"] == NOW + LONGEST_HISTORY - 1


def test_a_letter_that_was_dropped_while_it_was_sent_stays_dropped(ledger):
    (letter_id,) = die(ledger)
    ledger.letters.put_back([letter_id], NOW)
    before = one(ledger, letter_id)
    ledger.letters.drop([letter_id], NOW, "no use")
    done = replace(before, state="delivered", code="delivered", closed_at=NOW)
    ledger.letters.settle([done], NOW)
    assert one(ledger, letter_id).reason == "no use"
    assert one(ledger, letter_id).event is None
    assert one(ledger, letter_id).detail == ""
    check_adds_up(ledger)


def test_what_was_closed_is_kept_for_a_week_and_what_is_open_for_good(ledger):
    closed, dropped, dead = die(ledger, 3)
    ledger.letters.put_back([closed], NOW)
    settle(ledger, closed, "delivered", "delivered")
    ledger.letters.drop([dropped], NOW, "no use")
    before = ledger.counts("shop")

    def left(now):
        ledger.tidy(now)
        return {one.id for one in ledger.dead_letters("shop")}

    def contents():
        return {n for (n,) in ledger._db.rows("SELECT id FROM letter_contents")}

    assert left(NOW + KEPT_CLOSED) == {closed, dropped, dead}
    assert contents() == {closed, dead}
    assert left(NOW + KEPT_CLOSED + 1) == {dead}
    assert contents() == {dead}
    assert ledger.counts("shop") == before


def test_the_space_of_letters_that_are_dropped_or_forgotten_comes_back(ledger):
    for partition in (0, 1):
        begin = ledger.offsets("shop")[partition][1]
        span = (begin, begin + 4000)
        body = b'{"type":"track","x":"%s"}' % (b"x" * 4000)
        many = [replace(letter(partition, n), body=body) for n in range(*span)]
        ledger.commit("shop", partition, span, {("dead", "rejected"): 4000}, many)
    full = ledger.bytes_on_disk()
    assert full > 30_000_000
    ids = [letter_id for letter_id, _ in ledger.letters.dead("shop")]
    ledger.letters.drop(ids[:4000], NOW, "no use")
    ledger.tidy(NOW)
    assert ledger.bytes_on_disk() < full * 0.7
    ledger.letters.put_back(ids[4000:], NOW)
    done = ledger.letters.retrying("shop", 1, 0, 4000, 1 << 30)
    ledger.letters.settle(
        [replace(o.letter, state="delivered", code="", closed_at=NOW) for o in done],
        NOW,
    )
    ledger.tidy(NOW + KEPT_CLOSED + 1)
    assert ledger.bytes_on_disk() < 5_000_000
    assert ledger.dead_letters("shop") == []


def test_a_page_of_retried_letters_has_an_end(ledger):
    ids = die(ledger, 10)
    ledger.letters.put_back(ids, NOW)
    read = ledger.letters.retrying
    assert [one.offset for one in read("shop", 0, 4, 3, 1 << 20)] == [4, 5, 6]
    size = len(letter(0, 0).body)
    assert len(read("shop", 0, 0, 10, 2 * size)) == 2
    assert len(read("shop", 0, 0, 10, 2 * size + 1)) == 3
    assert read("shop", 1, 0, 10, 1 << 20) == []
    assert read("mail", 0, 0, 10, 1 << 20) == []


def test_letters_are_counted_by_code_and_reason(ledger):
    ids = die(ledger, 3)
    ledger.letters.drop(ids[:1], NOW, "no use")
    (group,) = ledger.letters.alike()
    assert (group.destination, group.code, group.reason) == (
        "shop", "rejected", "not that one"
    )  # fmt: skip
    assert (group.count, group.newest) == (2, ids[2])
    assert ledger.letters.alike("mail") == []
    assert ledger.letters.dead("shop", "rejected") == [
        (n, "not that one") for n in ids[1:]
    ]
    assert ledger.letters.dead(code="other") == []


def test_letters_of_an_older_ledger_can_be_retried(tmp_path):
    database = sqlite3.connect(tmp_path / "ledger.db")
    database.executescript(
        SCHEMA + "INSERT INTO offsets VALUES ('shop', 0, 0, 1);"
        "INSERT INTO counts VALUES ('shop', 0, 'dead', 'rejected', 1);"
        "INSERT INTO dead_letters VALUES ('shop', 0, 0, 'web', 'm', 'rejected', 'no',"
        " '[]', '', 0, 5, X'7B7D', 1); PRAGMA user_version = 1;"
    )
    database.close()
    ledger = Ledger(tmp_path)
    assert ledger.letters.put_back([1], NOW) == [1]
    assert [line["state"] for line in one(ledger, 1).history] == ["dead", "retrying"]
    assert one(ledger, 1).body == b"{}"
    check_adds_up(ledger)
    ledger.close()


def test_letters_that_an_older_router_was_to_retry_are_known_by_their_user(tmp_path):
    database = sqlite3.connect(tmp_path / "ledger.db")
    bodies = ['{"userId":"b","anonymousId":"a"}', '{"userId":"b"}', "{}"]
    rows = "".join(
        f"INSERT INTO dead_letters VALUES ('shop', 0, {n}, 'web', 'm', 'rejected',"
        f" 'no', '[]', '', 0, 5, CAST('{body}' AS BLOB), {n}, 'retrying', NULL, '[]');"
        for n, body in enumerate(bodies)
    )
    steps = SCHEMA + ARRIVALS + RETRIES
    database.executescript(f"{steps} {rows} PRAGMA user_version = 3;")
    database.close()
    ledger = Ledger(tmp_path)
    for user, offset in (("a", 0), ("b", 1), ("", 2)):
        (found,) = ledger.letters.retrying("shop", 0, 0, *PAGE, users=[user])
        assert found.offset == offset
    # And its space can come back.
    assert ledger._db.rows("PRAGMA auto_vacuum") == [(2,)]
    ledger.close()
