"""The sides of the rows about a log that is full."""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench import accepting, machine
from bench.measuring import Sampler
from bench.running import (
    Partner,
    Place,
    Process,
    configure,
    gunicorn,
    load,
    movable_ink,
    partner,
    started,
)

# What decides how a log looks.
FILES = ("id_files", "id_index", "ids", "log", "segment", "segments", "store")

# Beyond it a log is made anew: its events must be within `dedupe_window`.
OLDEST = 8 * 3600.0
KEPT = 2


def log(place: Place) -> Path:
    """A directory with a log of so many events, from the cache if it is there."""
    sources = [place.root / "router" / f"{name}.py" for name in FILES]
    sources.append(machine.HERE / "ours" / "full_log.py")
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    made = machine.CACHE / f"log-{place.events}-{digest.hexdigest()[:12]}"
    forget_old(made)
    if not made.exists():
        make(place, made)
    return made / "log"


def forget_old(wanted: Path) -> None:
    """Removes the logs that are too old, and all others but the newest."""
    known = sorted(machine.CACHE.glob("log-*"), key=lambda one: -one.stat().st_mtime)
    gone = [one for one in known if one != wanted][KEPT - 1 :]
    if wanted in known and time.time() - wanted.stat().st_mtime > OLDEST:
        gone.append(wanted)
    for one in gone:
        shutil.rmtree(one, ignore_errors=True)


def make(place: Place, made: Path) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=machine.CACHE) as directory:
        new = Path(directory) / "new"
        new.mkdir()
        script = machine.HERE / "ours" / "full_log.py"
        command: list[str | Path] = [sys.executable, script, new, str(place.events)]
        with started(place, command) as process:
            if process.popen.wait():
                raise machine.Unable("the log that is full could not be made")
        with suppress(OSError):  # another has made it meanwhile
            new.rename(made)
    size = sum(path.stat().st_size for path in (made / "log").iterdir())
    took = time.monotonic() - began
    note = f"made a log of {place.events:,} events, {size / 1e9:.1f} GB: {took:.0f} s"
    print(note, file=sys.stderr)


def put(place: Place) -> None:
    """Gives a place such a log: its own newest file and index of ids, and links to the
    files before, which are not written to."""
    directory = place.directory / "data" / "log"
    directory.mkdir(parents=True)
    made = log(place)
    *older, newest = sorted(made.glob("*.db"))
    for path in older:
        try:
            os.link(path, directory / path.name)
        except OSError:  # it is on another disk
            shutil.copy(path, directory)
    for path in (newest, *made.glob("ids-*")):
        shutil.copy(path, directory)


@contextmanager
def accept(place: Place) -> Iterator[Sampler]:
    """A router without destinations, its log full."""
    put(place)
    with accepting.batches(place) as sample:
        yield sample


@contextmanager
def memory(place: Place) -> Iterator[Sampler]:
    """The resident memory of the largest worker, in MiB, while it works on a backlog
    that is the whole log."""
    put(place)
    with delivering_all(place) as (process, to):
        sample = resident(process, place)

        def sample_of_who_delivers() -> Sequence[float]:
            found = sample()
            to.wait(1, process)  # or it is a router that does nothing
            return found

        yield sample_of_who_delivers


@contextmanager
def memory_when_empty(place: Place) -> Iterator[Sampler]:
    """The same without a backlog."""
    with delivering_all(place) as (process, _):
        yield resident(process, place)


@contextmanager
def delivering_all(place: Place) -> Iterator[tuple[Process, Partner]]:
    """A router that has done all that it does, a little, and goes on to deliver what
    the log has."""
    with ExitStack() as stack:
        to = stack.enter_context(partner(place))
        configure(place, {"movable_ink": movable_ink(to, batch=True)})
        process = stack.enter_context(gunicorn(place))
        with process.turn():
            load(process.port, "/v1/batch", accepting.BATCH, events=2000)
        yield process, to


def resident(process: Process, place: Place) -> Sampler:
    def sample() -> Sequence[float]:
        with process.turn():
            time.sleep(place.seconds)
            return [max(map(pages, process.children())) / 2**20]

    return sample


def pages(pid: int) -> int:
    """Bytes of memory that a process has."""
    resident_pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(resident_pages) * os.sysconf("SC_PAGE_SIZE")
