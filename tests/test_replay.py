"""Replays: a range of the log goes to one destination again, beside what comes in."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from conftest import eventually
from partners import MISCONFIGURED, ROOT, TAKEN, Partner, Site, event, rejected, retry

from router import config, reports
from router.gate import Surroundings
from router.replaying import choose
from router.replays import Choice, Replay
from router.retry import Policy
from router.timestamps import format_iso
from router.wakeup import ring

BEGAN = 1_700_000_000_000
SECOND = 1000
QUICKLY = 1e6


@pytest.fixture
def partner():
    return Partner()


@pytest.fixture
def site(tmp_path, partner):
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        made.configure("shop", "mail")
        yield made
        made.close()


def accept(site, numbers, users=("ann", "bob", "cid"), name="Added"):
    """Accepts an event a second of each user: that of number n in second n."""
    found = []
    for number in numbers:
        at = BEGAN + number * SECOND
        found += [replace(event(user, number, name), received_at=at) for user in users]
    ring(site.data, site.log.append(found).grown)
    return [one.message_id for one in found]


def deliver_all(site):
    """Lanes until all is passed; what was sent so far is forgotten."""
    with site.delivering():
        eventually(lambda: site.is_done("shop") and site.is_done("mail"))
    site.partner.requests.clear()


def start(site, since=0, until=1_000_000, rate=QUICKLY, destination="shop", **more):
    """Starts the replay of some seconds; returns how it stands, when asked."""
    choice = Choice(since=BEGAN + since * SECOND, until=BEGAN + until * SECOND, **more)
    ends = {n: offset for n, (_, offset) in site.ledger.offsets(destination).items()}
    chosen = choose(site.log, choice, ends)
    made = Replay(
        **vars(choice), destination=destination, rate=rate, chosen=chosen.count,
        started_at=BEGAN,
    )  # fmt: skip
    number = site.ledger.replays.start(made, chosen.spans)
    return lambda: report(site, number)


def report(site, number):
    shared = Surroundings(site.log, site.ledger)
    found = config.load(site.conf, {})
    return reports.replay(found, shared, site.ledger.replays.find(number))


def is_done(replay):
    return lambda: replay()["state"] == "done"


def sent(site, destination="shop"):
    return [one for request in site.partner.sent(destination) for one in request.ids]


def in_order(ids):
    """Whether each user's events came in their order, repeats aside."""
    first = list(dict.fromkeys(ids))
    numbers = {}
    for one in first:
        user, number = one.split(":")
        numbers.setdefault(user, []).append(int(number))
    return all(a < b for found in numbers.values() for a, b in pairwise(found))


def balance(site, destination="shop"):
    return reports.balances(Surroundings(site.log, site.ledger), destination)


def router(site, *command, status=0):
    """What a `router` command prints, without and with what it tells of its way."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "ROUTER_CONF": str(site.conf)}
    done = subprocess.run(
        [sys.executable, "-m", "router", *command],
        env=environ,
        cwd=site.directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stdout + done.stderr


def replay_json(site, *options, status=0):
    out, _ = router(site, "replay", "shop", *options, "--json", status=status)
    return json.loads(out)


# What is sent


def test_a_range_goes_to_that_destination_again_in_order_and_the_ledger_stays(site):
    ids = accept(site, range(20))
    deliver_all(site)
    before = balance(site)
    replay = start(site, 5, 15)
    with site.delivering():
        eventually(is_done(replay))
    assert sorted(sent(site)) == sorted(ids[15:45])
    assert in_order(sent(site))
    assert sent(site, "mail") == []
    assert balance(site) == before
    row = replay()
    assert (row["chosen"], row["delivered"], row["pending"]) == (30, 30, 0)
    assert row["endedAt"] is not None


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ({"event": "Order *"}, {"ann:0", "ann:1"}),
        ({"event": "order *"}, set()),
        ({"user": "bob"}, {"bob:2", "bob:3"}),
        ({"user": "bob", "event": "Added"}, {"bob:2"}),
        ({"user": "nobody"}, set()),
    ],
)
def test_only_what_was_chosen_is_sent(site, choice, chosen):
    accept(site, [0, 1], users=["ann"], name="Order Completed")
    accept(site, [2], users=["bob"])
    accept(site, [3], users=["bob"], name="Viewed")
    deliver_all(site)
    replay = start(site, **choice)
    with site.delivering():
        eventually(is_done(replay))
    assert set(sent(site)) == chosen
    assert (replay()["chosen"], replay()["delivered"]) == (len(chosen), len(chosen))


def test_what_the_destination_has_still_to_get_is_sent_once(site):
    old = accept(site, range(5))
    deliver_all(site)
    new = accept(site, range(5, 10))
    replay = start(site)
    with site.delivering():
        eventually(lambda: is_done(replay)() and site.is_done())
    assert sorted(sent(site)) == sorted(old + new)


def test_what_a_new_destination_began_behind_can_be_replayed(site):
    ids = accept(site, range(5))
    site.configure("late", start="latest")
    with site.delivering():
        eventually(lambda: site.is_done("late"))
        assert sent(site, "late") == []
        replay = start(site, destination="late")
        eventually(is_done(replay))
    assert sorted(sent(site, "late")) == sorted(ids)


def test_it_goes_through_selection_and_mapping_as_they_are_now(site):
    accept(site, [0], users=["ann"], name="Unknown")
    accept(site, [1], users=["ann"])
    deliver_all(site)
    replay = start(site)
    with site.delivering():
        eventually(is_done(replay))
    row = replay()
    assert (row["delivered"], row["skipped"]) == (1, {"unsupported_event": 1})


def test_a_backlog_of_many_batches_and_segments_is_replayed_from_where_it_begins(site):
    ids = accept(site, range(700))
    site.configure("shop", "mail", batch_events=50)
    deliver_all(site)
    replay = start(site, 200, 600)
    with site.delivering():
        eventually(is_done(replay), 30)
    assert sorted(sent(site)) == sorted(ids[600:1800])
    assert in_order(sent(site))


# Beside the live events


def test_what_comes_in_goes_out_while_a_replay_takes_its_time(site):
    ids = accept(site, range(100))
    deliver_all(site)
    replay = start(site, rate=20)
    with site.delivering():
        eventually(lambda: sent(site))
        live = accept(site, range(1000, 1003))
        eventually(lambda: {*live} <= {*sent(site)})
        assert replay()["state"] == "running"
        assert len({*sent(site)} & {*ids}) < 100


def test_a_replay_that_waits_for_its_event_does_not_hold_up_the_live_ones(site):
    accept(site, range(3), users=["ann"])
    deliver_all(site)
    site.partner.script = lambda request: (
        retry() if request.ids[0] == "ann:1" else TAKEN
    )
    patient = Policy(first=1000, longest=1000, least=1000)
    replay = start(site)
    with site.delivering(patient):
        eventually(lambda: replay()["waits"])
        accept(site, [7], users=["ann"])
        eventually(lambda: "ann:7" in sent(site))
        assert replay()["waits"] == ["retry: unwell"]
    assert site.hold() is None
    assert (replay()["delivered"], replay()["pending"]) == (1, 2)


def test_what_the_destination_waits_for_a_replay_waits_for_too(site):
    accept(site, range(10))
    deliver_all(site)
    answers = {"answer": MISCONFIGURED}
    site.partner.script = lambda request: answers["answer"]
    replay = start(site)
    with site.delivering():
        hold = eventually(site.hold)
        assert (hold.kind, hold.partition) == ("misconfigured", -1)
        assert replay()["waits"] == ["misconfigured: wrong key"]
        answers["answer"] = TAKEN
        eventually(is_done(replay))
    assert in_order(site.partner.taken())
    assert site.hold() is None
    assert replay()["delivered"] == 30


# What somebody wants of it


def test_it_rests_and_goes_on_where_it_was(site):
    ids = accept(site, range(60))
    deliver_all(site)
    replay = start(site, rate=60)
    with site.delivering():
        eventually(lambda: len(sent(site)) > 5)
        number = str(replay()["id"])
        router(site, "replays", "pause", number)
        eventually(lambda: site.ledger.replays.running() == [])
        time.sleep(0.5)
        paused = replay()
        assert paused["state"] == "paused"
        assert 0 < paused["delivered"] < 180
        time.sleep(0.5)
        assert replay() == paused
        _, said = router(site, "replays", "pause", number, status=1)
        assert f"replay {number} is paused, not running" in said
        router(site, "replays", "resume", number)
        eventually(is_done(replay), 20)
    assert sent(site) == list(dict.fromkeys(sent(site)))
    assert sorted(sent(site)) == sorted(ids)


def test_it_can_be_ended_for_good(site):
    accept(site, range(60))
    deliver_all(site)
    replay = start(site, rate=20)
    with site.delivering():
        eventually(lambda: sent(site))
        number = str(replay()["id"])
        out, _ = router(site, "replays", "cancel", number, "--json")
        assert json.loads(out)["state"] == "cancelled"
        _, said = router(site, "replays", "resume", number, status=1)
        assert f"replay {number} is cancelled, not paused" in said
        time.sleep(0.5)
        left = len(sent(site))
        accept(site, [1000])
        eventually(lambda: len(sent(site)) == left + 3)
    assert left < 180
    assert replay()["endedAt"]


def test_it_waits_while_its_destination_is_disabled(site):
    accept(site, range(3))
    deliver_all(site)
    replay = start(site)
    site.configure("mail")
    with site.delivering():
        accept(site, [5])
        eventually(lambda: site.is_done("mail"))
        assert replay()["waits"] == ["the destination is not enabled"]
    assert (replay()["state"], replay()["delivered"]) == ("running", 0)
    site.configure("shop", "mail")
    with site.delivering():
        eventually(is_done(replay))


# What goes wrong


def has_come_to(site, requests, replay):
    return len(site.partner.requests) > requests or is_done(replay)()


def test_killed_again_and_again_it_leaves_out_nothing(site):
    ids = accept(site, range(400))
    site.configure("shop", "mail", batch_events=7)
    deliver_all(site)
    site.partner.script = lambda request: time.sleep(0.01) or TAKEN
    replay = start(site)
    kills = 0
    while replay()["state"] == "running":
        with site.process() as child, site.process():
            enough = len(site.partner.requests) + 30
            eventually(partial(has_come_to, site, enough, replay), 30)
            if not is_done(replay)():
                child.send_signal(signal.SIGKILL)
                kills += 1
    assert kills >= 2
    assert {*sent(site)} == {*ids}
    assert in_order(sent(site))
    row = replay()
    assert (row["delivered"], row["pending"]) == (len(ids), 0)
    repeated = len(sent(site)) - len(ids)
    assert repeated <= 7 * 4 * 2 * kills


def test_what_it_cannot_deliver_becomes_dead_letters_of_the_destination(site):
    accept(site, range(6), users=["ann"])
    deliver_all(site)
    before = balance(site)
    answers = {"ann:2": rejected(), "ann:4": rejected()}
    site.partner.script = lambda request: answers.get(request.ids[0], TAKEN)
    replay = start(site)
    with site.delivering():
        eventually(is_done(replay))
        assert site.dead() == ["ann:2", "ann:4"]
        assert replay()["dead"] == {"rejected": 2}
        (status,) = [one for one in statuses(site) if one["destination"] == "shop"]
        assert status["deadLetters"] == 2
        answers.clear()
        router(site, "dead-letters", "retry", "--destination", "shop")
        eventually(lambda: replay()["delivered"] == 6)
    assert (replay()["dead"], replay()["pending"]) == ({}, 0)
    assert balance(site) == before


def statuses(site):
    shared = Surroundings(site.log, site.ledger)
    return reports.statuses(config.load(site.conf, {}), shared)


def test_what_expired_meanwhile_is_counted_and_it_ends(site):
    ids = accept(site, range(5))
    deliver_all(site)
    replay = start(site)
    site.log.expired(BEGAN + 1000 * SECOND)  # ends the segment
    accept(site, [1000])
    site.log.drop(site.log.expired(BEGAN + 1000 * SECOND))
    with site.delivering():
        eventually(is_done(replay))
    assert replay()["expired"] == {"missing": len(ids)}
    assert replay()["pending"] == 0


# The command


def test_the_command_previews_shows_and_waits(site):
    accept(site, range(10))
    deliver_all(site)
    since = ["--since", format_iso(BEGAN + 2 * SECOND)]
    until = ["--until", format_iso(BEGAN + 5 * SECOND)]
    dry = replay_json(site, *since, *until, "--dry-run")
    assert dry["chosen"] == 9
    assert len(dry["samples"]) == 5
    for sample in dry["samples"]:
        assert sample["messageId"].split(":")[1] in "234"
        assert (sample["outcome"], sample["code"]) == ("deliver", "deliver")
        assert (sample["type"], sample["event"]) == ("track", "Added")
    assert site.ledger.replays.all() == []

    with site.delivering():
        out, said = router(site, "replay", "shop", *since, *until, "--rate", "1e6")
    assert len(sent(site)) == 9
    assert "9 events from 2023-11-14T22:13:22.000Z to 2023-11-14T22:13:25.000Z" in said
    assert out == "shop: replay 1 done: 9 of 9 events delivered\n"
    out, _ = router(site, "status")
    assert "shop: replay 1 done: 9 of 9 events delivered" in out
    (row,) = json.loads(router(site, "replays", "list", "--json")[0])
    assert (row["id"], row["state"], row["rate"]) == (1, "done", 1e6)
    (status,) = [one for one in statuses(site) if one["destination"] == "shop"]
    assert status["replays"] == [row]


def test_the_command_says_when_nobody_is_there_to_do_it(site):
    accept(site, range(3))
    deliver_all(site)
    out, said = router(site, "replay", "shop", "--since", format_iso(BEGAN), status=1)
    assert "nobody delivers here now" in said
    assert "replay 1 running: 0 of 9 events delivered; 9 to go" in out
    assert "waits: nobody delivers here" in out
    with site.delivering():
        eventually(lambda: len(sent(site)) == 9)


def test_the_command_watches_through_a_restart_and_may_be_left(site):
    accept(site, range(40))
    deliver_all(site)
    environ = os.environ | {"PYTHONPATH": str(ROOT), "ROUTER_CONF": str(site.conf)}
    command = [sys.executable, "-m", "router", "replay", "shop", "--rate", "30"]
    watching = subprocess.Popen(
        [*command, "--since", format_iso(BEGAN)],
        env=environ, cwd=site.directory, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with watching:
        with site.process():
            eventually(lambda: len(sent(site)) > 10)
        time.sleep(1)
        with site.process():
            before = len(sent(site))
            eventually(lambda: len(sent(site)) > before + 10)
            watching.send_signal(signal.SIGINT)
            out, said = watching.communicate(timeout=30)
            assert watching.returncode == 1
            assert "replay 1 goes on; `router replays cancel 1` ends it" in said
            assert "shop: replay 1 running: " in out
            eventually(lambda: not site.ledger.replays.running(), 30)
    assert len({*sent(site)}) == 120


def test_a_replay_that_cannot_read_the_log_says_so(site):
    accept(site, range(40))
    deliver_all(site)
    replay = start(site)
    site.log.expired(BEGAN + 1000 * SECOND)  # ends the segment
    accept(site, [1000])
    site.log.close()
    first = site.data / "log" / "00000001.db"
    with sqlite3.connect(first) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with first.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(first.stat().st_size - 8192))
    with site.delivering():
        said = eventually(lambda: [r for r in replay()["waits"] if ".db" in r])
    assert "00000001.db" in said[0]
    assert "see Damage in docs/operations.md" in said[0]


def test_the_command_exits_with_1_when_something_died(site):
    accept(site, range(3), users=["ann"])
    deliver_all(site)
    site.partner.script = lambda request: rejected()
    with site.delivering():
        row = replay_json(site, "--since", format_iso(BEGAN), status=1)
    assert row["dead"] == {"rejected": 3}


def test_a_range_without_events_is_none_to_replay(site):
    accept(site, range(3))
    deliver_all(site)
    found = replay_json(site, "--since", "1h")
    assert (found["chosen"], found["samples"]) == (0, [])
    assert site.ledger.replays.all() == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["replay", "shop"], "Missing option '--since'"),
        (["replay", "shop", "--since", "soon"], "expected an instant such as 2026-"),
        (["replay", "shop", "--since", "10y"], "or how long ago: 24h"),
        (["replay", "shop", "--since", "1h", "--until", "2h"], "must be before"),
        (["replay", "shop", "--since", "1h", "--rate", "0"], "--rate"),
        (["replay", "shop", "--since", "1h", "--rate", "nan"], "--rate"),
        (["replay", "shop", "--since", "1h", "--event", ""], "--event is empty"),
        (["replay", "shop", "--since", "1h", "--user", ""], "--user is empty"),
        (["replay", "shoe", "--since", "1h"], "there are: shop, mail"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(site, command, said):
    accept(site, [0])
    deliver_all(site)
    assert said in router(site, *command, status=2)[1]


def test_a_replay_that_there_is_not_is_told(site):
    accept(site, [0])
    for verb in ("pause", "resume", "cancel"):
        _, said = router(site, "replays", verb, "7", status=1)
        assert "there is no replay 7" in said
