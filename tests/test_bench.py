"""That each row of the benchmark still runs; how fast is for `make bench` to say."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))

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
        # A partner may have an event before its client has read the answer.
        assert figure["ours"] > 0 or row == "delay", figure
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
