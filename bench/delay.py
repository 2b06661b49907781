"""The sides of the row about delay: from the 200 to the partner's receipt."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

from bench import machine
from bench.ceilings.delay import post
from bench.measuring import Sampler
from bench.running import Partner, Place, configure, gunicorn, movable_ink
from bench.running import partner as running_partner

EVENTS_A_SECOND = 50

# How much longer than others a sample takes: its p99 needs so many events.
LONGER = 2

# It may be there before its client has read the answer. What is shorter than a client
# in Python can tell is taken for this long; in seconds, as 0 has no ratio.
AT_ONCE = 1e-4

users = count()


def percentiles(seconds: Sequence[float]) -> Sequence[float]:
    """The median and the 99th percentile, in milliseconds."""
    hundredths = quantiles(seconds, n=100, method="inclusive")
    return [hundredths[49] * 1000, hundredths[98] * 1000]


def events(seconds: float) -> Iterator[tuple[str, bytes]]:
    """Events with their message ids, evenly over so many seconds."""
    template, began = machine.EVENT.read_text().strip(), time.monotonic()
    for number in range(max(10, int(seconds * EVENTS_A_SECOND))):
        name = str(uuid4())
        event = template.replace("M" * 36, name)
        event = event.replace("U" * 8, f"{next(users) % 10_000:08}")
        due = began + number / EVENTS_A_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        yield name, event.encode()


@contextmanager
def ours(place: Place) -> Iterator[Sampler]:
    """A client that posts, and how long after its answer the partner has the event."""
    arrivals = place.directory / "arrivals"
    with running_partner(place, record=arrivals) as to:
        configure(place, {"movable_ink": movable_ink(to, batch=False)})
        with gunicorn(place) as process:

            def sample() -> Sequence[float]:
                to.forget()
                answered = {}
                with process.turn(), post() as send:
                    for name, event in events(place.seconds * LONGER):
                        send(f"http://127.0.0.1:{process.port}/v1/track", event)
                        answered[name] = time.monotonic()
                    to.wait(len(answered), process)
                arrived = read(arrivals)
                return percentiles(
                    [max(AT_ONCE, arrived[name] - at) for name, at in answered.items()]
                )

            yield sample


def read(arrivals: Path) -> dict[str, float]:
    """When the partner first got each event."""
    found: dict[str, float] = {}
    for line in arrivals.read_bytes().splitlines():
        at, body = line.split(b" ", 1)
        found.setdefault(json.loads(body)["messageId"], float(at))
    return found


@contextmanager
def ceiling(place: Place) -> Iterator[Sampler]:
    """How long ceilings/delay.py takes to post each event to the partner itself."""
    with running_partner(place) as to:
        yield partial(posted, place, to)


def posted(place: Place, to: Partner) -> Sequence[float]:
    took = []
    with post() as send:
        for _, event in events(place.seconds * LONGER):
            began = time.monotonic()
            send(f"{to.url}/behavioral/bench", event)
            took.append(time.monotonic() - began)
    return percentiles(took)
