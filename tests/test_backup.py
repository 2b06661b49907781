"""A backup of a running log can be used; damage is named, and harms no other file."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import model
import pytest
from conftest import Router, eventually
from model import PARTITIONS, PLENTY, batch
from partners import Partner, Site, event
from test_retention import DAY, NOON, WEEK, accept, look

from router.backup import back_up
from router.errors import StorageUnavailable
from router.gate import Surroundings
from router.ledger import Ledger
from router.log import Log

CONF = """
[router]
data_dir = "{data}"
retention = "20s"

[sources.web]
write_key = "key"

[destinations.archive]
plugin = "jsonl"
"""


def viewed(number: int) -> dict[str, Any]:
    return {"type": "track", "event": "Viewed", "userId": f"u{number % 5}",
            "messageId": f"m{number}"}  # fmt: skip


def test_a_backup_of_a_running_router_holds_all_that_it_had_acknowledged(
    router: Router,
) -> None:
    router.configure(CONF)
    acknowledged: list[int] = []
    stopping = threading.Event()

    def send() -> None:
        while not stopping.is_set():
            if router.post("/v1/track", viewed(len(acknowledged))).ok:
                acknowledged.append(len(acknowledged))

    thread = threading.Thread(target=send)
    copy = router.directory / "copy"
    with router.running("--workers", "2"):
        thread.start()
        eventually(lambda: len(acknowledged) > 100)
        before = len(acknowledged)
        found = router.json("backup", str(copy))
        stopping.set()
        thread.join()
    assert found["bytes"] > 0
    assert "exists; a backup makes" in router.run("backup", str(copy), ok=False)
    router.data = copy
    router.configure(CONF.replace("20s", "1h"))
    with router.running():
        eventually(lambda: not router.row("ledger", "archive")["pending"])
        row = router.row("ledger", "archive")
        assert router.post("/v1/track", viewed(0)).ok
        after = router.row("ledger", "archive")
    assert row["balanced"]
    assert before <= row["delivered"] == row["accepted"] <= len(acknowledged)
    assert after["accepted"] == row["accepted"]  # it remembers the ids, too
    ids = {one["messageId"] for one in router.archived()}
    log = Log(copy, 8, PLENTY)
    assert all(log.find(f"m{number}") for number in range(before))
    log.close()
    assert ids <= {f"m{number}" for number in acknowledged}


def test_a_backup_between_two_segments_has_no_gap(tmp_path: Path) -> None:
    data = tmp_path / "data"
    child = model.start("append_small", data, "w", 0)
    assert child.stdout is not None
    with child:
        for round_ in range(5):
            for _ in range(20):
                last = int(child.stdout.readline())
            shared = Surroundings(Log(data, PARTITIONS, PLENTY), Ledger(data))
            back_up(shared, tmp_path / f"copy{round_}")
            shared.close()
            check_copy(tmp_path / f"copy{round_}", last)
        child.kill()


def check_copy(directory: Path, last: int) -> None:
    log = Log(directory, PARTITIONS, PLENTY)
    found = []
    for partition in range(PARTITIONS):
        records = log.read(partition, 0, PLENTY, PLENTY)
        assert [one.offset for one in records] == list(range(len(records)))
        found += [one.message_id for one in records]
    whole = {int(one.split(":")[1]) for one in found}
    assert len(whole) > last
    assert sorted(found) == sorted(e.message_id for n in whole for e in batch("w", n))
    log.close()


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
def site(tmp_path: Path, partner: Partner) -> Iterator[Site]:
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        yield made
        made.close()


def damage(file: Path) -> None:
    """Overwrites all but the first pages, as a bad disk or a bad hand would."""
    with file.open("r+b") as opened:
        opened.seek(8192)
        opened.write(os.urandom(file.stat().st_size - 8192))


def days(site: Site, number: int) -> list[list[str]]:
    """A segment for each of so many days."""
    found = [
        accept(site, "ada", range(10 * n, 10 * n + 10), NOON + n * DAY)
        for n in range(number)
    ]
    site.close()
    return found


def test_a_damaged_segment_is_named_and_all_others_are_delivered(
    site: Site, partner: Partner, caplog: pytest.LogCaptureFixture
) -> None:
    site.configure(partitions=1)
    first, _, third = days(site, 3)
    damaged = site.log.directory / "00000002.db"
    damage(damaged)
    with site.delivering():
        eventually(lambda: "waits for the disk: 00000002.db: " in caplog.text)
        eventually(lambda: partner.taken() == first)
        fourth = accept(site, "ada", range(30, 40), NOON + 2 * DAY + 60)
        # The lane tries again each second, and says so once.
        time.sleep(1.5)
        tries = Counter(one.getMessage() for one in caplog.records)
        assert not [one for one in tries if "waits for" in one and tries[one] > 1]
        shared = Surroundings(site.log, site.ledger)
        with pytest.raises(StorageUnavailable, match=r"^00000002\.db: "):
            back_up(shared, site.directory / "copy")
        assert not (site.directory / "copy").exists()
    site.close()
    damaged.rename(site.directory / "set-aside.db")
    with site.delivering():
        eventually(site.is_done)
    assert partner.taken() == first + third + fourth
    assert site.ledger.counts("shop")["expired", "missing"] == 10
    site.check_ledger()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("spare", [0, 4096])
def test_a_damaged_segment_goes_in_its_time_and_what_it_held_is_missing(
    site: Site,
    partner: Partner,
    caplog: pytest.LogCaptureFixture,
    number: int,
    spare: int,
) -> None:
    site.configure(partitions=1)
    days(site, 5)
    site.ledger.register("shop", {0: 0})
    file = site.log.directory / f"{number:08}.db"
    with file.open("r+b") as opened:
        opened.seek(spare)
        opened.write(os.urandom(file.stat().st_size - spare))
    look(site, NOON + WEEK + DAY // 2)
    # One that is damaged is as old as the next that can be read.
    assert site.log.starts() == {0: 0 if number == 2 else 10}
    assert f"{file.name}: " in caplog.text
    caplog.clear()
    look(site, NOON + WEEK + 3 * DAY + DAY // 2)
    assert site.log.starts() == {0: 40}
    assert not file.exists()
    counts = {("expired", "missing"): 10, ("expired", "expired"): 30}
    assert site.ledger.counts("shop") == counts
    with site.delivering():
        eventually(site.is_done)
    assert partner.taken() == [f"ada:{n}" for n in range(40, 50)]
    site.check_ledger()


def test_what_waits_for_a_damaged_segment_is_held_and_told_of(router: Router) -> None:
    router.configure(CONF.replace("20s", "1d"))
    with router.running():
        pass
    log = Log(router.data, 8, PLENTY, segment=1)
    for number in range(3):
        log.append([event("ada", number)])
    log.close()
    name = "00000002.db"
    (router.data / "log" / name).write_bytes(b"not a database, " * 1000)
    with router.running():
        row = eventually(lambda: (row := status(router))["delivered"] and row)
    assert row["state"] == "held"
    assert row["unreadable"] == [f"{name}: file is not a database"]
    said = f"waits for {name}: file is not a database; see Damage"
    assert said in router.run("status", ok=False)


def status(router: Router) -> dict[str, Any]:
    return router.row("status", "archive")


def test_a_damaged_newest_segment_is_named_and_not_replaced(
    site: Site, partner: Partner
) -> None:
    site.configure(partitions=1)
    first, _ = days(site, 2)
    damaged = site.log.directory / "00000002.db"
    content = b"not a database, " * 1000
    damaged.write_bytes(content)
    for action in (site.log.check_writable, site.log.heads):
        with pytest.raises(StorageUnavailable, match=r"^00000002\.db: "):
            action()
    assert damaged.read_bytes() == content
    site.close()
    damaged.rename(site.directory / "set-aside.db")
    with site.delivering():
        third = accept(site, "ada", range(20, 30), NOON + DAY)
        eventually(site.is_done)
    assert partner.taken() == first + third
    site.check_ledger()
