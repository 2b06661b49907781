"""`python -m bench`: measures, and prints the table.

Exits with 0; with 1 when a target is missed, or with --against when something is
slower; with 2 when it cannot run here.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from bench import machine
from bench.compare import SEEN, Comparison, checked_out, compare
from bench.measuring import NOISY, Result, Row, measure, spread
from bench.rows import ROWS
from bench.running import Place


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("--rows", default="", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--against", metavar="REV", help="compare the working tree with a revision"
    )
    parser.add_argument(
        "--samples", type=int, help="of each side of a row: 5, or 9 with --against"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="a sample, about")
    parser.add_argument(
        "--events", type=int, default=10_000_000, help="in the log that is full"
    )
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    parser.add_argument("--json", action="store_true", help="all samples, as JSON")
    given = parser.parse_args(arguments)
    given.samples = given.samples or (9 if given.against else 5)
    if not given.rows:
        # A full log shows how it grows, which two revisions do alike; it is large.
        given.rows = [r.name for r in ROWS if not (given.against and r.is_full)]
        return given
    given.rows = given.rows.split(",")
    if unknown := set(given.rows) - set(names):
        parser.error(f"no row {', '.join(sorted(unknown))}, known: {', '.join(names)}")
    return given


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percent(share: float) -> str:
    return f"{share:>4.0%}" if share < 1 else ">99%"


HEAD = (
    f"{'':<46} {'ours':>9} {'±':>4} {'ceiling':>9} {'±':>4} {'ratio':>6} {'target':>7}"
)


def line(result: Result) -> str:
    figure = result.figure
    bound = "-"
    if figure.target is not None:
        bound = f"{'≤' if figure.is_most else '≥'} {figure.target:g}"
    ours, ceiling = median(result.ours), median(result.ceiling)
    cells = (
        f"{figure.title:<46} {number(ours):>9} {percent(spread(result.ours))} "
        f"{number(ceiling):>9} {percent(spread(result.ceiling))} "
        f"{result.ratio:>6.2f} {bound:>7}  {figure.unit}"
    )
    return cells if result.is_met else f"{cells}  MISSED: {lack(result)}"


def lack(result: Result) -> str:
    """How far ours is from the target."""
    assert result.figure.target
    off = abs(result.ratio / result.figure.target - 1)
    return f"{off:.0%} too {'much' if result.figure.is_most else 'little'}"


HEAD_COMPARED = f"{'':<46} {'new':>9} {'old':>9} {'ratio':>6} {'within':>12}"


def line_compared(one: Comparison) -> str:
    low, high = one.interval
    return (
        f"{one.figure.title:<46} {number(median(one.new)):>9} "
        f"{number(median(one.old)):>9} {one.ratio:>6.2f} {low:>6.2f}-{high:<5.2f} "
        f"{one.figure.unit}  {one.verdict}"
    )


def run(given: argparse.Namespace, directory: Path) -> list[Result]:
    """Measures beside the ceilings."""
    place = Place(machine.ROOT, directory, given.seconds, given.events)
    found: list[Result] = []
    for row in wanted(given):
        results = measure(row, place, given.samples)
        say(given, map(line, results))
        found += results
    return found


def run_compared(given: argparse.Namespace, directory: Path) -> list[Comparison]:
    """Measures the working tree beside another revision."""
    place = Place(machine.ROOT, directory, given.seconds, given.events)
    found: list[Comparison] = []
    with checked_out(given.against, directory / "checkout") as old:
        for row in wanted(given):
            results = compare(row, place, old, given.samples)
            say(given, map(line_compared, results))
            found += results
    return found


def wanted(given: argparse.Namespace) -> list[Row]:
    return [row for row in ROWS if row.name in given.rows]


def say(given: argparse.Namespace, lines: Iterable[str]) -> None:
    if not given.json:
        print("\n".join(lines), flush=True)


def doubts(results: Sequence[Result]) -> list[str]:
    return [
        f"noisy: the ceiling of {result.row} varies by {spread(result.ceiling):.0%}"
        for result in results
        if spread(result.ceiling) > NOISY
    ]


def doubts_compared(results: Sequence[Comparison]) -> list[str]:
    return [
        f"noisy: {one.row} could be {SEEN:.0%} slower unseen; give it more --samples"
        for one in results
        if one.is_blind
    ]


def main() -> int:
    given, began = options(), time.monotonic()
    # Or what it has started, and stopped, would stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    parent = given.directory or machine.CACHE
    parent.mkdir(exist_ok=True)
    machine.check_disk(parent)
    warnings = machine.warnings()
    head = f"{machine.CORES} cores, {machine.file_system(parent)}; medians of "
    head += f"{given.samples} samples in turns"
    rows: list[Result] | list[Comparison]
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        if given.against:
            say(given, [f"{head}; old is {given.against}\n", HEAD_COMPARED])
            rows = compared = run_compared(given, Path(directory))
            warnings += doubts_compared(compared)
            is_good = not any(one.is_worse for one in compared)
        else:
            say(given, [f"{head}; ±: half of what the quartiles span\n", HEAD])
            rows = measured = run(given, Path(directory))
            warnings += doubts(measured)
            is_good = all(one.is_met for one in measured)
    say(given, [f"\n{time.monotonic() - began:.0f} s"])
    if given.json:
        found = [one.as_json() for one in rows]
        print(json.dumps({"rows": found, "warnings": warnings}, indent=1))
    for warning in warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    return 0 if is_good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except machine.Unable as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
