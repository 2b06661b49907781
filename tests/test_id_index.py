"""The index of message ids: it has what the log has, whatever becomes of its files."""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import eventually
from model import PARTITIONS, PLENTY, accepted

from router.id_files import BEGIN, HEADER, Header, IdFile
from router.log import Log

NOON = 1_700_000_000_000
ANOTHER_BOOT = b"another boot...."


def sent(numbers: range, at: int = NOON) -> list[Any]:
    return [replace(accepted(f"m{n}", size=10), received_at=at) for n in numbers]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path, PARTITIONS, PLENTY)
    yield made
    made.close()


def files(log: Log) -> list[Path]:
    return sorted(log.directory.glob("ids-*"))


def header(path: Path) -> Header:
    return Header(*HEADER.unpack(path.read_bytes()[: HEADER.size])[1:])


def write_header(path: Path, **changes: Any) -> None:
    with path.open("r+b") as file:
        file.write(replace(header(path), **changes).packed())


def forget(path: Path, of: int = 1) -> None:
    """Takes away every so-manieth entry."""
    content = bytearray(path.read_bytes())
    filled = [at for at in range(BEGIN, len(content), 16) if any(content[at : at + 16])]
    for at in filled[::of]:
        content[at : at + 16] = bytes(16)
    path.write_bytes(content)


def is_known(log: Log, numbers: range) -> bool:
    assert log.append(sent(numbers)).duplicates == len(numbers)
    return all(log.find(f"m{n}") for n in (numbers[0], numbers[-1]))


@pytest.mark.parametrize("many", [1, 2560, 2561, 60_000])
def test_a_small_file_goes_into_the_next(log: Log, many: int) -> None:
    for at in range(0, many, 1000):
        log.append(sent(range(at, min(many, at + 1000))))
    assert is_known(log, range(many))
    (path,) = files(log)
    assert header(path).bits == {1: 12, 2560: 12, 2561: 16, 60_000: 20}[many]
    assert header(path).count == many


def test_ids_are_in_files_beside_each_other_once_those_are_as_large_as_they_may_be(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path, PARTITIONS, 4_000_000)
    log.append(sent(range(5000)))
    log.append(sent(range(5000, 10_000)))
    assert [header(path).bits for path in files(log)] == [12] * 4
    assert is_known(log, range(10_000))
    log.close()


def test_files_go_with_the_segments_of_their_ids(tmp_path: Path) -> None:
    log = Log(tmp_path, PARTITIONS, 4_000_000, segment=300_000)
    for at in range(0, 10_000, 1000):
        log.append(sent(range(at, at + 1000)))
    before = log.bytes_on_disk()
    everything = len(files(log))
    assert everything > 2
    log.drop(log.heads())
    assert 1 <= len(files(log)) < everything
    assert log.bytes_on_disk() < before / 2
    assert log.find("m0") is None
    assert log.find("m9999") is not None
    # What is left leads to segments that are gone.
    assert log.append(sent(range(1000))).duplicates == 0
    log.close()


def test_its_bytes_count(log: Log) -> None:
    log.append(sent(range(2000)))
    segments = sum(file.stat().st_size for file in log.directory.glob("*.db*"))
    shared = (log.directory / "00000001.db-shm").stat().st_size
    assert log.bytes_on_disk() == segments - shared + BEGIN + (16 << 12)


@pytest.mark.parametrize("others", [0, 1])
def test_it_is_made_anew_where_it_is_gone(
    tmp_path: Path, log: Log, others: int
) -> None:
    logs = [log, *(Log(tmp_path, PARTITIONS, PLENTY) for _ in range(others))]
    for number, one in enumerate(logs):
        one.append(sent(range(2000 * number, 2000 * number + 2000)))
    for path in files(log):
        path.unlink()
    for one in logs:
        assert is_known(one, range(2000 * len(logs)))
    for one in logs[1:]:
        one.close()


def test_find_makes_it_too(log: Log) -> None:
    log.append(sent(range(10)))
    files(log)[0].unlink()
    assert log.find("m7") is not None
    assert log.find("n") is None


def spoil_magic(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"something else")


def cut_off(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(30_000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def salt(path: Path) -> None:
    """It is of another log, then, as the others are not."""
    write_header(path, salt=b"some other salt.")


@pytest.mark.parametrize("damage", [spoil_magic, cut_off, empty, salt])
def test_it_is_made_anew_where_it_is_damaged(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(tmp_path, PARTITIONS, 4_000_000)
    log.append(sent(range(7000)))
    damage(files(log)[1])
    with caplog.at_level(logging.WARNING):
        assert is_known(log, range(7000))
    assert [one.getMessage() for one in caplog.records if "made anew" in one.msg]
    log.close()


def test_what_a_power_cut_took_is_added_again(log: Log) -> None:
    log.append(sent(range(2000)))
    (path,) = files(log)
    forget(path, of=2)
    write_header(path, boot=ANOTHER_BOOT)
    assert is_known(log, range(2000))
    assert header(files(log)[-1]).boot != ANOTHER_BOOT


def test_what_was_synced_is_not_added_again(log: Log) -> None:
    log.append(sent(range(1000)))
    (path,) = files(log)
    write_header(path, synced=header(path).last, boot=ANOTHER_BOOT)
    log.append(sent(range(1000, 2000)))
    forget(path)
    write_header(path, boot=ANOTHER_BOOT)
    # As these were on the disk, nobody looks whether they are there.
    assert log.append(sent(range(1000))).duplicates == 0
    assert is_known(log, range(1000, 2000))


def test_what_was_sent_is_not_known_from_a_segment_that_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(tmp_path, PARTITIONS, PLENTY, segment=1)
    log.append(sent(range(10)))
    log.append(sent(range(10, 20)))
    log.close()
    path = log.directory / "00000001.db"
    database = sqlite3.connect(path)
    query = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = 'events'"
    (page,) = database.execute(query).fetchone()
    database.close()
    with path.open("r+b") as file:
        file.seek(4096 * page)
        file.write(b"x" * 4096)
    assert log.append(sent(range(20, 30))).duplicates == 0
    assert caplog.text == ""
    assert log.append(sent(range(20))).duplicates == 10
    assert caplog.text.count("not known from 00000001.db: ") == 1
    assert log.append(sent(range(20))).duplicates == 20
    # Nor does it keep the index from being made anew.
    files(log)[0].unlink()
    assert log.append(sent(range(20))).duplicates == 20
    log.close()


def test_it_is_synced_now_and_then(log: Log) -> None:
    log.append(sent(range(1000)))
    (path,) = files(log)
    write_header(path, count=1 << 18)
    end = header(path).last
    log.append([])
    eventually(lambda: header(files(log)[0]).synced == end)


def test_an_index_that_is_ahead_of_its_log_is_of_use(tmp_path: Path, log: Log) -> None:
    """As one is that stayed where a backup of the log was put back."""
    log.append(sent(range(100)))
    log.copy(tmp_path / "backup")
    log.append(sent(range(100, 200)))
    log.close()
    for file in log.directory.glob("*.db*"):
        file.unlink()
    shutil.copy(tmp_path / "backup" / "log" / "00000001.db", log.directory)
    restored = Log(tmp_path, PARTITIONS, PLENTY)
    assert is_known(restored, range(100))
    assert restored.append(sent(range(150, 250))).duplicates == 0
    assert is_known(restored, range(150, 250))
    (path,) = files(restored)
    assert header(path).last & (1 << 40) - 1 == 200
    restored.close()


def test_an_index_that_is_behind_its_log_catches_up(log: Log) -> None:
    log.append(sent(range(100)))
    (path,) = files(log)
    kept = path.read_bytes()
    log.append(sent(range(100, 200)))
    path.write_bytes(kept)
    assert is_known(log, range(200))


def test_an_id_that_comes_again_and_again_has_one_entry(tmp_path: Path) -> None:
    log = Log(tmp_path, PARTITIONS, PLENTY, dedupe_window=0.001)
    for number in range(50):
        assert log.append(sent(range(1), at=NOON + number)).duplicates == 0
    (path,) = files(log)
    content = path.read_bytes()[BEGIN:]
    entries = [content[at : at + 16] for at in range(0, len(content), 16)]
    assert len([one for one in entries if any(one)]) == 1
    record = log.find("m0")
    assert record is not None
    assert record.received_at == NOON + 49
    log.close()


def test_buckets_overflow_into_the_next_and_from_the_last_into_the_first(
    log: Log,
) -> None:
    log.append([])
    (path,) = files(log)
    file = IdFile(path)
    hashes = [b"\xff" * 7 + bytes([n]) for n in range(100)]
    entries = [one + (n + 1).to_bytes(8, "little") for n, one in enumerate(hashes)]
    file.add(entries, {})
    assert file.places(hashes) == {one: [n + 1] for n, one in enumerate(hashes)}
    assert path.read_bytes()[BEGIN:].count(b"\xff" * 7) == 100
    file.add(entries, {})
    assert path.read_bytes()[BEGIN:].count(b"\xff" * 7) == 100
    file.close()


FORMAT_3 = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    source TEXT NOT NULL, message_id TEXT NOT NULL, received_at INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX events_by_offset ON events (partition, offset);
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE ids (
    hash INTEGER, position INTEGER, PRIMARY KEY (hash, position)
) WITHOUT ROWID;
CREATE TABLE starts (partition INTEGER PRIMARY KEY, offset INTEGER NOT NULL);
INSERT INTO facts VALUES ('newest', 1700000000000);
PRAGMA journal_mode = WAL;
PRAGMA user_version = 3;
"""


def test_segments_that_have_their_ids_in_a_table_are_brought_forward(log: Log) -> None:
    log.directory.mkdir()
    rows = [(n + 1, 0, n, "web", f"m{n}", NOON, b"") for n in range(1000)]
    for number in (1, 2):
        database = sqlite3.connect(log.directory / f"{number:08}.db")
        database.executescript(FORMAT_3)
        with database:
            half = rows[:500] if number == 1 else rows[500:]
            database.executemany("INSERT INTO events VALUES (?,?,?,?,?,?,?)", half)
        database.close()
    assert is_known(log, range(1000))
    assert log.append(sent(range(1000, 1100))).duplicates == 0
