"""The plugin jsonl: whole lines on disk, or none."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plugins import jsonl
from router import Retry

MARCH = datetime(2024, 3, 4, 23, 59, 59, tzinfo=UTC)
EVENTS = [{"type": "track", "event": f"Café {n}", "messageId": n} for n in range(3)]

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


def archive(directory, clock=lambda: MARCH):
    settings = jsonl.settings()(directory=directory)
    settings = settings.placed("archive", directory)

    def deliver(*payloads):
        jsonl.deliver(payloads=list(payloads), settings=settings, client=clock)

    return deliver


def lines(file):
    return [json.loads(line) for line in file.read_bytes().splitlines()]


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


def test_days_are_counted_in_utc():
    assert jsonl.connect()().tzinfo is UTC


def test_without_a_directory_the_files_are_in_data_dir_under_the_name(tmp_path):
    settings = jsonl.settings()().placed("attic", tmp_path)
    jsonl.deliver(payloads=[EVENTS[0]], settings=settings, client=lambda: MARCH)
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
