"""`python -m bench`: measures, and prints the table.

Exits with 0; with 1 when a target is missed; with 2 when it cannot run here.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench import machine
from bench.measuring import NOISY, Result, measure, spread
from bench.rows import ROWS
from bench.running import Place


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("--rows", default="", help=f"of {', '.join(names)}")
    parser.add_argument("--samples", type=int, default=5, help="of each side of a row")
    parser.add_argument("--seconds", type=float, default=2.0, help="a sample, about")
    parser.add_argument(
        "--events", type=int, default=10_000_000, help="in the log that is full"
    )
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    parser.add_argument("--json", action="store_true", help="all samples, as JSON")
    given = parser.parse_args(arguments)
    given.rows = given.rows.split(",") if given.rows else names
    if unknown := set(given.rows) - set(names):
        parser.error(f"no row {', '.join(sorted(unknown))}, known: {', '.join(names)}")
    return given


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


HEAD = (
    f"{'':<46} {'ours':>9} {'±':>4} {'ceiling':>9} {'±':>4} {'ratio':>6} {'target':>7}"
)


def line(result: Result) -> str:
    figure = result.figure
    bound = ("≤" if figure.is_most else "≥") + f" {figure.target:g}"
    ours, ceiling = median(result.ours), median(result.ceiling)
    cells = (
        f"{figure.title:<46} {number(ours):>9} {spread(result.ours):>4.0%} "
        f"{number(ceiling):>9} {spread(result.ceiling):>4.0%} "
        f"{result.ratio:>6.2f} {bound:>7}  {figure.unit}"
    )
    return cells if result.is_met else f"{cells}  MISSED: {lack(result)}"


def lack(result: Result) -> str:
    """How far ours is from the target."""
    off = abs(result.ratio / result.figure.target - 1)
    return f"{off:.0%} too {'much' if result.figure.is_most else 'little'}"


def run(given: argparse.Namespace, directory: Path) -> list[Result]:
    place = Place(machine.ROOT, directory, given.seconds, given.events)
    found: list[Result] = []
    for row in ROWS:
        if row.name in given.rows:
            results = measure(row, place, given.samples)
            shutil.rmtree(directory / row.name)
            if not given.json:
                print("\n".join(map(line, results)), flush=True)
            found += results
    return found


def doubts(results: Sequence[Result]) -> list[str]:
    return [
        f"noisy: the ceiling of {result.row} varies by {spread(result.ceiling):.0%}"
        for result in results
        if spread(result.ceiling) > NOISY
    ]


def main() -> int:
    given, began = options(), time.monotonic()
    parent = given.directory or machine.CACHE
    parent.mkdir(exist_ok=True)
    machine.check_disk(parent)
    warnings = machine.warnings()
    if not given.json:
        print(f"{machine.CORES} cores, {machine.file_system(parent)}; medians of")
        print(f"{given.samples} samples in turns, ±: half of what the quartiles span\n")
        print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        results = run(given, Path(directory))
    warnings += doubts(results)
    if given.json:
        rows = [result.as_json() for result in results]
        print(json.dumps({"rows": rows, "warnings": warnings}, indent=1))
    else:
        print(f"\n{time.monotonic() - began:.0f} s")
    for warning in warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except machine.Unable as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
