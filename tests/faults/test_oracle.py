"""Nothing is lost and nothing is silent, whatever is done to a real router.

make faults
FAULTS_SEEDS=20 FAULTS_SECONDS=20 pytest tests/faults    # which is the same
"""

import os
import sys

import pytest
from conftest import Router

from faults.oracle import Verdict, trial

SEEDS = int(os.environ.get("FAULTS_SEEDS", 1))
SECONDS = float(os.environ.get("FAULTS_SECONDS", 20))


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_every_promise_is_kept(
    router: Router,
    seed: int,
    verdicts: list[Verdict],
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdict = trial(router, seed, SECONDS)
    verdicts.append(verdict)
    with capsys.disabled():
        # The standard output of pytest-xdist's processes goes nowhere.
        print(f"\n{verdict}", file=sys.stderr)
    assert not verdict.violations
    assert verdict.counts["obligations"] > 100
