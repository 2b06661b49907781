"""Pipes that wake the processes which deliver, and claims on what they run."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import eventually

from router.claims import claim
from router.wakeup import Ear, count_workers, ring

ROOT = Path(__file__).parent.parent

LISTEN = """
import sys
from pathlib import Path
from router.wakeup import Ear
ear = Ear(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for partition in sorted(ear.listen(60.0)):
        print(partition, flush=True)
"""

RING = """
import sys
from pathlib import Path
from router.wakeup import count_workers, ring
print("ready", flush=True)
while True:
    ring(Path(sys.argv[1]), [1])
    count_workers(Path(sys.argv[1]))
"""

CLAIM = """
import sys
from pathlib import Path
from router.claims import claim
print(claim(Path(sys.argv[1]), "shop", 0) is not None, flush=True)
sys.stdin.readline()
"""


@contextmanager
def running(program, directory):
    """A process that runs the program and has said its first line."""
    with subprocess.Popen(
        [sys.executable, "-c", program, directory],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        first = child.stdout.readline().strip()
        try:
            yield child, first
        finally:
            child.kill()


@pytest.fixture
def ear(tmp_path):
    made = Ear(tmp_path)
    yield made
    made.close()


def test_an_ear_hears_which_partitions_have_grown(tmp_path, ear):
    ring(tmp_path, {3, 0})
    ring(tmp_path, {255})
    assert ear.listen(5.0) == {0, 3, 255}


def test_an_ear_that_hears_nothing_returns_after_its_time(ear):
    began = time.monotonic()
    assert ear.listen(0.05) == set()
    assert 0.04 < time.monotonic() - began < 5


def test_what_was_rung_before_it_listened_is_heard(tmp_path, ear):
    ring(tmp_path, {1})
    assert ear.listen(0.0) == {1}
    assert ear.listen(0.0) == set()


def test_ringing_where_nobody_ever_listened_does_nothing(tmp_path):
    ring(tmp_path / "none", {1})
    assert count_workers(tmp_path / "none") == 0


def test_every_ear_hears_and_is_counted_until_it_is_closed(tmp_path):
    ears = [Ear(tmp_path) for _ in range(3)]
    assert count_workers(tmp_path) == 3
    ring(tmp_path, {2})
    assert [ear.listen(5.0) for ear in ears] == [{2}] * 3
    for left, ear in zip((2, 1, 0), ears, strict=True):
        ear.close()
        assert count_workers(tmp_path) == left


def test_an_ear_that_does_not_listen_keeps_nobody_waiting(tmp_path, ear):
    began = time.monotonic()
    for _ in range(20_000):
        ring(tmp_path, range(16))
        if time.monotonic() - began > 30:
            break
    assert time.monotonic() - began < 30
    assert ear.listen(5.0) == set(range(16))


def test_a_ring_is_heard_in_another_process_at_once(tmp_path):
    with running(LISTEN, tmp_path) as (child, _):
        began = time.monotonic()
        for number in range(20):
            ring(tmp_path, {number})
            assert child.stdout.readline() == f"{number}\n"
        assert time.monotonic() - began < 5


def test_a_process_that_was_killed_is_no_longer_counted_and_leaves_nothing(tmp_path):
    with running(LISTEN, tmp_path) as (child, _):
        assert count_workers(tmp_path) == 1
        child.kill()
        child.wait()
        assert count_workers(tmp_path) == 0
        assert list((tmp_path / "workers").iterdir()) == []


def test_an_ear_is_heard_of_even_if_others_ring_while_it_opens(tmp_path):
    def open_one():
        ear = Ear(tmp_path)
        found = count_workers(tmp_path)
        ear.close()
        return found

    with running(RING, tmp_path), running(RING, tmp_path):
        # A pipe that has no reader yet looks like that of a dead process.
        assert [open_one() for _ in range(1000)] == [1] * 1000


def test_a_claim_is_had_by_one_until_it_is_released(tmp_path):
    held = claim(tmp_path, "shop", 0)
    assert held is not None
    assert claim(tmp_path, "shop", 0) is None
    others = [claim(tmp_path, "shop", 1), claim(tmp_path, "mail", 0)]
    held.release()
    again = claim(tmp_path, "shop", 0)
    for one in (*others, again):
        assert one is not None
        one.release()


def test_a_claim_is_free_once_its_process_was_killed(tmp_path):
    with running(CLAIM, tmp_path) as (child, said):
        assert said == "True"
        assert claim(tmp_path, "shop", 0) is None
        with running(CLAIM, tmp_path) as (_, second):
            assert second == "False"
        child.kill()
        child.wait()
        eventually(lambda: claim(tmp_path, "shop", 0), 2.0)


def test_of_many_threads_one_gets_the_claim(tmp_path):
    won = []
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        won.append(claim(tmp_path, "shop", 0))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in won) == 1
