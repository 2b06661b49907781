"""The plugin jsonl: whole lines on disk, or none."""

import fcntl
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Router, eventually

from plugins import jsonl
from router import Retry

MARCH = datetime(2024, 3, 4, 23, 59, 59, tzinfo=UTC)
EVENTS = [{"type": "track", "event": f"Café {n}", "messageId": n} for n in range(3)]

NEXT_DAY = datetime(2024, 3, 5, 0, 0, 1, tzinfo=UTC)

ROOT = Path(__file__).parent.parent

# Archives as much as the limit leaves room for, then the same again without a limit.
ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from plugins import jsonl
from router import Retry

file, limit, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
lines = b"".join(b'{"n":%d,"pad":"%s"}\\n' % (n, b"x" * 200) for n in range(count))
jsonl.append(file, b'{"before":true}\\n')
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    jsonl.append(file, lines)
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
print(file.read_bytes().decode(), end="")
jsonl.append(file, lines)
"""

# Archives in batches of three and says so, until it is killed.
WRITER = """
import itertools, sys
from datetime import UTC, datetime
from pathlib import Path
from plugins import jsonl

directory, writer, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
settings = jsonl.settings()(directory=directory, max_file=4000, compress=True)
for n in itertools.count(first, 3):
    batch = [{"writer": writer, "n": n + i, "pad": "x" * 500} for i in range(3)]
    now = datetime(2024, 3, 4, tzinfo=UTC)
    jsonl.archive(batch, settings, now)
    print(n + 3, flush=True)
"""

# Tries to compress yesterday's file when files cannot grow beyond 10 kB.
NO_ROOM = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from plugins import jsonl
from router import Retry

settings = jsonl.settings()(directory=Path(sys.argv[1]), compress=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
try:
    now = datetime(2024, 3, 5, tzinfo=UTC)
    jsonl.archive([{}], settings, now)
except Retry as outcome:
    print(outcome.reason)
"""

# Archives an event in the zone that it is started in.
WRITE_NOW = """
import sys
from pathlib import Path
from plugins import jsonl

settings = jsonl.settings()(directory=Path(sys.argv[1]))
jsonl.deliver(payloads=[{}], settings=settings)
"""


def archive(directory, clock=lambda: MARCH, **keys):
    settings = jsonl.settings()(directory=directory, **keys)
    settings = settings.placed("archive", directory)

    def deliver(*payloads):
        jsonl.archive(payloads, settings, clock())

    return deliver


def lines(file):
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def everything(directory):
    """Each line of the archive, as docs/jsonl.md says that it is read."""
    found = []
    for file in sorted(directory.glob("*.jsonl*")):
        if file.suffix == ".gz":
            found += map(json.loads, gzip.decompress(file.read_bytes()).splitlines())
        elif not file.with_name(f"{file.name}.gz").exists():
            found += lines(file)
    return found


def names(directory):
    return sorted(file.name for file in directory.iterdir())


def test_each_event_is_a_line_in_the_file_of_the_day(tmp_path):
    deliver = archive(tmp_path / "deep" / "archive")
    deliver(EVENTS[0])
    deliver(*EVENTS[1:])
    (file,) = (tmp_path / "deep" / "archive").iterdir()
    assert file.name == "2024-03-04.jsonl"
    assert lines(file) == EVENTS
    assert "Café" in file.read_text(encoding="utf-8")


def test_a_new_day_begins_a_new_file(tmp_path):
    days = iter([MARCH, datetime(2024, 3, 5, tzinfo=UTC)])
    deliver = archive(tmp_path, clock=lambda: next(days))
    deliver(EVENTS[0])
    deliver(EVENTS[1])
    assert lines(tmp_path / "2024-03-04.jsonl") == [EVENTS[0]]
    assert lines(tmp_path / "2024-03-05.jsonl") == [EVENTS[1]]


# At any hour it is another day than in UTC in one of these.
@pytest.mark.parametrize("zone", ["UTC-14", "UTC+12"])
def test_days_are_counted_in_utc(tmp_path, zone):
    command = [sys.executable, "-c", WRITE_NOW, str(tmp_path)]
    before = datetime.now(UTC)
    subprocess.run(
        command, cwd=ROOT, env=os.environ | {"TZ": zone}, check=True, timeout=30
    )
    days = {f"{day:%Y-%m-%d}.jsonl" for day in (before, datetime.now(UTC))}
    assert set(names(tmp_path)) <= days


def test_without_a_directory_the_files_are_in_data_dir_under_the_name(tmp_path):
    settings = jsonl.settings()().placed("attic", tmp_path)
    jsonl.archive([EVENTS[0]], settings, MARCH)
    assert lines(tmp_path / "attic" / "2024-03-04.jsonl") == [EVENTS[0]]


def test_every_call_is_archived_as_it_is():
    for hook in ("identify", "track", "page", "screen", "group", "alias"):
        event = {"type": hook}
        assert getattr(jsonl, hook)(event=event) is event


def test_a_directory_that_cannot_be_made_is_to_be_tried_again(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Retry, match=r"^cannot write: Not a directory$") as raised:
        archive(tmp_path / "file" / "archive")(EVENTS[0])
    assert str(tmp_path) not in str(raised.value)


def test_a_full_device_is_to_be_tried_again(tmp_path):
    (tmp_path / "2024-03-04.jsonl").symlink_to("/dev/full")
    with pytest.raises(Retry, match="cannot write"):
        archive(tmp_path)(EVENTS[0])


@pytest.mark.parametrize("count", [10, 200])
def test_lines_that_do_not_all_fit_leave_nothing_behind(tmp_path, count):
    file = tmp_path / "full.jsonl"
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(file), "1500", str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout == 'File too large\n{"before":true}\n'
    assert [line.get("n") for line in lines(file)] == [None, *range(count)]


def test_threads_that_write_at_once_leave_only_whole_lines(tmp_path):
    deliver = archive(tmp_path)
    pad = "x" * 5000

    def write(writer):
        for n in range(20):
            deliver(*({"writer": writer, "n": n, "pad": pad} for _ in range(3)))

    threads = [threading.Thread(target=write, args=(w,)) for w in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = lines(tmp_path / "2024-03-04.jsonl")
    assert len(written) == 4 * 20 * 3
    for writer in range(4):
        numbers = [line["n"] for line in written if line["writer"] == writer]
        assert numbers == sorted(numbers)


def test_files_do_not_stay_open(tmp_path):
    deliver = archive(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        deliver(EVENTS[0])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("torn", [b'{"n":', b"x" * 200_000, b"{}"])
@pytest.mark.parametrize("before", [b"", b'{"n":-1}\n'])
def test_what_a_killed_writer_left_does_not_spoil_the_next_line(tmp_path, before, torn):
    file = tmp_path / "2024-03-04.jsonl"
    file.write_bytes(before + torn)
    archive(tmp_path)(*EVENTS)
    assert file.read_bytes().startswith(before)
    assert lines(file)[-3:] == EVENTS
    assert len(lines(file)) == before.count(b"\n") + 3


def test_a_file_that_reaches_max_file_is_closed_and_names_sort_by_age(tmp_path):
    deliver = archive(tmp_path, max_file="200B")
    for n in range(51):
        deliver({"n": n, "pad": "x" * 90})
    *closed, current = sorted(tmp_path.iterdir())
    assert [file.stat().st_size for file in closed] == [214] * 5 + [216] * 20
    assert current.name == "2024-03-04.jsonl"
    assert [line["n"] for line in everything(tmp_path)] == list(range(51))


def test_a_closed_file_is_named_by_its_last_second_or_the_next_free_one(tmp_path):
    file = tmp_path / "2024-03-04.jsonl"
    free = []
    for taken in ([], ["7.jsonl"], ["7.jsonl.gz", "8.part", "9.jsonl"]):
        for one in taken:
            (tmp_path / f"2024-03-04.{one}").touch()
        file.touch()
        os.utime(file, (7.9, 7.9))
        free.append(jsonl.numbered(file).name)
    assert free == [f"2024-03-04.{n}.jsonl" for n in (7, 8, 10)]


def test_a_day_that_is_over_is_compressed_with_the_next_batch(tmp_path):
    archive(tmp_path, compress=True)(*EVENTS[:2])
    assert names(tmp_path) == ["2024-03-04.jsonl"]
    os.utime(tmp_path / "2024-03-04.jsonl", (1709596799, 1709596799))
    archive(tmp_path, lambda: NEXT_DAY, compress=True)(EVENTS[2])
    assert names(tmp_path) == ["2024-03-04.1709596799.jsonl.gz", "2024-03-05.jsonl"]
    assert everything(tmp_path) == EVENTS


def test_without_compress_a_day_that_is_over_stays_as_it_is(tmp_path):
    archive(tmp_path)(EVENTS[0])
    archive(tmp_path, lambda: NEXT_DAY)(EVENTS[1])
    assert names(tmp_path) == ["2024-03-04.jsonl", "2024-03-05.jsonl"]


def test_what_comes_late_for_a_day_is_not_lost(tmp_path):
    days = iter([MARCH, NEXT_DAY, MARCH, NEXT_DAY])
    deliver = archive(tmp_path, lambda: next(days), compress=True)
    for event in [*EVENTS, EVENTS[0]]:
        deliver(event)
    *closed, current = names(tmp_path)
    assert current == "2024-03-05.jsonl"
    assert [name[:11] + name[-9:] for name in closed] == [
        "2024-03-04..jsonl.gz"
    ] * 2 + ["2024-03-05..jsonl.gz"]
    assert sorted(one["messageId"] for one in everything(tmp_path)) == [0, 0, 1, 2]


def test_half_a_line_is_not_compressed(tmp_path):
    (tmp_path / "2024-03-03.jsonl").write_bytes(b'{"messageId":9}\n{"n":')
    archive(tmp_path, compress=True)(EVENTS[0])
    assert [one["messageId"] for one in everything(tmp_path)] == [9, 0]


def test_one_closed_file_is_compressed_a_batch_the_oldest_first(tmp_path):
    for day in (1, 2, 3):
        (tmp_path / f"2024-03-0{day}.7.jsonl").write_bytes(b"{}\n")
    deliver = archive(tmp_path, compress=True)
    for left in (2, 1, 0):
        deliver(EVENTS[0])
        done = [name for name in names(tmp_path) if name.endswith(".gz")]
        assert done == [f"2024-03-0{day + 1}.7.jsonl.gz" for day in range(3 - left)]
        assert len(names(tmp_path)) == 4


def test_files_of_somebody_else_are_left_alone(tmp_path):
    strange = [
        "2024-03-03.export.jsonl", "2024-report.jsonl", "20240303.jsonl",
        "2024-03-03.jsonl.jsonl", "2024-03-03.json", "export.jsonl",
    ]  # fmt: skip
    for name in strange:
        (tmp_path / name).write_text("{}")
    (tmp_path / "2024-03-03.jsonl").write_text("{}\n")
    deliver = archive(tmp_path, compress=True)
    for _ in range(3):
        deliver(EVENTS[0])
    made = set(names(tmp_path)) - set(strange)
    assert len(made) == 2
    assert all((tmp_path / name).read_text() == "{}" for name in strange)


def test_what_a_killed_compressor_left_is_done_again(tmp_path):
    (tmp_path / "export.jsonl").touch()
    (tmp_path / "2024-03-03.7.jsonl").write_bytes(b'{"messageId":7}\n')
    (tmp_path / "2024-03-03.7.part").write_bytes(b"half" * 1000)
    (tmp_path / "2024-03-03.8.jsonl").write_bytes(b'{"messageId":8}\n')
    (tmp_path / "2024-03-03.8.jsonl.gz").write_bytes(
        gzip.compress(b'{"messageId":8}\n')
    )
    assert [one["messageId"] for one in everything(tmp_path)] == [7, 8]
    deliver = archive(tmp_path, compress=True)
    deliver(EVENTS[0])
    deliver(EVENTS[1])
    assert names(tmp_path) == [
        "2024-03-03.7.jsonl.gz", "2024-03-03.8.jsonl.gz", "2024-03-04.jsonl",
        "export.jsonl",
    ]  # fmt: skip
    assert [one["messageId"] for one in everything(tmp_path)] == [7, 8, 0, 1]


def test_a_file_that_another_lane_compresses_holds_up_no_batch(tmp_path):
    file = tmp_path / "2024-03-03.7.jsonl"
    file.write_bytes(b"{}\n")
    deliver = archive(tmp_path, compress=True)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        deliver(EVENTS[0])
        assert names(tmp_path) == [file.name, "2024-03-04.jsonl"]
    deliver(EVENTS[1])
    assert names(tmp_path) == [f"{file.name}.gz", "2024-03-04.jsonl"]
    assert everything(tmp_path) == [{}, *EVENTS[:2]]


def test_no_room_to_compress_is_to_be_tried_again_and_leaves_all_as_it_was(tmp_path):
    file = tmp_path / "2024-03-04.7.jsonl"
    content = json.dumps(random.Random(5).randbytes(50_000).hex()).encode() + b"\n"
    file.write_bytes(content)
    command = [sys.executable, "-c", NO_ROOM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("cannot write: File too large\n", "")
    assert names(tmp_path) == [file.name]
    assert file.read_bytes() == content


def test_without_sync_a_batch_does_not_wait_for_the_disk(tmp_path):
    # Which cannot be synced.
    (tmp_path / "2024-03-04.jsonl").symlink_to("/dev/null")
    archive(tmp_path, sync=False)(EVENTS[0])
    with pytest.raises(Retry, match="cannot write: Invalid argument"):
        archive(tmp_path)(EVENTS[0])


def test_writers_that_are_killed_lose_nothing_that_they_said_was_written(tmp_path):
    said = dict.fromkeys("abc", 0)
    random_ = random.Random(5)
    for _ in range(6):
        writers = {
            name: subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), name, str(first)],
                cwd=ROOT, stdout=subprocess.PIPE, text=True,
            )
            for name, first in said.items()
        }  # fmt: skip
        eventually(lambda: len(list(tmp_path.glob("*.gz"))) > 3, 30)
        time.sleep(random_.uniform(0, 0.3))
        for file in tmp_path.glob("*.gz"):
            # Whole, although writers are at it.
            assert gzip.decompress(file.read_bytes()).endswith(b"}\n")
        for name, process in writers.items():
            process.send_signal(signal.SIGKILL)
            *_, last = [said[name], *process.communicate()[0].split()]
            said[name] = int(last)
    deliver = archive(tmp_path, max_file=4000, compress=True)
    while any(tmp_path.glob("2024-03-04.*.jsonl")):
        deliver({"writer": "end"})
    assert not list(tmp_path.glob("*.part"))
    written = everything(tmp_path)
    for name, count in said.items():
        numbers = [one["n"] for one in written if one["writer"] == name]
        assert list(dict.fromkeys(numbers))[:count] == list(range(count))
        # A batch that was under way when its writer was killed is there twice, at most.
        assert len(numbers) <= len(set(numbers)) + 6 * 3


def test_a_router_rotates_and_compresses(router: Router):
    router.configure("""
[router]
data_dir = "{data}"
[sources.web]
write_key = "key"
[destinations.archive]
plugin = "jsonl"
max_file = "2KiB"
compress = true
sync = false
batch_events = 5
""")
    with router.running("--workers", "2"):
        for first in range(0, 300, 50):
            batch = [
                {
                    "type": "track",
                    "event": "e",
                    "userId": f"u{n % 7}",
                    "messageId": f"{n}",
                }
                for n in range(first, first + 50)
            ]
            assert router.post("/v1/batch", {"batch": batch}).ok
        eventually(lambda: router.row("ledger", "archive")["delivered"] == 300, 30)
    directory = router.data / "archive"
    assert len(list(directory.glob("*.gz"))) > 5
    came = [int(event["messageId"]) for event in everything(directory)]
    assert sorted(came) == list(range(300))
    for user in range(7):
        mine = [n for n in came if n % 7 == user]
        assert mine == sorted(mine)
