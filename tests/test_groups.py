"""Group commit: who writes at the same time shares a transaction."""

import threading
import time
from collections.abc import Sequence

import pytest
from conftest import eventually

from router.groups import GroupCommit, Take


class Disk:
    """Commits when it is let; `groups` are what it has committed at once."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.free = threading.Event()
        self.begun = threading.Event()
        self.broken: BaseException | None = None

    def commit(self, take: Take[int]) -> list[int]:
        self.begun.set()
        assert self.free.wait(10)
        if self.broken is not None:
            raise self.broken
        self.groups.append(list(take()))
        return [item * 10 for item in self.groups[-1]]


class Writers:
    """Threads that write an item each; what each was told, by its item."""

    def __init__(self, disk: Disk) -> None:
        self.told: dict[int, object] = {}
        self._group = GroupCommit(disk.commit)
        self._threads: list[threading.Thread] = []

    def start(self, items: Sequence[int]) -> None:
        for item in items:
            self._threads.append(threading.Thread(target=self._write, args=(item,)))
            self._threads[-1].start()

    def _write(self, item: int) -> None:
        try:
            self.told[item] = self._group.write(item)
        except Exception as error:
            self.told[item] = error

    def all_wait(self, number: int) -> bool:
        return len(self._group._waiting) == number

    def join(self) -> None:
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def writers(disk: Disk) -> Writers:
    return Writers(disk)


def test_what_comes_before_the_commit_takes_goes_with_it(
    disk: Disk, writers: Writers
) -> None:
    writers.start([1])
    assert disk.begun.wait(10)
    writers.start([2, 3])
    eventually(lambda: writers.all_wait(2))
    disk.free.set()
    writers.join()
    assert [sorted(group) for group in disk.groups] == [[1, 2, 3]]
    assert writers.told == {1: 10, 2: 20, 3: 30}


def test_each_is_told_of_its_own_item_however_they_meet(
    disk: Disk, writers: Writers
) -> None:
    disk.free.set()
    writers.start(range(200))
    writers.join()
    assert writers.told == {item: item * 10 for item in range(200)}
    assert sorted(item for group in disk.groups for item in group) == [*range(200)]


def test_an_error_is_everybodys_and_the_next_group_begins_anew(
    disk: Disk, writers: Writers
) -> None:
    disk.broken = OSError("no space")
    writers.start([1])
    assert disk.begun.wait(10)
    writers.start([2, 3])
    eventually(lambda: writers.all_wait(2))
    disk.free.set()
    writers.join()
    errors = {str(told) for told in writers.told.values()}
    assert (len(writers.told), errors, disk.groups) == (3, {"no space"}, [])
    disk.broken = None
    writers.start([4])
    writers.join()
    assert (writers.told[4], disk.groups) == (40, [[4]])


def test_who_waits_for_the_disk_waits_with_the_others() -> None:
    sizes: list[int] = []

    def commit(take: Take[int]) -> Sequence[int]:
        time.sleep(0.005)  # a disk
        items = take()
        sizes.append(len(items))
        return items

    group = GroupCommit(commit)

    def write_on() -> None:
        for item in range(20):
            assert group.write(item) == item

    threads = [threading.Thread(target=write_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(sizes) == 160
    # Were each in a commit of its own there would be 160 of them.
    assert len(sizes) < 60
