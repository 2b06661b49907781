"""A power cut at any moment costs nothing that was answered with 200.

A router is recorded at work, once. For each seed a cut at some moment of that leaves a
data directory of what was synced until then and some of what was not (disk.py), and a
router that starts with it is judged.

POWER_CUTS=100 pytest tests/power    # that many cuts
"""

import json
import os
import random
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path

import pytest
from conftest import Router, eventually

from power.disk import Disk, Journal, build
from power.recording import (
    PARTITIONS,
    WORKERS,
    Partners,
    Recording,
    begun,
    cut,
    made,
    make,
    record,
)
from router.codec import loads
from router.ledger import Ledger
from router.log import Log
from router.testing.serving import serve

CUTS = int(os.environ.get("POWER_CUTS", 4))
DESTINATIONS = ("archive", "held", "shop")

# What a router says that starts after a power cut; held was held when it came.
USUAL = ("[INFO]", "held: taken again, was held: misconfigured")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def recording(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("recorded"), library)


def is_shared(path: str) -> bool:
    """Whether it is of memory that processes share, which the recorder cannot see. What
    is in it after a cut does not matter."""
    return path.endswith(("-shm", ".sign")) or Path(path).parent.name == "claims"


def test_the_recorder_has_missed_nothing(recording: Recording) -> None:
    disk = Disk(recording.root)
    for one in recording.records:
        disk.replay(one)
    found = {
        str(path): path.read_bytes()
        for path in recording.root.rglob("*")
        if path.is_file() and not is_shared(str(path))
    }
    without_cut = disk.without_cut().items()
    expected = {path: had for path, had in without_cut if not is_shared(path)}
    assert sorted(found) == sorted(expected)
    differing = [path for path in found if found[path] != expected[path]]
    assert {path: (found[path], expected[path]) for path in differing} == {}


@pytest.mark.parametrize("seed", range(CUTS))
def test_after_a_power_cut_all_that_was_answered_is_there_and_goes_out_in_order(
    recording: Recording, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = cut(recording, seed, tmp_path / "disk")
    if seed % 2:
        # It may have got to the disk at any time what lanes have noted at their claims.
        for noted in recording.root.glob("data/claims/*"):
            shutil.copy(noted, tmp_path / "disk" / "data" / "claims")
    partners = Partners(is_well=True)
    with serve(partners) as url, restarted(tmp_path, url) as router:
        before = archived(router)
        router.start(*WORKERS)
        for ids in seen.unanswered.values():
            batch = [make(*split(one)) for one in ids]
            assert router.post("/v1/batch", {"batch": batch}).ok
            seen.answered += ids
        with opened(router.data) as (log, ledger):
            eventually(partial(is_at_rest, log, ledger, *DESTINATIONS), 60)
            logged = ids_of(log)
            for some in parts_of(logged, 500):
                batch = [make(*split(one)) for one in some]
                assert router.post("/v1/batch", {"batch": batch}).ok
            assert ids_of(log) == logged
            letters = {
                name: [one.message_id for one in ledger.dead_letters(name, limit=10**6)]
                for name in DESTINATIONS
            }
            log.copy(tmp_path / "copy")  # which checks each file
            ledger.copy(tmp_path / "copy")
        rows = {row["destination"]: row for row in router.json("ledger")}
        taken = partners.taken | {"archive": archived(router)[len(before) :]}
    taken_before = seen.taken | {"archive": before}
    said = router.log().splitlines()
    assert [line for line in said if not any(usual in line for usual in USUAL)] == []
    assert len(set(logged)) == len(logged)
    for name in DESTINATIONS:
        had = {*taken_before[name], *taken[name], *letters[name]}
        assert sorted(set(seen.answered) - had) == [], name
        expired = {"expired": len(letters[name])} if letters[name] else {}
        assert (rows[name]["expired"], rows[name]["pending"]) == (expired, 0), name
        # Each user's last events, in order, and nothing older again.
        for user, numbers in by_user(taken[name]).items():
            expected = by_user(logged)[user]
            assert numbers == expected[expected.index(numbers[0]) :], (name, user)
    again = {n: len(set(taken_before[n]) & set(taken[n])) for n in DESTINATIONS}
    counts = ", ".join(f"{n} {again[n]} of {len(taken_before[n])}" for n in again)
    gone = len(seen.answered) - len(logged)
    with capsys.disabled():
        # The standard output of pytest-xdist's processes goes nowhere.
        print(
            f"\ncut {seed}: {len(seen.answered)} answered, {gone} expired, "
            f"sent again: {counts}",
            file=sys.stderr,
        )


def test_events_are_removed_only_when_it_is_on_the_disk_what_became_of_them(
    recording: Recording, tmp_path: Path
) -> None:
    disk, dice, cuts = Disk(recording.root), random.Random(0), count()
    starts = set()
    for one in recording.records:
        disk.replay(one)
        if one.kind != "R" or not one.data.endswith(b".old"):
            continue
        for _ in range(3):
            target = tmp_path / str(next(cuts))
            disk.after_cut(dice, target)
            with opened(target / "data") as (log, ledger):
                start = log.starts()
                for name in DESTINATIONS:
                    at = places(ledger, name)
                    assert all(at[n] >= start[n] for n in start), (name, start, at)
                starts.add(sum(start.values()))
            shutil.rmtree(target)
    assert len(starts) > 2


CALM = """
[router]
data_dir = "{data}"
partitions = 1

[sources.web]
write_key = "key"

[destinations.archive]
plugin = "jsonl"
"""
# With lanes the ledger would be synced every second.
LATE = CALM.replace("[sources.web]", "deliver = false\n\n[sources.web]")
LATE += '[destinations.late]\nplugin = "jsonl"\n'


@contextmanager
def calm(directory: Path, library: Path) -> Iterator[tuple[Router, Journal]]:
    """A recorded router that has delivered."""
    journal, router = begun(directory), Router(directory)
    router.data = journal.root / "data"
    router.configure(CALM)
    with router.running(*WORKERS, **journal.environ(library)):
        batch = [make("u", number) for number in range(20)]
        assert router.post("/v1/batch", {"batch": batch}).ok
        with opened(router.data) as (log, ledger):
            eventually(partial(is_at_rest, log, ledger, "archive"))
        yield router, journal


def places_after_cuts(
    journal: Journal, directory: Path, name: str
) -> Iterator[dict[int, tuple[int, int]]]:
    """Where a destination would be if the power was cut now, in many ways."""
    disk = Disk(journal.root)
    for one in journal.records():
        disk.replay(one)
    for seed in range(10):
        disk.after_cut(random.Random(seed), directory / str(seed))
        ledger = Ledger(directory / str(seed) / "data")
        yield ledger.offsets(name)
        ledger.close()


def test_what_was_delivered_more_than_a_moment_ago_is_not_sent_again(
    tmp_path: Path, library: Path
) -> None:
    with calm(tmp_path, library) as (router, journal):
        wal = (router.data / "ledger.db-wal").stat().st_ino
        known = sum(1 for _ in journal.records())
        eventually(lambda: is_synced(journal, wal, known))
        for places in places_after_cuts(journal, tmp_path, "archive"):
            assert places == {0: (0, 20)}


def is_synced(journal: Journal, inode: int, since: int) -> bool:
    """Whether a sync of that file has begun and ended since that record."""
    found = islice(journal.records(), since, None)
    kinds = [one.kind for one in found if one.inode == inode]
    return "S" in kinds[kinds.index("B") :] if "B" in kinds else False


def test_a_new_destination_keeps_its_place(tmp_path: Path, library: Path) -> None:
    with calm(tmp_path, library) as (router, journal), opened(router.data) as (_, here):
        # As it is open here, the router's closing it will not sync it.
        assert here.destinations() == ["archive"]
        router.stop()
        router.configure(LATE)
        router.start(*WORKERS, **journal.environ(library))
        for places in places_after_cuts(journal, tmp_path, "late"):
            assert places == {0: (20, 20)}


@contextmanager
def restarted(directory: Path, url: str) -> Iterator[Router]:
    """A router to start on what is left; it keeps events for longer."""
    router = made(directory, url, "7d")
    try:
        yield router
    finally:
        router.stop()


@contextmanager
def opened(data: Path) -> Iterator[tuple[Log, Ledger]]:
    log, ledger = Log(data, PARTITIONS, 2**30), Ledger(data)
    yield log, ledger
    log.close()
    ledger.close()


def is_at_rest(log: Log, ledger: Ledger, *names: str) -> bool:
    end = sum(log.heads().values())
    return all(
        places(ledger, name) and sum(places(ledger, name).values()) == end
        for name in names
    )


def places(ledger: Ledger, name: str) -> dict[int, int]:
    return {n: offset for n, (_, offset) in ledger.offsets(name).items()}


def ids_of(log: Log) -> list[str]:
    found = []
    for partition, offset in log.starts().items():
        while records := log.read(partition, offset, 1000):
            found += [loads(one.body)["messageId"] for one in records]
            offset = records[-1].offset + 1
    return found


def parts_of(ids: list[str], size: int) -> list[list[str]]:
    return [ids[at : at + size] for at in range(0, len(ids), size)]


def archived(router: Router) -> list[str]:
    """The ids in its archive. A line that was not on the disk when the power was cut
    may have holes."""
    files = sorted((router.data / "archive").glob("*.jsonl"))
    lines = [line for file in files for line in file.read_bytes().split(b"\n")[:-1]]
    return [json.loads(line)["messageId"] for line in lines if b"\0" not in line]


def split(message_id: str) -> tuple[str, int]:
    user, _, number = message_id.partition(":")
    return user, int(number)


def by_user(ids: Iterable[str]) -> dict[str, list[int]]:
    users: dict[str, list[int]] = defaultdict(list)
    for user, number in map(split, ids):
        users[user].append(number)
    return users
