"""The log, against a toy model, and against processes that are killed as they write."""

import random
import sqlite3
import threading
import tracemalloc
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from functools import partial

import model
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from model import PARTITIONS, PLENTY, accepted, batch

from router.errors import StorageUnavailable
from router.log import Log

USERS = ["", "ada", "bob", "eve", "ünï", "u" * 300]


@pytest.fixture
def log(tmp_path):
    made = Log(tmp_path, PARTITIONS, PLENTY)
    yield made
    made.close()


def everything(log):
    """For each partition all its records that are kept, read in one go."""
    return {n: log.read(n, 0, 1_000_000, PLENTY) for n in range(log.partitions)}


def ids(log):
    """The id of every record that is kept, and that offsets have no gaps."""
    found, starts, heads = [], log.starts(), log.heads()
    for partition, records in everything(log).items():
        expected = range(starts[partition], heads[partition])
        assert [r.offset for r in records] == list(expected)
        found += [r.message_id for r in records]
    return found


def check_written(log, acknowledged):
    """For each writer: what was acknowledged is there, whole and once, in order; of
    what was not, no more than whole batches that follow it."""
    found = ids(log)
    assert len(found) == len(set(found))
    numbers = defaultdict(list)
    for message_id in found:
        writer, number, _ = message_id.split(":")
        numbers[writer].append(int(number))
    for writer, last in acknowledged.items():
        got = set(numbers[writer])
        assert got == set(range(len(got)))
        assert last < len(got) <= last + 2
        expected = {one.message_id for n in got for one in batch(writer, n)}
        assert {i for i in found if i.startswith(f"{writer}:")} == expected
    for records in everything(log).values():
        per_user = defaultdict(list)
        for record in records:
            writer, number, place = map(str, record.message_id.split(":"))
            per_user[f"{writer}{int(place) % 3}"].append((int(number), int(place)))
        assert all(places == sorted(places) for places in per_user.values())


class TheLogIsLikeLists(RuleBasedStateMachine):
    """A log beside one list a partition."""

    @property
    def log(self):
        return self.logs[-1]

    def __init__(self):
        super().__init__()
        self.directory = next(DIRECTORIES)
        self.logs = [self.opened()]
        self.lists = {n: [] for n in range(PARTITIONS)}
        self.starts = dict.fromkeys(range(PARTITIONS), 0)
        self.homes = {}
        self.number = 0

    def opened(self):
        # Now and then an append begins a new segment.
        return Log(self.directory, PARTITIONS, PLENTY, segment=90_000)

    @rule(users=st.lists(st.sampled_from(USERS), max_size=8))
    def append(self, users):
        events = []
        for user in users:
            self.number += 1
            events.append(accepted(f"m{self.number}", user, size=self.number))
        grown = self.log.append(events).grown
        for event in events:
            home = self.log.partition_of(event.user_key)
            assert self.homes.setdefault(event.user_key, home) == home
            self.lists[home].append(event)
        assert grown == {self.homes[user] for user in users}

    @rule(
        partition=st.integers(0, PARTITIONS - 1),
        offset=st.integers(0, 40),
        limit=st.integers(0, 10),
        max_bytes=st.integers(1, 500),
    )
    def read(self, partition, offset, limit, max_bytes):
        expected, size = [], 0
        offset_of_first = max(offset, self.starts[partition])
        for place, event in enumerate(self.lists[partition]):
            if place >= offset_of_first and len(expected) < limit and size < max_bytes:
                expected.append((place, event.message_id, event.body))
                size += len(event.body)
        records = self.log.read(partition, offset, limit, max_bytes)
        assert [(r.offset, r.message_id, r.body) for r in records] == expected
        assert all(r.partition == partition for r in records)
        assert all((r.source, r.received_at) == SENT_WITH for r in records)

    @rule()
    def reopen(self):
        self.log.close()
        self.logs.append(self.opened())

    @rule()
    def another_process_goes_on(self):
        self.logs.append(self.opened())

    @rule(in_time=st.booleans())
    def expire(self, in_time):
        before = SENT_WITH[1] + (0 if in_time else 1)
        ends = self.log.expired(before)
        assert not (in_time and ends)
        if ends:
            self.log.drop(ends)
            assert self.log.starts() == ends
            self.starts = ends

    @rule(number=st.integers(0, 100))
    def find(self, number):
        record = self.log.find(f"m{number}")
        kept = {
            event.message_id: (partition, place)
            for partition, events in self.lists.items()
            for place, event in enumerate(events)
            if place >= self.starts[partition]
        }
        found = record and (record.partition, record.offset)
        assert found == kept.get(f"m{number}")

    @invariant()
    def the_heads_are_the_lengths(self):
        for log in self.logs:
            assert log.heads() == {n: len(all_) for n, all_ in self.lists.items()}

    @invariant()
    def the_starts_are_where_the_oldest_are(self):
        assert self.log.starts() == self.starts

    def teardown(self):
        for log in self.logs:
            log.close()


SENT_WITH = ("web", 1_700_000_000_000)
DIRECTORIES = iter(())


def test_the_log_is_like_lists(tmp_path_factory):
    global DIRECTORIES
    DIRECTORIES = iter(lambda: tmp_path_factory.mktemp("log"), None)
    machine = TheLogIsLikeLists.TestCase
    machine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
    machine("runTest").runTest()


def test_a_user_is_in_the_partition_that_logs_have_had_him_in_from_the_first(tmp_path):
    log = Log(tmp_path, 8, PLENTY)
    homes = {user: log.partition_of(user) for user in ("", "bob", "eve", "ünï")}
    assert homes == {"": 0, "bob": 0, "eve": 6, "ünï": 2}


def test_the_newest_of_two_events_with_one_id_is_found(log):
    log.append([accepted("m", size=1)])
    log.append([replace(accepted("m", size=2), source="ios")])
    assert len(log.find("m").body) == 2


# Beyond 4 MB a checkpoint is under way as well.
@example(limit=4_300_000)
@given(limit=st.integers(1, 400_000))
@settings(max_examples=10, deadline=None)
def test_a_crash_between_any_two_writes_loses_nothing_that_was_acknowledged(
    tmp_path_factory, limit
):
    directory = tmp_path_factory.mktemp("log")
    with model.start("append_until_full", directory, limit) as child:
        said, _ = child.communicate(timeout=60)
    assert child.returncode < 0
    log = Log(directory, PARTITIONS, PLENTY)
    check_written(log, {"w": len(model.numbers(said)) - 1})
    log.append([accepted("after:0:0")])
    assert "after:0:0" in ids(log)
    log.close()


def test_a_crash_at_any_moment_of_a_change_of_segments_loses_nothing(tmp_path):
    moments = 120
    with model.start("append_and_drop", tmp_path, moments) as child:
        child.communicate(timeout=100)
    assert child.returncode == 0
    reached = [check_dropped(tmp_path / str(moment)) for moment in range(moments)]
    assert max(reached) > 3


def check_dropped(directory):
    acknowledged = model.numbers((directory / "said").read_bytes())
    log = Log(directory, PARTITIONS, PLENTY)
    kept = kept_batches(log)
    dropped = -min([0, *acknowledged])
    last = max([-1, *acknowledged])
    assert kept >= set(range(dropped, last + 1))
    assert max(kept, default=-1) <= last + 1
    log.append([accepted("after:0:0")])
    assert "after:0:0" in ids(log)
    log.drop(log.heads())
    log.close()
    left = {file.name for file in log.directory.iterdir()}
    assert "ids-00000001" in left
    unnamed = {"ids-new", "new", "new-wal", "new-shm", "new-journal"}
    assert len(left - {"ids-00000001"} - unnamed) == 1
    return last


def kept_batches(log):
    return {int(one.split(":")[1]) for one in ids(log)}


def test_kill_9_at_any_time_loses_nothing_that_was_acknowledged(tmp_path, log):
    acknowledged = {}
    for round_ in range(8):
        child = model.start("append", tmp_path, f"w{round_}x", 0)
        lines = random.randrange(1, 150)
        acknowledged[f"w{round_}x"] = model.kill_after(child, lines)[-1]
        check_written(log, acknowledged)
    assert min(acknowledged.values()) >= 0


def test_processes_and_threads_append_at_once(tmp_path, log):
    children = [model.start("append_some", tmp_path, f"p{n}x", 80) for n in range(3)]

    def append(writer):
        for number in range(80):
            log.append(batch(writer, number))
        log.close()

    names = [f"t{n}x" for n in range(3)]
    threads = [threading.Thread(target=append, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        with child:
            child.communicate(timeout=60)
            assert child.returncode == 0
    check_written(log, dict.fromkeys([*names, "p0x", "p1x", "p2x"], 79))


def test_beyond_max_disk_nothing_is_stored_and_clients_are_told(tmp_path):
    log = Log(tmp_path, PARTITIONS, max_disk=200_000)
    stored = 0
    while model.tries(partial(log.append, [accepted(f"m{stored}", size=1000)])):
        stored += 1
        assert stored < 200
    assert stored > 0
    with pytest.raises(StorageUnavailable, match="the log has reached max_disk"):
        log.append([accepted("m")])
    with pytest.raises(StorageUnavailable, match="the log has reached max_disk"):
        log.check_writable()
    assert sum(log.heads().values()) == stored
    log.close()
    roomier = Log(tmp_path, PARTITIONS, max_disk=PLENTY)
    roomier.append([accepted("m")])
    assert sum(roomier.heads().values()) == stored + 1
    roomier.close()


def test_what_is_beside_the_log_takes_of_its_room(tmp_path):
    beside = [0]
    log = Log(tmp_path, PARTITIONS, max_disk=200_000, beside=lambda: beside[0])
    log.append([accepted("m0")])
    beside[0] = 200_000 - log.bytes_on_disk()
    with pytest.raises(StorageUnavailable, match=r"dead letters \(\d+ bytes of ledger"):
        log.append([accepted("m1")])
    beside[0] -= 1
    log.append([accepted("m1")])
    log.close()


def test_a_full_disk_refuses_whole_batches_and_recovers_by_itself(tmp_path, log):
    stored, refused = model.output("fill", tmp_path)
    assert len(refused) == 8
    assert {number + 1 for number in refused} <= set(stored)
    expected = {one.message_id for n in stored for one in batch("w", n)}
    found = ids(log)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_read_only_file_refuses_events_until_it_is_writable_again(tmp_path, log):
    assert model.output("write_protect", tmp_path) == [True, False, True]
    expected = {one.message_id for n in (0, 2) for one in batch("w", n)}
    assert set(ids(log)) == expected


def test_what_cannot_be_a_log_is_unavailable_and_not_touched(tmp_path, log):
    (tmp_path / "log.db").write_bytes(b"something else" * 100)
    with pytest.raises(StorageUnavailable, match=r"log\.db: file is not a database"):
        log.append([accepted("m")])
    assert (tmp_path / "log.db").read_bytes() == b"something else" * 100


def test_a_backlog_is_read_in_pages_that_bound_the_memory(log):
    log.append([accepted(f"m{n}", size=1000) for n in range(20_000)])
    partition = log.partition_of("u")
    offset = pages = 0
    tracemalloc.start()
    while records := log.read(partition, offset, 1000, 64 * 1024):
        assert sum(len(r.body) for r in records) <= 64 * 1024 + 1000
        offset = records[-1].offset + 1
        pages += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (offset, pages) == (20_000, 304)
    assert peak < 1_000_000


def test_a_segment_begins_where_the_last_one_ends_by_now(log):
    log.append([accepted(f"m{n}") for n in range(5)])
    partition = log.partition_of("u")
    log._segments.begin({partition: 3})
    log.append([accepted("after")])
    assert [one.offset for one in log.read(partition, 0, 10)] == [0, 1, 2, 3, 4, 5]


def test_the_number_of_partitions_is_fixed_by_the_first(tmp_path, log):
    assert log.settle_partitions() == PARTITIONS
    other = Log(tmp_path, PARTITIONS + 1, PLENTY)
    assert other.settle_partitions() == PARTITIONS
    other.close()


def test_events_of_one_append_are_in_the_file_by_partition(log):
    for which in "ab":
        log.append([accepted(f"{which}{n}", str(n % 10), 10) for n in range(100)])
    with closing(sqlite3.connect(log.directory / "00000001.db")) as database:
        query = "SELECT partition FROM events ORDER BY position"
        found = [partition for (partition,) in database.execute(query)]
    once = sorted(found[:100])
    assert len(set(once)) > 1
    assert found == once + once
