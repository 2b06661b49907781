"""A message id stands for one event of its source, for as long as the window is."""

import json
import os
import shutil
import signal
import sqlite3
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import model
import pytest
import requests
from conftest import Router, eventually
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from model import PARTITIONS, PLENTY, accepted, batch

from router.errors import StorageUnavailable
from router.id_files import BEGIN
from router.id_index import place_of
from router.log import Log

WINDOW = 86_400_000
NOON = 1_700_000_000_000
EVERYTHING = 1_000_000

# Ids that something between here and the disk could take for one another.
IDS = ["m", "M", "m ", "m\0", "m\0n", "0", "ü", "u\u0308", "x" * 100, "x" * 101,
       "x" * 30_000, "x" * 29_999 + "y"]  # fmt: skip


def sent(message_id: str, source: str = "web", at: int = NOON, user: str = "u") -> Any:
    return replace(accepted(message_id, user, size=10), source=source, received_at=at)


def stored(log: Log) -> list[tuple[str, str, int]]:
    """Source, message id and instant of every event in the log."""
    records = [log.read(n, 0, EVERYTHING, PLENTY) for n in range(log.partitions)]
    return [(r.source, r.message_id, r.received_at) for some in records for r in some]


class TheLogRemembersLikeADict(RuleBasedStateMachine):
    """A log beside a dict of the instants at which it took each id."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = next(DIRECTORIES)
        # In the second log each append begins a new segment.
        self.logs = [self.opened(PLENTY), self.opened(1)]
        self.now = NOON
        self.taken: dict[tuple[str, str], int] = {}
        self.all: list[tuple[str, str, int]] = []

    def opened(self, segment: int) -> Log:
        return Log(self.directory, PARTITIONS, PLENTY, WINDOW / 1000, segment=segment)

    @rule(
        which=st.integers(0, 1),
        source=st.sampled_from(["web", "ios"]),
        numbers=st.lists(st.integers(0, len(IDS) - 1), max_size=6),
    )
    def append(self, which: int, source: str, numbers: list[int]) -> None:
        ids = [IDS[number] for number in numbers]
        new = []
        for message_id in ids:
            at = self.taken.get((source, message_id))
            if at is None or at <= self.now - WINDOW:
                self.taken[source, message_id] = self.now
                new.append((source, message_id, self.now))
        events = [sent(one, source, self.now, user=one[:50]) for one in ids]
        appended = self.logs[which].append(events)
        assert appended.duplicates == len(ids) - len(new)
        users = [self.logs[0].partition_of(one[:50]) for _, one, _ in new]
        assert appended.grown == set(users)
        self.all += new

    @rule(by=st.sampled_from([1, 1000, WINDOW - 1, WINDOW, -1, -WINDOW]))
    def pass_time(self, by: int) -> None:
        self.now += by

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self.logs[which].close()
        self.logs[which] = self.opened((PLENTY, 1)[which])

    @rule(number=st.integers(0, len(IDS) - 1))
    def find(self, number: int) -> None:
        record = self.logs[0].find(IDS[number])
        expected = [one for one in self.all if one[1] == IDS[number]]
        if record is None:
            assert not expected
        else:
            found = (record.source, record.message_id, record.received_at)
            assert found == expected[-1]

    @invariant()
    def what_was_taken_is_there_once(self) -> None:
        assert Counter(stored(self.logs[0])) == Counter(self.all)

    def teardown(self) -> None:
        for log in self.logs:
            log.close()


DIRECTORIES: Any = iter(())


def test_the_log_remembers_like_a_dict(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    global DIRECTORIES
    DIRECTORIES = iter(lambda: tmp_path_factory.mktemp("log"), None)
    machine = TheLogRemembersLikeADict.TestCase
    machine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    machine("runTest").runTest()


@pytest.fixture
def log(tmp_path: Path) -> Any:
    made = Log(tmp_path, PARTITIONS, PLENTY)
    yield made
    made.close()


def test_the_first_of_a_request_wins(log: Log) -> None:
    events = [replace(sent("m"), body=b"%d" % n) for n in range(3)]
    assert log.append(events).duplicates == 2
    record = log.find("m")
    assert record is not None
    assert record.body == b"0"


def test_ids_with_the_same_hash_are_told_apart(log: Log) -> None:
    log.append([sent("m")])
    # Another n, whose entry is made one that leads to m.
    log.append([sent("n", source="elsewhere")])
    (index,) = log.directory.glob("ids-*")
    content = index.read_bytes()
    first, second = (place_of(1, n).to_bytes(8, "little") for n in (1, 2))
    assert content.count(second, BEGIN) == 1
    index.write_bytes(content[:BEGIN] + content[BEGIN:].replace(second, first))
    assert log.find("n") is None
    assert log.append([sent("n")]).duplicates == 0
    record = log.find("n")
    assert record is not None
    assert record.message_id == "n"


def test_a_write_that_failed_does_not_poison_its_ids(tmp_path: Path) -> None:
    refusals = model.output("write_again_when_full", tmp_path)
    assert len(refusals) == 8
    assert all(one == {"again": 0, "third": 5} for one in refusals)


def test_what_is_sent_again_after_kill_9_is_there_once(
    tmp_path: Path, log: Log
) -> None:
    for round_ in range(6):
        child = model.start("append", tmp_path, f"w{round_}", 0)
        last = model.kill_after(child, 20 + 10 * round_)[-1]
        # The client has no answer to the last one, so it sends that again at least.
        assert model.output("append_and_count", tmp_path, f"w{round_}", last + 5) >= 1
        found = [one for _, one, _ in stored(log) if one.startswith(f"w{round_}:")]
        expected = [
            e.message_id for n in range(last + 5) for e in batch(f"w{round_}", n)
        ]
        assert sorted(found) == sorted(expected)


def test_processes_that_are_sent_the_same_at_once_store_it_once(
    tmp_path: Path, log: Log
) -> None:
    children = [model.start("append_and_count", tmp_path, "w", 200) for _ in range(3)]
    duplicates = 0
    for child in children:
        with child:
            said, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        duplicates += json.loads(said)
    expected = [one.message_id for n in range(200) for one in batch("w", n)]
    assert sorted(one for _, one, _ in stored(log)) == sorted(expected)
    assert duplicates == 2 * len(expected)


FORMAT_1 = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    source TEXT NOT NULL, message_id TEXT NOT NULL, received_at INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX events_by_offset ON events (partition, offset);
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO facts VALUES ('partitions', 3);
PRAGMA journal_mode = WAL;
PRAGMA user_version = 1;
"""


@pytest.fixture
def old(tmp_path: Path, log: Log) -> Log:
    """A log as the first version of the router made it, with 20,000 events."""
    database = sqlite3.connect(tmp_path / "log.db")
    database.executescript(FORMAT_1)
    rows = [(n % 3, n // 3, "web", f"m{n}", NOON, b"x" * 300) for n in range(20_000)]
    names = "partition, offset, source, message_id, received_at, body"
    with database:
        database.executemany(
            f"INSERT INTO events ({names}) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
    database.close()
    return log


def test_a_log_of_the_first_format_is_brought_forward(old: Log) -> None:
    assert old.append([sent("m7", at=NOON + 1), sent("new")]).duplicates == 1
    record = old.find("m19999")
    assert record is not None
    assert (record.partition, record.offset) == (1, 6666)
    assert sum(old.heads().values()) == 20_001
    assert old.settle_partitions() == 3
    old.close()
    assert version(old.directory / "00000001.db") == 4


def test_a_log_of_one_file_that_was_killed_is_taken_over_with_its_last_commits(
    tmp_path: Path, old: Log
) -> None:
    keeps = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    keeps.execute(
        "INSERT INTO events VALUES (NULL, 0, 6667, 'web', 'last', ?, x'')", (NOON,)
    )
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in tmp_path.glob("log.db*"):
        shutil.copy(file, killed)
    assert (killed / "log.db-wal").stat().st_size
    with pytest.raises(StorageUnavailable, match=r"log\.db: database is locked"):
        old.append([sent("while an older version runs")])
    keeps.close()
    assert old.append([sent("last"), sent("m0")]).duplicates == 2
    taken_over = Log(killed, PARTITIONS, PLENTY)
    record = taken_over.find("last")
    assert record is not None
    assert (record.offset, taken_over.heads()[0]) == (6667, 6668)
    taken_over.close()


def version(file: Path) -> int:
    database = sqlite3.connect(file)
    (found,) = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return int(found)


@pytest.mark.parametrize(
    ("room", "format_"), [(1, 1), (9000, 1), (17_000, 1), (50_000, 4), (900_000, 4)]
)
def test_a_crash_while_it_is_brought_forward_undoes_all_of_that(
    tmp_path: Path, old: Log, room: int, format_: int
) -> None:
    """Or all but the schema: what there is of the index by then is gone on with."""
    with model.start("open_until_full", tmp_path, room) as child:
        child.communicate(timeout=60)
    assert child.returncode == -signal.SIGXFSZ
    (file,) = [*tmp_path.glob("log.db"), *tmp_path.glob("log/*.db")]
    assert version(file) == format_
    again = [sent(f"m{n}", at=NOON + 1) for n in range(20_000)]
    assert old.append(again).duplicates == 20_000


def test_of_events_with_one_id_the_first_is_kept_whoever_they_are_of(log: Log) -> None:
    users = {log.partition_of(user): user for user in map(str, range(100))}
    assert len(users) == PARTITIONS
    pairs = list(permutations(range(PARTITIONS), 2))
    events = [
        sent(f"m{n}", user=users[partition])
        for n, pair in enumerate(pairs)
        for partition in pair
    ]
    assert log.append(events).duplicates == len(pairs)
    kept = {
        record.message_id: partition
        for partition in range(PARTITIONS)
        for record in log.read(partition, 0, EVERYTHING, PLENTY)
    }
    assert kept == {f"m{n}": first for n, (first, _) in enumerate(pairs)}


def test_a_log_of_a_newer_router_is_refused_and_left_alone(log: Log) -> None:
    log.append([sent("m")])
    database = sqlite3.connect(log.directory / "00000001.db")
    database.execute("PRAGMA user_version = 5")
    log.close()
    with pytest.raises(
        StorageUnavailable, match=r"newer router \(format 5, known: 4\)"
    ):
        log.append([sent("n")])
    assert database.execute("SELECT count(*) FROM events").fetchone() == (1,)
    database.close()


def viewed(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Viewed", "anonymousId": f"u{number % 7}",
            "messageId": f"m-{number}", **more}  # fmt: skip


CONF_ARCHIVE = """
[router]
data_dir = "{data}"

[sources.web]
write_key = "key"

[sources.ios]
write_key = "other"

[destinations.archive]
plugin = "jsonl"
"""


def test_a_client_that_sends_again_to_any_worker_after_any_death_is_answered_200(
    router: Router,
) -> None:
    """Cases 40 and 41 of the contract, as a client that missed the answer acts."""
    router.configure(CONF_ARCHIVE)
    events = [viewed(n) for n in range(100)]
    answers: list[Any] = []
    options = ("--workers", "2", "--worker-class", "gthread", "--threads", "4")

    def send() -> None:
        while True:
            with suppress(requests.ConnectionError):
                answer = router.post("/v1/batch", {"batch": [*events, events[0]]})
                answers.append((answer.status_code, answer.json()))
                return

    def send_from_threads() -> None:
        threads = [threading.Thread(target=send) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with router.running(*options):
        send_from_threads()
        for pid in router.workers():
            os.kill(pid, signal.SIGKILL)
        send_from_threads()
        router.stop(signal.SIGKILL)
        router.start(*options)
        send_from_threads()
        assert router.post("/v1/track", events[3]).ok
        answer = router.post("/v1/batch", {"batch": [events[3], {}]}).json()
        assert (answer["accepted"], len(answer["rejected"])) == (1, 1)
        assert router.post("/v1/track", events[3], key="other").ok
        eventually(lambda: not router.row("ledger", "archive")["pending"])
        row = router.row("ledger", "archive")
    assert answers == [(200, {"success": True})] * 18
    assert (row["accepted"], row["delivered"], row["balanced"]) == (101, 101, True)
    found = {one["messageId"] for one in router.archived()}
    assert found == {one["messageId"] for one in events}


def test_the_window_is_that_of_conf_d(router: Router) -> None:
    short = CONF_ARCHIVE + '[ingest]\ndedupe_window = "1ms"\n'
    router.configure(short)
    with router.running():
        for _ in range(2):
            assert router.post("/v1/track", viewed(1)).ok
        eventually(lambda: len(router.archived()) == 2)


def test_2500_events_and_512_kib_are_one_transaction(router: Router) -> None:
    router.configure(CONF_ARCHIVE)
    events = [viewed(n, properties={"x": "x" * 100}) for n in range(2500)]
    body = json.dumps({"batch": events}).encode()
    assert 500_000 < len(body) < 524_288
    with router.running():
        before = commits(router.data / "log" / "00000001.db-wal")
        answer = requests.post(
            f"{router.url}/v1/batch",
            data=body.ljust(524_288), auth=("key", ""), timeout=30,
        )  # fmt: skip
        after = commits(router.data / "log" / "00000001.db-wal")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert len(after) == len(before) + 1
    assert after[: len(before)] == before


def commits(wal: Path) -> list[tuple[int, ...]]:
    """The transactions in a write-ahead log: the frames that end one.

    Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
    """
    content = wal.read_bytes()
    page_size = struct.unpack(">I", content[8:12])[0]
    salts = content[16:24]
    found = []
    for place in range(32, len(content), 24 + page_size):
        _, size = header = struct.unpack(">II", content[place : place + 8])
        if content[place + 8 : place + 16] == salts and size:
            found.append((place, *header))
    return found
