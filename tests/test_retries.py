"""Dead letters that are put back to work, between real lanes and a scripted partner."""

import time
from collections import Counter

import pytest
from conftest import eventually
from partners import BUG, TAKEN, TOO_LARGE, Partner, Site, rejected, retry

from router.gate import Surroundings
from router.reports import balances

NOW = 1_700_000_001_000


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


def is_even(site):
    row = balances(Surroundings(site.log, site.ledger), "shop")
    accounted = sum(map(sum, (row["skipped"].values(), row["dead"].values())))
    assert row["balanced"]
    assert row["accepted"] == row["delivered"] + accounted + row["pending"]
    return row


def die(site, events):
    """Every one of these events dies; the ids of their letters in the log's order."""
    site.partner.script = lambda request: rejected()
    site.accept(events)
    with site.delivering():
        eventually(site.is_done)
    site.partner.script = lambda request: TAKEN
    site.partner.requests.clear()
    return [letter_id for letter_id, _ in site.ledger.letters.dead("shop")]


def states(site):
    letters = site.ledger.dead_letters("shop", limit=10_000)
    return Counter(letter.state for letter in letters)


def is_tried(site):
    return not states(site)["retrying"]


def by_user(ids):
    found = {}
    for one in ids:
        user, number = one.split(":")
        found.setdefault(user, []).append(int(number))
    return found


@pytest.mark.parametrize("concurrency", [1, 4])
def test_letters_go_out_in_the_order_of_the_log_per_user(site, partner, concurrency):
    site.configure(concurrency=concurrency, batch_events=5)
    ids = die(site, [(f"u{n % 7}", n) for n in range(140)])
    assert len(ids) == 140
    site.ledger.letters.put_back(ids, NOW)
    assert is_even(site)["pending"] == 140
    with site.delivering():
        eventually(lambda: is_tried(site))
    taken = by_user(partner.taken())
    assert {user: sorted(numbers) for user, numbers in taken.items()} == taken
    assert sum(map(len, taken.values())) == 140
    assert states(site) == {"delivered": 140}
    assert (is_even(site)["delivered"], is_even(site)["dead"]) == (140, {})


def test_a_running_lane_takes_them_up_before_what_comes_after(site, partner):
    user = site.user_in(0)
    ids = die(site, [(user, 0), (user, 1)])
    with site.delivering():
        site.accept([(user, 2)])
        eventually(site.is_done)
        site.ledger.letters.put_back(ids, NOW)
        eventually(lambda: is_tried(site), 5)
        site.accept([(user, 3)])
        eventually(site.is_done)
    assert by_user(partner.taken()) == {user: [2, 0, 1, 3]}


def test_nothing_of_a_lane_is_under_way_beside_its_letters(site, partner):
    user = site.user_in(0)
    ids = die(site, [(user, n) for n in range(20)])
    with site.delivering():
        site.accept([(user, n) for n in range(20, 60)])
        site.ledger.letters.put_back(ids, NOW)
        eventually(lambda: is_tried(site) and site.is_done())
    assert partner.most_at_once["shop"] == 1
    old = [n for n in by_user(partner.taken())[user] if n < 20]
    new = [n for n in by_user(partner.taken())[user] if n >= 20]
    assert (old, new) == (list(range(20)), list(range(20, 60)))


def test_letters_that_are_put_back_while_others_go_out_keep_their_order(site, partner):
    user, other = site.user_in(0), "user" + site.user_in(0)
    while site.log.partition_of(other) != 0:
        other += "x"
    ids = die(site, [(user, 0), (other, 1), (other, 2), (user, 3)])
    site.ledger.letters.put_back(ids[1:3], NOW)

    def answer(request):
        if request.ids == (f"{other}:1",):
            site.ledger.letters.put_back([ids[0], ids[3]], NOW)
        return TAKEN

    partner.script = answer
    with site.delivering():
        eventually(lambda: states(site)["delivered"] == 4)
    assert by_user(partner.taken()) == {other: [1, 2], user: [0, 3]}


def test_one_that_fails_again_is_the_same_letter_with_its_history(site, partner):
    (letter_id,) = die(site, [("a", 0)])
    partner.script = lambda request: TOO_LARGE
    site.ledger.letters.put_back([letter_id], NOW)
    with site.delivering():
        eventually(lambda: is_tried(site))
    (letter,) = site.ledger.dead_letters("shop")
    assert (letter.id, letter.state, letter.code, letter.reason) == (
        letter_id, "dead", "event_too_large", "too much"
    )  # fmt: skip
    assert [line["code"] for line in letter.history] == [
        "rejected", "retrying", "event_too_large"
    ]  # fmt: skip
    assert is_even(site)["dead"] == {"event_too_large": 1}


def test_of_a_batch_of_letters_only_the_guilty_ones_fail_again(site, partner):
    site.configure(batch_events=8, partitions=1)
    ids = die(site, [("a", n) for n in range(8)])
    bad = {"a:2", "a:5"}
    partner.script = lambda request: rejected() if bad & {*request.ids} else TAKEN
    site.ledger.letters.put_back(ids, NOW)
    with site.delivering():
        eventually(lambda: is_tried(site))
    assert by_user(partner.taken()) == {"a": [0, 1, 3, 4, 6, 7]}
    assert states(site) == {"delivered": 6, "dead": 2}
    assert is_even(site)["delivered"] == 6


def test_letters_that_are_far_between_share_a_batch(site, partner):
    site.configure(batch_events=8, partitions=1)
    ids = die(site, [("a", n) for n in range(10)])
    site.ledger.letters.put_back(ids[::2], NOW)
    with site.delivering():
        eventually(lambda: is_tried(site))
    assert [request.ids for request in partner.sent()] == [
        ("a:0", "a:2", "a:4", "a:6", "a:8")
    ]


def test_letters_wait_for_a_partner_that_is_unwell(site, partner):
    ids = die(site, [("a", n) for n in range(5)])
    partner.script = lambda request: retry()
    site.ledger.letters.put_back(ids, NOW)
    with site.delivering():
        eventually(lambda: len(partner.sent()) > 3)
        assert states(site) == {"retrying": 5}
        assert is_even(site)["pending"] == 5
        partner.script = lambda request: TAKEN
        eventually(lambda: is_tried(site), 20)
    assert by_user(partner.taken()) == {"a": list(range(5))}


def test_a_letter_that_alone_is_never_taken_comes_back_after_ten_attempts(
    site, partner
):
    hopeless, other = site.user_in(0), site.user_in(1)
    (letter_id,) = die(site, [(hopeless, 0)])
    bad = f"{hopeless}:0"
    partner.script = lambda request: retry() if bad in request.ids else TAKEN
    site.ledger.letters.put_back([letter_id], NOW)
    with site.delivering():
        eventually(lambda: len(partner.sent()) > 15)
        assert is_even(site)["pending"] == 1
        site.accept([(hopeless, 1), (other, 2)])
        eventually(site.is_done)
    (letter,) = site.ledger.dead_letters("shop")
    assert (letter.id, letter.code, letter.state) == (
        letter_id, "retries_exhausted", "dead"
    )  # fmt: skip
    assert letter.attempts > 10
    assert sorted(partner.taken()) == sorted([f"{hopeless}:1", f"{other}:2"])


def test_a_letter_that_the_configuration_skips_now_is_closed(site, partner):
    ids = die(site, [("a", 0)])
    site.configure(events=["Other"])
    site.ledger.letters.put_back(ids, NOW)
    with site.delivering():
        eventually(lambda: is_tried(site))
    assert states(site) == {"skipped": 1}
    assert is_even(site)["skipped"] == {"event_not_selected": 1}
    assert partner.taken() == []


@pytest.mark.parametrize("name", ["Bug", "Added"])
def test_a_bug_that_hits_every_letter_does_not_hold_the_lane(site, partner, name):
    user = site.user_in(0)
    partner.script = lambda request: rejected()
    for number in range(30):
        site.accept([(user, number)], name=name if number % 5 else "Added")
    with site.delivering():
        eventually(site.is_done)
    ids = [
        one.id
        for one in site.ledger.dead_letters("shop", limit=100)[::-1]
        if one.event["event"] == name
    ]
    assert len(ids) > 20
    partner.script = lambda request: BUG
    site.ledger.letters.put_back(ids, NOW)
    with site.delivering():
        eventually(lambda: is_tried(site))
        assert site.hold() is None
        partner.script = lambda request: TAKEN
        site.accept([(user, 100)])
        eventually(site.is_done)
    assert partner.taken() == [f"{user}:100"]
    assert states(site) == {"dead": 30}
    is_even(site)


def test_kill_9_in_the_middle_repeats_what_was_under_way_and_loses_nothing(
    site, partner
):
    ids = die(site, [(f"u{n % 20}", n) for n in range(400)])
    partner.script = lambda request: time.sleep(0.002) or TAKEN
    site.ledger.letters.put_back(ids, NOW)
    kills = 0
    while not is_tried(site):
        many = len(partner.taken()) + 50
        with site.process() as child:
            eventually(lambda n=many: len(partner.taken()) > n or is_tried(site), 30)
            child.kill()
            child.wait()
        kills += 1
        is_even(site)
    assert kills > 2
    taken = Counter(partner.taken())
    assert set(taken) == {f"u{n % 20}:{n}" for n in range(400)}
    # Of each lane the request that was under way at each kill.
    assert taken.total() - 400 <= kills * 4
    for numbers in by_user(dict.fromkeys(partner.taken())).values():
        assert numbers == sorted(numbers)
    assert states(site) == {"delivered": 400}
    assert is_even(site)["delivered"] == 400


def test_letters_of_a_lane_that_changes_hands_go_out_once(site, partner):
    partner.script = lambda request: TAKEN
    ids = die(site, [(f"u{n % 20}", n) for n in range(200)])
    site.ledger.letters.put_back(ids, NOW)
    partner.script = lambda request: time.sleep(0.005) or TAKEN
    with site.delivering():
        eventually(lambda: len(partner.taken()) > 20)
        with site.delivering():
            eventually(lambda: is_tried(site), 30)
    assert sorted(partner.taken()) == sorted(f"u{n % 20}:{n}" for n in range(200))
