"""A lane's progress: what is delivered is known, whoever is killed when."""

import os
import signal
import sys
import textwrap
from subprocess import PIPE, Popen

import pytest

from router.claims import claim
from router.errors import StorageUnavailable
from router.ledger import Fenced, Ledger
from router.letters import DeadLetter
from router.notes import HEAD, SLOT, read_all
from router.progress import COMMIT_EVERY, Progress, settle

DELIVERED = ("delivered", "delivered")
SKIPPED = ("skipped", "integrations")
DEAD = ("dead", "rejected")
FILE = "claims/shop.0"


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def ledger(tmp_path):
    found = Ledger(tmp_path)
    found.register("shop", {0: 10})
    yield found
    found.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lane(tmp_path, ledger, clock):
    """Makes the progress of the lane anew, as the next process does that claims it."""
    held = []

    def make(ledger=ledger):
        for one in held:
            one.release()
        held[:] = [claim(tmp_path, "shop", 0)]
        progress = Progress(ledger, "shop", 0, held[0], clock)
        progress.resume()
        return progress

    yield make
    for one in held:
        one.release()


def begun(lane):
    """Progress that has just committed: the next events are noted."""
    progress = lane()
    progress.passed(11, {DELIVERED: 1})
    return progress


def test_what_is_noted_is_committed_by_who_has_the_lane_next(lane, ledger):
    progress = begun(lane)
    progress.passed(12, {DELIVERED: 1})
    progress.passed(15, {DELIVERED: 2, SKIPPED: 1})
    assert progress.offset == 15
    assert ledger.committed("shop", 0) == 11
    assert lane().offset == 15
    assert ledger.committed("shop", 0) == 15
    assert ledger.counts("shop") == {DELIVERED: 4, SKIPPED: 1}


def test_the_ledger_has_what_is_noted_at_any_instant(lane, ledger, tmp_path):
    progress = begun(lane)
    progress.passed(12, {SKIPPED: 1})
    progress.passed(13, {DELIVERED: 1})
    assert ledger.committed("shop", 0) == 11
    for one in (ledger, Ledger(tmp_path)):
        assert one.balance("shop") == ({0: (10, 13)}, {DELIVERED: 2, SKIPPED: 1})
        assert one.counts("shop", replays=True) == {DELIVERED: 2, SKIPPED: 1}
        # So the log goes on from there where its newest events are lost.
        assert one.farthest() == {0: 13}
    assert ledger.balance("other") == ({}, {})


def test_what_a_dead_process_has_noted_can_be_settled(ledger, tmp_path, clock):
    held = claim(tmp_path, "shop", 0)
    progress = Progress(ledger, "shop", 0, held, clock)
    progress.resume()
    progress.passed(11, {DELIVERED: 1})
    progress.passed(12, {DELIVERED: 1})
    assert not settle(ledger, tmp_path, "shop", 0)  # its lane lives
    held.release()
    assert settle(ledger, tmp_path, "shop", 0)
    assert ledger.committed("shop", 0) == 12


def test_the_notes_are_of_no_use_to_a_copy_of_the_ledger(lane, ledger, tmp_path):
    begun(lane)
    ledger.copy(tmp_path / "backup")
    progress = lane()
    progress._committed_at = 100.0
    progress.passed(12, {DELIVERED: 1})
    for path in tmp_path.glob("ledger*"):
        path.unlink()
    (tmp_path / "backup" / "ledger.db").rename(tmp_path / "ledger.db")
    copy = Ledger(tmp_path)
    assert copy.offsets("shop") == {0: (10, 11)}
    assert lane(copy).offset == 11
    copy.close()


def test_what_cannot_be_committed_is_noted_and_counted_once(lane, ledger, clock):
    progress = begun(lane)
    clock.now += 2 * COMMIT_EVERY
    commit, broken = ledger.commit, StorageUnavailable("the disk is full")

    def fail(*_):
        raise broken

    ledger.commit = fail
    for _ in range(3):  # as its lane does until it can
        with pytest.raises(StorageUnavailable, match="full"):
            progress.passed(12, {DELIVERED: 1})
    ledger.commit = commit
    assert ledger.counts("shop") == {DELIVERED: 2}
    assert lane().offset == 12
    assert ledger.counts("shop") == {DELIVERED: 2}


def test_it_is_committed_some_times_a_second(lane, ledger, clock):
    progress = begun(lane)
    clock.now += COMMIT_EVERY / 2
    progress.passed(12, {DELIVERED: 1})
    assert ledger.committed("shop", 0) == 11
    clock.now += COMMIT_EVERY
    progress.passed(13, {DELIVERED: 1})
    assert ledger.committed("shop", 0) == 13
    assert ledger.counts("shop") == {DELIVERED: 3}
    progress.passed(14, {DELIVERED: 1})
    progress.commit()
    progress.commit()
    assert ledger.committed("shop", 0) == 14
    assert ledger.counts("shop") == {DELIVERED: 4}


def test_a_letter_is_in_the_ledger_at_once_and_what_is_before_it(lane, ledger):
    progress = begun(lane)
    progress.passed(12, {SKIPPED: 1})
    letter = DeadLetter(
        "shop", 0, 12, "web", "m", "rejected", "no", (), "", 1, 1000, b"{}"
    )
    progress.passed(13, {DEAD: 1}, [letter])
    assert ledger.committed("shop", 0) == 13
    assert ledger.counts("shop") == {DELIVERED: 1, SKIPPED: 1, DEAD: 1}
    assert [one.offset for one in ledger.letters.find()] == [12]
    assert lane().offset == 13
    assert ledger.counts("shop").total() == 3


def test_a_note_that_was_torn_leaves_the_one_before_it(lane, ledger, tmp_path):
    progress = begun(lane)
    progress.passed(12, {DELIVERED: 1})
    progress.passed(13, {DELIVERED: 1})
    whole, claims = (tmp_path / FILE).read_bytes(), tmp_path / "claims"
    assert {one.end for one in read_all(claims)["shop", 0]} == {12, 13}
    last = whole.index(b",13,") // SLOT * SLOT
    _, length = HEAD.unpack_from(whole, last)
    for at in range(HEAD.size + length):
        torn = bytearray(whole)
        torn[last + at] ^= 1
        (tmp_path / FILE).write_bytes(torn)
        assert {one.end for one in read_all(claims)["shop", 0]} == {12}
    assert lane().offset == 12
    assert ledger.counts("shop") == {DELIVERED: 2}


def test_the_notes_of_another_ledger_are_of_no_use(lane, tmp_path):
    begun(lane).passed(12, {DELIVERED: 1})
    for path in tmp_path.glob("ledger*"):
        path.unlink()
    other = Ledger(tmp_path)
    other.register("shop", {0: 11})  # where the notes begin
    assert lane(other).offset == 11
    assert not other.counts("shop")
    other.close()


def test_notes_from_before_the_last_commit_are_of_no_use(lane, ledger):
    progress = begun(lane)
    progress.passed(12, {DELIVERED: 1})
    progress.passed(13, {DELIVERED: 1})
    progress.commit()
    assert lane().offset == 13
    assert ledger.counts("shop") == {DELIVERED: 3}


def test_more_than_a_note_holds_is_committed(lane, ledger):
    progress = begun(lane)
    counts = {("skipped", f"{number:060}"): 1 for number in range(9)}
    progress.passed(20, counts)
    assert ledger.committed("shop", 0) == 20
    assert ledger.counts("shop") == {DELIVERED: 1, **counts}


def test_an_offset_that_another_has_moved_is_no_longer_the_lanes(lane, ledger, clock):
    progress = begun(lane)
    progress.check()
    progress.passed(12, {DELIVERED: 1})
    ledger.commit("shop", 0, (11, 20), {("expired", "expired"): 9})
    with pytest.raises(Fenced, match="shop: partition 0"):
        progress.check()
    clock.now += 2 * COMMIT_EVERY
    with pytest.raises(Fenced, match="shop: partition 0"):
        progress.passed(13, {DELIVERED: 1})
    progress.resume()
    assert progress.offset == 20
    assert ledger.counts("shop").total() == 10


def test_a_lane_without_a_place_in_the_ledger_waits(tmp_path, ledger):
    held = claim(tmp_path, "other", 0)
    with pytest.raises(StorageUnavailable, match="no place of other/0"):
        Progress(ledger, "other", 0, held).resume()
    held.release()


SCRIPT = """
import sys, time
from pathlib import Path
from router.claims import claim
from router.ledger import Ledger
from router.progress import Progress

data = Path(sys.argv[1])
progress = Progress(Ledger(data), "shop", 0, claim(data, "shop", 0), lambda: 0.0)
progress.resume()
for end in range(11, 1 << 40):
    progress.passed(end, {("delivered", "delivered"): 1})
    print(end, flush=True)
"""


def test_no_event_is_forgotten_that_a_killed_process_had_passed(lane, ledger, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), tmp_path]
    with Popen(command, stdout=PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) > 500:
                break
        os.kill(process.pid, signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().splitlines()[:-1]]
    last = said[-1] if said else 501
    resumed = lane()
    assert last <= resumed.offset <= last + 2
    assert ledger.counts("shop") == {DELIVERED: resumed.offset - 10}
