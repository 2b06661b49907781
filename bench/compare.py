"""Two revisions of the router, measured in turns by the same code."""

import math
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from statistics import median

from bench import machine
from bench.measuring import Figure, Row, take_turns
from bench.running import Place

# How often an interval may miss the truth by chance.
DOUBT = 0.05
# A difference that is smaller is none, however certain.
SMALLEST = 0.03
# What must be seen: with a wider interval more samples are needed.
SEEN = 0.15


@dataclass(frozen=True)
class Comparison:
    """A figure of the working tree (new) and of another revision (old), in turns."""

    row: str
    figure: Figure
    new: Sequence[float]
    old: Sequence[float]

    @property
    def interval(self) -> tuple[float, float]:
        """What the ratio of new to old is within, by all that the noise lets tell."""
        return interval(
            [new / old for new, old in zip(self.new, self.old, strict=True)]
        )

    @property
    def ratio(self) -> float:
        return median(self.new) / median(self.old)

    @property
    def verdict(self) -> str:
        low, high = self.interval
        if low <= 1 <= high or abs(math.log(self.ratio)) < SMALLEST:
            return "no difference beyond the noise"
        is_less = high < 1
        # Of milliseconds and megabytes less is better.
        is_worse = is_less != self.figure.is_most
        words = ("more", "less") if self.figure.unit == "MiB" else ("slower", "faster")
        return words[0] if is_worse else words[1]

    @property
    def is_worse(self) -> bool:
        return self.verdict in ("slower", "more")

    @property
    def is_blind(self) -> bool:
        """Whether a difference that must be seen may be hidden by the noise."""
        low, high = self.interval
        return math.log(high / low) / 2 > SEEN

    def as_json(self) -> dict[str, object]:
        return {
            "row": self.row, "figure": self.figure.title, "unit": self.figure.unit,
            "new": median(self.new), "newSamples": list(self.new),
            "old": median(self.old), "oldSamples": list(self.old),
            "ratio": self.ratio, "interval": list(self.interval),
            "verdict": self.verdict,
        }  # fmt: skip


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Bounds of the ratio that such ratios scatter about: Wilcoxon's, of the means of
    all pairs of their logarithms. So one or two that are far off do little, and
    nothing is taken for granted but that they are off to both sides alike."""
    logs = [math.log(ratio) for ratio in ratios]
    means = sorted((a + b) / 2 for a, b in combinations_with_replacement(logs, 2))
    left_out = outside(len(logs))
    return math.exp(means[left_out]), math.exp(means[-1 - left_out])


def outside(many: int) -> int:
    """How many of the means may be left out at each end."""
    # In how many of the 2 ** many cases the ranks of one sign add up to each sum.
    ways = [1]
    for rank in range(1, many + 1):
        shifted = [0] * rank + ways
        ways = [a + b for a, b in zip(ways + [0] * rank, shifted, strict=True)]
    chance, found = 0.0, 0
    for number in ways:
        chance += 2 * number / 2**many
        if chance > DOUBT:
            break
        found += 1
    return max(0, found - 1)


@contextmanager
def checked_out(revision: str, directory: Path) -> Iterator[Path]:
    """A worktree of another revision; raises Unable."""
    git = ["git", "-C", str(machine.ROOT), "worktree"]
    add = [*git, "add", "--quiet", "--detach", str(directory), revision]
    done = subprocess.run(add, capture_output=True, text=True)
    if done.returncode:
        raise machine.Unable(f"cannot check out {revision}: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run([*git, "remove", "--force", str(directory)], check=True)


def compare(row: Row, place: Place, old: Path, samples: int) -> list[Comparison]:
    """Each figure of a row, of the working tree beside the revision in `old`."""
    here = place.within(row.name)
    places = here.within("new"), replace(here.within("old"), root=old)
    news, olds = take_turns(row.ours, row.ours, places, samples)
    by_figure = zip(
        row.figures, zip(*news, strict=True), zip(*olds, strict=True), strict=True
    )
    return [Comparison(row.name, *one) for one in by_figure]
