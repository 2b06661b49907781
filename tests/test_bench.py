"""That each row of the benchmark still runs; how fast is for `make bench` to say."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))

from bench.compare import Comparison, outside
from bench.measuring import Figure, Result, spread
from bench.rows import ROWS


@pytest.mark.parametrize("row", [row.name for row in ROWS])
def test_each_row_gives_figures_for_both_sides(row: str) -> None:
    run = [sys.executable, "-m", "bench", "--json", "--rows", row]
    short = ["--samples", "1", "--seconds", "0.1", "--events", "2000"]
    done = subprocess.run([*run, *short], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)["rows"]
    assert found
    for figure in found:
        assert figure["ours"] > 0, figure
        assert figure["ceiling"] > 0, figure


@pytest.mark.parametrize(
    ("ours", "is_most", "is_met"),
    [(80, False, True), (79, False, False), (80, True, True), (81, True, False)],
)
def test_a_target_is_met_from_its_own_side(
    *, ours: float, is_most: bool, is_met: bool
) -> None:
    figure = Figure("figure", "events/s", 0.8, is_most)
    assert Result("row", figure, [ours, 1, 1000], [100] * 3).is_met == is_met


def test_one_sample_that_is_off_is_no_noise() -> None:
    assert spread([100, 100, 100, 100, 900]) == 0
    assert spread([80, 90, 100, 110, 120]) == pytest.approx(0.1)


def noisy(*ratios: float) -> Comparison:
    """A rate before and after, on a machine that gets slower by a tenth meanwhile."""
    old = [1000 * (1 - 0.1 * n / len(ratios)) for n in range(len(ratios))]
    new = [rate * ratio for rate, ratio in zip(old, ratios, strict=True)]
    return Comparison("row", Figure("figure", "events/s", 0.8), new, old)


NOISE = (0.97, 1.04, 1.0, 1.06, 0.95, 1.02, 0.99, 0.93, 1.03)


def test_what_costs_15_percent_is_seen_through_the_noise() -> None:
    found = noisy(*(0.85 * ratio for ratio in NOISE))
    assert found.verdict == "slower"
    assert found.is_worse


def test_noise_is_no_difference() -> None:
    assert noisy(*NOISE).verdict == "no difference beyond the noise"
    # Twice something else was running.
    assert not noisy(*NOISE[:7], 0.5, 0.6).is_worse
    wide = (0.8, 1.1, 0.95, 1.2, 0.9, 0.93, 1.05, 0.85, 1.0)
    assert noisy(*wide).verdict == "no difference beyond the noise"


def test_more_milliseconds_are_slower() -> None:
    figure = Figure("figure", "ms", 5, is_most=True)
    assert Comparison("row", figure, [1.15] * 9, [1.0] * 9).verdict == "slower"
    assert Comparison("row", figure, [0.85] * 9, [1.0] * 9).verdict == "faster"


def test_it_says_when_the_noise_hides_what_must_be_seen() -> None:
    assert not noisy(*NOISE).is_blind
    assert noisy(0.6, 1.5, 0.7, 1.4, 0.8, 1.3, 1.0, 0.9, 1.2).is_blind


@pytest.mark.parametrize(("many", "out"), [(5, 0), (6, 0), (7, 2), (8, 3), (9, 5)])
def test_the_intervals_are_those_of_wilcoxons_tables(many: int, out: int) -> None:
    assert outside(many) == out


def test_a_revision_is_compared_with_the_working_tree() -> None:
    run = [sys.executable, "-m", "bench", "--against", "HEAD", "--rows", "map"]
    short = ["--samples", "1", "--seconds", "0.1", "--json"]
    done = subprocess.run([*run, *short], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert rows
    assert all(row["new"] > 0 and row["old"] > 0 for row in rows)
