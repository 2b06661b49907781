"""The sum of what was done to the router, and what came of it, after all trials."""

from collections import Counter

import pytest

from faults.oracle import Verdict

VERDICTS = pytest.StashKey[list[Verdict]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[VERDICTS] = []


@pytest.fixture
def verdicts(request: pytest.FixtureRequest) -> list[Verdict]:
    """Those of all trials so far."""
    return request.config.stash[VERDICTS]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    verdicts = config.stash.get(VERDICTS, [])
    if not verdicts:
        return
    done, figures = Counter[str](), Counter[str]()
    for verdict in verdicts:
        done.update(verdict.done)
        figures.update(verdict.counts)
    broken = sum(bool(verdict.violations) for verdict in verdicts)
    terminalreporter.section(f"the oracle: {len(verdicts)} trials, {broken} broken")
    for name, number in figures.items():
        terminalreporter.write_line(f"{number} {name}")
    terminalreporter.write_line("done to the system:")
    for name, number in sorted(done.items()):
        terminalreporter.write_line(f"  {number} {name}")
    for one in sorted({name for verdict in verdicts for name in verdict.left_out}):
        terminalreporter.write_line(f"left out: {one}")
