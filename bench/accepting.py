"""The sides of the rows about accepting: a client posts, and the answer is 200."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from bench import machine
from bench.measuring import Sampler
from bench.running import (
    WORKERS,
    Place,
    Process,
    configure,
    gunicorn,
    load,
    movable_ink,
    partner,
    started,
)

BATCH = 100
SETTLING = 0.1

DELIVER = (sys.executable, "-m", "router", "deliver")


def sampler(process: Process, place: Place, batch: int, scale: float = 1.0) -> Sampler:
    """Events a second that a process takes, times scale."""

    def sample() -> Sequence[float]:
        path = "/v1/batch" if batch else "/v1/track"
        with process.turn():
            # Until the workers have seen of each other that they are there.
            time.sleep(SETTLING)
            return [load(process.port, path, batch, seconds=place.seconds) * scale]

    return sample


@contextmanager
def ours(
    place: Place, *, batch: int, workers: int = WORKERS, scale: float = 1.0
) -> Iterator[Sampler]:
    """A router without destinations."""
    configure(place)
    with gunicorn(place, workers=workers) as process:
        yield sampler(process, place, batch, scale)


@contextmanager
def ceiling(place: Place, *, batch: int) -> Iterator[Sampler]:
    """The app of ceilings/accept.py."""
    with gunicorn(place, "accept:app") as process:
        yield sampler(process, place, batch)


@contextmanager
def with_destinations(place: Place, *, number: int) -> Iterator[Sampler]:
    """A router whose events go to so many destinations at once, by `router deliver`
    beside the workers."""
    with ExitStack() as stack:
        to = stack.enter_context(partner(place))
        table = movable_ink(to, batch=True)
        configure(place, {f"to_{n}": table for n in range(number)}, deliver=False)
        process = stack.enter_context(gunicorn(place))
        lanes = stack.enter_context(started(place, DELIVER))
        accept = sampler(process, place, BATCH)

        def sample() -> Sequence[float]:
            with lanes.turn():
                return accept()

        yield sample


def linear(place: Place, *, workers: int) -> AbstractContextManager[Sampler]:
    """What so many workers would take, did each take as much as one alone and have a
    core of its own."""
    scale = float(min(workers, machine.CORES))
    return ours(place, batch=BATCH, workers=1, scale=scale)


one, batches = partial(ours, batch=0), partial(ours, batch=BATCH)
