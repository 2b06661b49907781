"""The sides of the rows about delivering: from the log to the partner's receipt."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial as part
from pathlib import Path

from bench import accepting, machine
from bench.measuring import Sampler
from bench.running import (
    Partner,
    Place,
    configure,
    gunicorn,
    load,
    movable_ink,
    partner,
    started,
)

# What takes about two seconds, in one process.
EVENTS = {True: 30_000, False: 2_500}
# A lane of the router for each, which it has 8 of: `[router] partitions`.
THREADS = 8

DELIVER = (sys.executable, "-m", "router", "deliver")


@contextmanager
def ours(place: Place, *, batch: bool) -> Iterator[Sampler]:
    """`router deliver`, with a backlog; each sample delivers the same anew."""
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
    with started(place, DELIVER) as process:
        return to.wait(many, process).rate


@contextmanager
def ceiling(place: Place, *, batch: bool) -> Iterator[Sampler]:
    """ceilings/deliver.py with the bytes that the router sends; in one process too."""
    many = place.share(EVENTS[batch])
    bodies = record(place, many, batch=batch)
    with partner(place) as to:

        def sample() -> Sequence[float]:
            return [post(place, to, bodies, many)]

        yield sample


def record(place: Place, many: int, *, batch: bool) -> Path:
    """The bodies that a router delivers so many events in."""
    bodies, router = place.directory / "bodies", place.within("router")
    with partner(place, record=bodies) as to:
        fill(router, to, many, batch=batch)
        deliver(router, to, many)
    return bodies


def post(place: Place, to: Partner, bodies: Path, many: int) -> float:
    """Events a second of bodies that were recorded, posted as they are."""
    script = machine.HERE / "ceilings" / "deliver.py"
    url = f"{to.url}/behavioral/bench"
    to.forget()
    with started(place, [sys.executable, script, url, bodies, str(THREADS)]) as process:
        process.popen.wait()
    return to.wait(many, process).rate


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
                archive.wait(many)
            return [many / (seen.last - began)]

        yield sample


class Archive:
    """The files that the plugin jsonl writes."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.wanted = directory, 0

    def wait(self, more: int) -> None:
        """Returns when it has so many events more than the last time."""
        self.wanted += more
        while self.lines() < self.wanted:
            time.sleep(0.1)

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
