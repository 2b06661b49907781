"""The sides of the row about mapping: from an event of the log to its payload."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import delivering, machine
from bench.measuring import Sampler
from bench.running import Place, configure, movable_ink, partner, started

EVENTS = 1000


@contextmanager
def ours(place: Place) -> Iterator[Sampler]:
    """ours/mapping.py, for both payloads of Movable Ink."""
    with partner(place) as to:
        delivering.fill(place, to, EVENTS, batch=False)
        table = movable_ink(to, batch=False)
        payloads = ("entire_event", "normalized")
        configure(place, {name: {**table, "payload": name} for name in payloads})
        yield printed_by(place, machine.HERE / "ours" / "mapping.py")


@contextmanager
def ceiling(place: Place) -> Iterator[Sampler]:
    """ceilings/mapping.py, of what the router sends."""
    bodies, *_ = delivering.record(place, EVENTS, batch=False)
    script = machine.HERE / "ceilings" / "mapping.py"
    yield printed_by(place, script, bodies)


def printed_by(place: Place, script: Path, *more: Path) -> Sampler:
    """The figures that a script prints."""
    command: list[str | Path] = [sys.executable, script, str(place.seconds / 2), *more]

    def sample() -> Sequence[float]:
        with started(place, command, output=subprocess.PIPE) as process:
            return [float(one) for one in process.popen.communicate()[0].split()]

    return sample
