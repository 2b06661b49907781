"""The sides of the rows about delivering: from the log to the partner's receipt."""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial as part
from pathlib import Path

from bench import accepting, machine
from bench.measuring import Sampler
from bench.running import (
    WORKERS,
    Partner,
    Place,
    Process,
    configure,
    gunicorn,
    load,
    movable_ink,
    partner,
    started,
    wait_for,
)

# What takes about two seconds.
EVENTS = {True: 150_000, False: 4_000}
# Seconds in which the workers share the lanes, each of which then waits for an answer.
SETTLING = 1.5
# Events in a batch post themselves from one thread faster than they are mapped. One a
# request: as many processes and threads as the router has workers and lanes.
PROCESSES = {True: 1, False: WORKERS}
THREADS = {True: 1, False: 4}


@contextmanager
def ours(place: Place, *, batch: bool) -> Iterator[Sampler]:
    """A router with a backlog, which each sample delivers anew."""
    many = place.share(EVENTS[batch])
    with ExitStack() as stack:
        to = stack.enter_context(partner(place))
        fill(place, to, many, batch=batch)

        def sample() -> Sequence[float]:
            return [deliver(place, to, many)]

        yield sample


def fill(place: Place, to: Partner, many: int, *, batch: bool) -> None:
    """Gives the router of a place so many events, by its front door, and a destination
    that has had none of them."""
    table = {"movable_ink": movable_ink(to, batch=batch)}
    configure(place, deliver=False)
    with gunicorn(place) as process, process.turn():
        load(process.port, "/v1/batch", accepting.BATCH, events=many)
    configure(place, table)


def deliver(place: Place, to: Partner, many: int) -> float:
    """Events a second that a router delivers, of a backlog of so many."""
    # Without the ledger the destination is new, and begins at the first event.
    for path in (place.directory / "data").glob("ledger*"):
        path.unlink()
    to.forget()
    # Else the lanes of the first worker would begin before the second is up.
    with to.away(), gunicorn(place) as process:
        process.signal(signal.SIGCONT)
        time.sleep(SETTLING)
        began = to.back()
        return many / (to.wait(many, process).last - began)


@contextmanager
def ceiling(place: Place, *, batch: bool) -> Iterator[Sampler]:
    """ceilings/deliver.py with the bytes that the router sends."""
    many = place.share(EVENTS[batch])
    bodies = record(place, many, batch=batch)
    with partner(place) as to:

        def sample() -> Sequence[float]:
            return [post(place, to, bodies, many, batch=batch)]

        yield sample


def record(place: Place, many: int, *, batch: bool) -> Sequence[Path]:
    """The bodies that a router delivers so many events in, a file for each process."""
    bodies, router = place.directory / "bodies", place.within("router")
    with partner(place, record=bodies) as to:
        fill(router, to, many, batch=batch)
        deliver(router, to, many)
    lines = bodies.read_bytes().splitlines(keepends=True)
    shares = []
    for number in range(PROCESSES[batch]):
        shares.append(place.directory / f"bodies-{number}")
        shares[-1].write_bytes(b"".join(lines[number :: PROCESSES[batch]]))
    return shares


def post(
    place: Place, to: Partner, bodies: Sequence[Path], many: int, *, batch: bool
) -> float:
    """Events a second of bodies that were recorded, posted as they are."""
    script = machine.HERE / "ceilings" / "deliver.py"
    url, threads = f"{to.url}/behavioral/bench", str(THREADS[batch])
    to.forget()
    with to.away(), ExitStack() as stack:
        processes = [
            stack.enter_context(
                started(place, [sys.executable, script, url, path, threads])
            )
            for path in bodies
        ]
        time.sleep(SETTLING)
        began = to.back()
        for process in processes:
            process.popen.wait()
    return many / (to.seen().last - began)


@contextmanager
def whole_path(place: Place) -> Iterator[Sampler]:
    """From the first post of an SDK's batches to the partner's receipt of the last,
    through a router with an archive beside."""
    many = place.share(20_000)
    with ExitStack() as stack:
        to = stack.enter_context(partner(place))
        configure(
            place,
            {
                "movable_ink": movable_ink(to, batch=True),
                "archive": {"plugin": "jsonl", "start": "earliest"},
            },
        )
        process = stack.enter_context(gunicorn(place))
        archive = Archive(place.directory / "data" / "archive")

        def sample() -> Sequence[float]:
            to.forget()
            began = time.monotonic()
            with process.turn():
                load(process.port, "/v1/batch", accepting.BATCH, events=many)
                seen = to.wait(many, process)
                # What is left over would be in the way of the next sample.
                archive.wait(many, process)
            return [many / (seen.last - began)]

        yield sample


class Archive:
    """The files that the plugin jsonl writes."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.wanted = directory, 0

    def wait(self, more: int, process: Process) -> None:
        """Returns when the process has written so many events more than the last time;
        raises Unable when it does not."""
        self.wanted += more
        wait_for(lambda: self.lines() >= self.wanted, process)

    def lines(self) -> int:
        return sum(p.read_bytes().count(b"\n") for p in self.directory.glob("*.jsonl"))


@contextmanager
def half_the_slower(place: Place) -> Iterator[Sampler]:
    """Of the two ceilings: the router does both at once."""
    with (
        accepting.ceiling(place.within("accept"), batch=accepting.BATCH) as accept,
        ceiling(place.within("deliver"), batch=True) as deliver,
    ):

        def sample() -> Sequence[float]:
            return [min(*accept(), *deliver()) / 2]

        yield sample


batches, one = part(ours, batch=True), part(ours, batch=False)
