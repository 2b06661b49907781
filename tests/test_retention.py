"""Retention: what is old goes, and whoever had not had it is told of every event."""

import gc
import os
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import model
import pytest
from conftest import Router, eventually
from model import PARTITIONS, PLENTY, accepted
from partners import MISCONFIGURED, TAKEN, Partner, Site, event

from router.claims import claim, take
from router.errors import StorageUnavailable
from router.gate import Surroundings
from router.ledger import Ledger
from router.log import Log
from router.progress import Progress
from router.retention import Retention
from router.wakeup import ring

NOON = 1_700_000_000
DAY = 86400
WEEK = 7 * DAY


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
def site(tmp_path: Path, partner: Partner) -> Iterator[Site]:
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        yield made
        made.close()


def accept(site: Site, user: str, numbers: range, at: int) -> list[str]:
    """Appends a user's events that were received at an instant in seconds."""
    events = [replace(event(user, number), received_at=at * 1000) for number in numbers]
    ring(site.data, site.log.append(events).grown)
    return [one.message_id for one in events]


def look(site: Site, now: float) -> None:
    shared = Surroundings(site.log, site.ledger, clock=lambda: now)
    Retention(shared, site.data, WEEK).look()


def register(site: Site, *names: str) -> None:
    for name in names:
        site.ledger.register(name, site.log.starts())


def test_what_a_disabled_destination_waited_for_too_long_becomes_dead_letters(
    site: Site, partner: Partner
) -> None:
    site.configure("shop", "mail")
    site.log.settle_partitions()
    register(site, "shop")
    old = accept(site, "ada", range(30), NOON) + accept(site, "eve", range(7), NOON)
    register(site, "mail")
    new = accept(site, "ada", range(30, 40), NOON + DAY)
    before = site.log.bytes_on_disk()
    look(site, NOON + WEEK)
    assert sum(site.log.starts().values()) == 0
    look(site, NOON + WEEK + 2)
    assert sum(site.log.starts().values()) == 37
    assert site.log.bytes_on_disk() < before
    letters = site.ledger.dead_letters("shop", limit=100)
    assert {(one.code, one.attempts) for one in letters} == {("expired", 0)}
    assert sorted(one.message_id for one in letters) == sorted(old)
    assert site.ledger.counts("shop") == {("expired", "expired"): 37}
    with site.delivering():
        eventually(lambda: site.is_done("shop") and site.is_done("mail"))
    assert partner.taken("shop") == partner.taken("mail") == new
    for name in ("shop", "mail"):
        site.check_ledger(name)


def test_what_is_old_goes_though_no_event_follows(site: Site) -> None:
    site.configure()
    accept(site, "ada", range(30), NOON)
    look(site, NOON + WEEK + 2)
    assert site.log.starts() == site.log.heads()
    assert sum(site.log.heads().values()) == 30
    assert len(list(site.log.directory.glob("*.db"))) == 1
    accept(site, "ada", range(30, 31), NOON + WEEK + 3)
    look(site, NOON + WEEK + 4)
    assert sum(site.log.starts().values()) == 30


def test_a_lane_that_waited_too_long_goes_on_with_what_is_left_and_sends_nothing_old(
    site: Site, partner: Partner
) -> None:
    site.configure(partitions=1, batch_events=5, timeout="1s")
    partner.script = lambda request: MISCONFIGURED
    accept(site, "ada", range(30), NOON)
    new = accept(site, "ada", range(30, 40), NOON + DAY)
    with site.delivering():
        eventually(site.hold)
        look(site, NOON + WEEK + 2)
        partner.script = lambda request: TAKEN
        site.ledger.probe_now("shop", ("misconfigured",))
        eventually(site.is_done)
    assert partner.taken() == new
    assert site.ledger.counts("shop")["expired", "expired"] == 30
    site.check_ledger()


def test_one_process_at_a_time_does_it(site: Site) -> None:
    site.configure()
    accept(site, "ada", range(30), NOON)
    other = take(site.data, "retention")
    assert other is not None
    look(site, NOON + WEEK + 2)
    assert sum(site.log.starts().values()) == 0
    other.release()
    look(site, NOON + WEEK + 2)
    assert sum(site.log.starts().values()) == 30


def test_router_deliver_sees_to_it_too(site: Site) -> None:
    site.configure()
    conf = site.conf / "all.toml"
    conf.write_text(conf.read_text().replace("[router]", '[router]\nretention = "2s"'))
    accept(site, "ada", range(30), NOON)
    with site.process():
        eventually(lambda: site.log.starts() == site.log.heads() != {}, 30)
    assert site.passed() == 30
    assert sum(site.log.heads().values()) == 30


def test_a_crash_at_any_moment_of_it_leaves_every_event_accounted_for(
    tmp_path: Path,
) -> None:
    data, moments = tmp_path / "data", 160
    log, ledger = Log(data, PARTITIONS, PLENTY, segment=1), Ledger(data)
    log.settle_partitions()
    for name in ("shop", "mail"):
        ledger.register(name, dict.fromkeys(range(PARTITIONS), 0))
    for number in range(3):
        log.append(model.batch("w", 4 + 5 * number))
    log.close()
    ledger.close()
    with model.start("expire", tmp_path, moments) as child:
        child.communicate(timeout=100)
    left = [check_expired(tmp_path / f"at{moment}") for moment in range(moments + 1)]
    # The first has done nothing and the last all; between them it went step by step.
    assert (left[0], left[-1]) == (30, 0)
    assert len(set(left)) > 5


def check_expired(data: Path) -> int:
    """That all adds up at once and after another look; how much was left to do."""
    log, ledger = Log(data, PARTITIONS, PLENTY), Ledger(data)
    starts, left = log.starts(), 0
    for name in ("shop", "mail"):
        offsets, counts = ledger.balance(name)
        assert all(offsets[n][1] >= starts[n] for n in range(PARTITIONS))
        passed = sum(offset for _, offset in offsets.values())
        assert counts["expired", "expired"] == passed == counts.total()
        left += 15 - passed
    Retention(Surroundings(log, ledger), data, 0.0).look()
    assert log.starts() == log.heads()
    for name in ("shop", "mail"):
        letters = ledger.dead_letters(name)
        assert len({(one.partition, one.offset) for one in letters}) == 15
        assert len(letters) == ledger.counts(name).total() == 15
    log.close()
    ledger.close()
    return left


def test_what_a_dead_process_had_delivered_has_not_expired(tmp_path: Path) -> None:
    log, ledger = Log(tmp_path, PARTITIONS, PLENTY, segment=1), Ledger(tmp_path)
    log.settle_partitions()
    ledger.register("shop", dict.fromkeys(range(PARTITIONS), 0))
    for number in range(3):
        log.append(model.batch("w", 4 + 5 * number))
    used = next(number for number, head in log.heads().items() if head)
    held = claim(tmp_path, "shop", used)
    assert held
    progress = Progress(ledger, "shop", used, held, lambda: 0.0)
    progress.resume()
    progress.passed(1, {("delivered", "delivered"): 1})
    assert ledger.committed("shop", used) == 0
    held.release()
    Retention(Surroundings(log, ledger), tmp_path, 0.0).look()
    assert ledger.counts("shop") == {
        ("delivered", "delivered"): 1,
        ("expired", "expired"): 14,
    }
    log.close()
    ledger.close()


def test_a_large_backlog_expires_in_little_memory(site: Site) -> None:
    site.configure()
    for _ in range(10):
        site.log.append(
            [accepted(f"m{n}:{_}", f"u{n}", size=1000) for n in range(2000)]
        )
    register(site, "shop")
    gc.collect()
    tracemalloc.start()
    look(site, NOON + WEEK + 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert site.ledger.counts("shop").total() == 20_000
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("size", "count", "max_disk"), [(20_000, 100, 1 << 23), (300, 1000, 1 << 22)]
)
def test_dead_letters_that_have_reached_max_disk_get_no_more_until_some_are_dropped(
    site: Site, size: int, count: int, max_disk: int
) -> None:
    site.configure()
    site.close()
    site.log = Log(site.data, 4, max_disk=max_disk)
    register(site, "shop")

    def fill() -> None:
        for day in range(40):
            events = [accepted(f"{day}:{n}", size=size) for n in range(count)]
            at = (NOON + day * DAY) * 1000
            site.log.append([replace(one, received_at=at) for one in events])
            look(site, NOON + WEEK + day * DAY + 2)

    with pytest.raises(StorageUnavailable, match="dead letters have reached max_disk"):
        fill()
    assert site.log.starts() != site.log.heads()
    assert site.ledger.counts("shop").total() == sum(site.log.starts().values())
    ids = [letter_id for letter_id, _ in site.ledger.letters.dead("shop")]
    # Now: so they are kept for another week, without what was in them.
    site.ledger.letters.drop(ids, (NOON + 10 * WEEK) * 1000, "no use")
    look(site, NOON + 10 * WEEK)
    assert site.log.starts() == site.log.heads()


def test_events_whose_file_is_gone_are_counted_as_missing(
    site: Site, partner: Partner
) -> None:
    site.configure(partitions=1)
    days = [
        accept(site, "ada", range(5 * n, 5 * n + 5), NOON + n * DAY) for n in (0, 1, 2)
    ]
    site.close()
    (site.log.directory / "00000002.db").unlink()
    with site.delivering():
        eventually(site.is_done)
    assert partner.taken() == days[0] + days[2]
    assert site.ledger.counts("shop")["expired", "missing"] == 5
    site.check_ledger()


def test_no_offset_is_used_again_when_the_newest_events_are_gone(
    site: Site, partner: Partner, caplog: pytest.LogCaptureFixture
) -> None:
    site.configure("shop", "mail", partitions=1)
    old = accept(site, "ada", range(5), NOON)
    register(site, "mail")
    accept(site, "ada", range(5, 10), NOON + DAY)
    site.ledger.register("shop", {0: 0})
    site.ledger.commit("shop", 0, (0, 8), {("delivered", "delivered"): 8})
    site.close()
    (site.log.directory / "00000002.db").unlink()
    with site.delivering():
        eventually(lambda: "its newest events are lost" in caplog.text)
        eventually(lambda: site.log.heads() == {0: 8})
        new = accept(site, "ada", range(10, 15), NOON + DAY)
        eventually(lambda: site.is_done("shop") and site.is_done("mail"))
    assert site.log.heads() == {0: 13}
    assert partner.taken("shop") == new
    assert partner.taken("mail") == old + new
    assert site.ledger.counts("mail")["expired", "missing"] == 3
    for name in ("shop", "mail"):
        site.check_ledger(name)


CONF = """
[router]
data_dir = "{data}"
retention = "8s"
max_disk = "1MB"

[sources.web]
write_key = "key"

[destinations.off]
plugin = "jsonl"
enabled = false
"""

ARCHIVE = """
[destinations.archive]
plugin = "jsonl"
"""


def removed_but_open(router: Router) -> list[str]:
    found = []
    for pid in router.workers():
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(file))
    return [one for one in found if "/log/" in one and one.endswith(" (deleted)")]


def viewed(number: int, size: int = 4000) -> dict[str, Any]:
    return {"type": "track", "event": "Viewed", "userId": f"u{number % 5}",
            "messageId": f"m{number}", "properties": {"x": "x" * size}}  # fmt: skip


def fill(router: Router) -> int:
    """Sends events until they are refused; how many were taken."""
    for number in range(500):
        if not (answer := router.post("/v1/track", viewed(number))).ok:
            break
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    return number


def test_a_log_that_is_full_takes_events_again_when_old_ones_have_gone(
    router: Router,
) -> None:
    router.configure(CONF.partition("[destinations.off]")[0] + ARCHIVE)
    with router.running("--workers", "2"):
        number = fill(router)
        said = router.run("status", ok=False)
        assert re.search("clients get 503: log .* reached max_disk|the log has", said)
        eventually(lambda: router.post("/v1/track", viewed(number)).ok, 30, every=0.2)
        eventually(lambda: router.row("ledger", "archive")["pending"] == 0)
        archive = router.row("ledger", "archive")
        # What a process has open keeps its space on the disk.
        eventually(lambda: not removed_but_open(router))
    assert archive["delivered"] == archive["accepted"] == number + 1


def test_what_a_disabled_destination_had_not_had_takes_room_until_it_is_dropped(
    router: Router,
) -> None:
    # Up to 4 MB of the ledger are in its write-ahead log, which does not count. First
    # it is the log that is full, if it is filled within `retention`.
    conf = CONF.replace('"1MB"', '"16MB"')
    router.configure(conf.replace("enabled = false", ""))
    with router.running():
        pass
    router.configure(conf)
    with router.running("--workers", "2"):
        number = 0

        def post() -> bool:
            nonlocal number
            events = [viewed(n, 30_000) for n in range(number, number + 15)]
            answer = router.post("/v1/batch", {"batch": events})
            number += 15 * answer.ok
            return answer.ok

        eventually(lambda: not post() and "dead letters (" in router.log(), 60)
        router.run("dead-letters", "drop", "-d", "off", "--note", "not wanted")
        eventually(post, 30, every=0.2)
        off = router.row("ledger", "off")
    assert off["balanced"]
    assert off["accepted"] == number
    assert off["dead"]["dropped"] > 0
