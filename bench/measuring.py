"""Measuring in turns, and what the figures are worth."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from statistics import median, quantiles

from bench.running import Place

# Runs one side of a row: gives what takes one sample of each of its figures.
Sampler = Callable[[], Sequence[float]]
Side = Callable[[Place], AbstractContextManager[Sampler]]

# A spread of the ceiling beyond this makes a ratio doubtful.
NOISY = 0.15


@dataclass(frozen=True)
class Figure:
    """One of the figures of a row.

    target: the least that the ratio of ours to the ceiling must be; or, is_most, the
    most that it may be. None: it is only told.
    """

    title: str
    unit: str
    target: float | None
    is_most: bool = False


@dataclass(frozen=True)
class Row:
    """What is measured together. name: for `--rows`. is_full: needs a full log."""

    name: str
    ours: Side
    ceiling: Side
    figures: Sequence[Figure]
    is_full: bool = False


@dataclass(frozen=True)
class Result:
    """The samples of a figure of a row."""

    row: str
    figure: Figure
    ours: Sequence[float]
    ceiling: Sequence[float]

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return median(self.ours) / median(self.ceiling)

    @property
    def is_met(self) -> bool:
        target = self.figure.target
        if target is None:
            return True
        return self.ratio <= target if self.figure.is_most else self.ratio >= target

    def as_json(self) -> dict[str, object]:
        figure = self.figure
        return {
            "row": self.row, "figure": figure.title, "unit": figure.unit,
            "ours": median(self.ours), "oursSamples": list(self.ours),
            "ceiling": median(self.ceiling), "ceilingSamples": list(self.ceiling),
            "ratio": self.ratio, "target": figure.target,
            "targetIs": "most" if figure.is_most else "least",
            "met": self.is_met,
            "oursSpread": spread(self.ours), "ceilingSpread": spread(self.ceiling),
        }  # fmt: skip


def spread(samples: Sequence[float]) -> float:
    """Half of what lies between the quartiles, as a share of the median."""
    if len(samples) < 2 or not median(samples):
        return 0.0
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2 / median(samples)


def take_turns(
    first: Side, second: Side, places: tuple[Place, Place], samples: int
) -> tuple[list[Sequence[float]], list[Sequence[float]]]:
    """Samples of both sides in turns, after one of each that is not counted. Who is
    first changes each time, so that a machine that gets slower favours neither."""
    found: tuple[list[Sequence[float]], list[Sequence[float]]] = ([], [])
    with ExitStack() as stack:
        samplers = [
            stack.enter_context(side(place))
            for side, place in zip((first, second), places, strict=True)
        ]
        for sample in samplers:
            sample()
        for turn in range(samples):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                found[which].append(samplers[which]())
    for place in places:
        shutil.rmtree(place.directory)
    return found


def measure(row: Row, place: Place, samples: int) -> list[Result]:
    """Each figure of a row, beside its ceiling."""
    here = place.within(row.name)
    places = (here.within("ours"), here.within("ceiling"))
    ours, ceiling = take_turns(row.ours, row.ceiling, places, samples)
    by_figure = zip(
        row.figures, zip(*ours, strict=True), zip(*ceiling, strict=True), strict=True
    )
    return [Result(row.name, *one) for one in by_figure]
