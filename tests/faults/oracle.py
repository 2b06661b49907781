"""The oracle: breaks a router in every way it knows, and then asks whether it kept
its promises.

What happens, to whom and when is drawn from a seed; how the machine's scheduling mixes
it is not, so a seed that found something may need a few runs to find it again.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from conftest import Router

from faults import partners
from faults.havoc import Havoc
from faults.judge import (
    CANARY,
    HOOK,
    INK,
    PARTITIONS,
    Explained,
    Facts,
    repeats,
    violations,
)
from faults.load import Load, make, until
from faults.partners import Hook, elements, taken_by_ink
from faults.surroundings import Disk
from router.codec import loads
from router.log import Log
from router.testing.scripted import scripted

# How long what waits may take when all is well again, and a fresh event then.
CALM_SECONDS = 120.0
FRESH_SECONDS = 10.0

# How many events are compared with what `router explain` says of them.
EXPLAINED = 300


@dataclass(frozen=True)
class Verdict:
    """done: what was done to the system, how often. counts: what came of it. figures:
    what cannot be added up. left_out: what could not be done here."""

    seed: int
    done: Counter[str]
    counts: Counter[str]
    figures: dict[str, Any]
    left_out: list[str]
    violations: list[str]

    def __str__(self) -> str:
        figures = [f"{n} {what}" for what, n in self.counts.items()]
        figures += [f"{name} {value}" for name, value in self.figures.items()]
        done = [f"{n} {what}" for what, n in sorted(self.done.items())]
        lines = [f"seed {self.seed}: {', '.join(figures)}", f"done: {', '.join(done)}"]
        lines += [f"left out: {one}" for one in self.left_out]
        return "\n  ".join([*lines, *(f"BROKEN: {one}" for one in self.violations)])


def trial(router: Router, seed: int, seconds: float) -> Verdict:
    """Havoc for so many seconds, then calm, then judgement."""
    (router.directory / "more").mkdir()
    (router.directory / "more/hook.py").write_text(partners.PLUGIN)
    hook = Hook(seed)
    disk = Disk(router.data, router.workers)
    with closing(disk), scripted(hook) as partner:
        havoc = Havoc(router, hook, disk, partner.url, seed)
        try:
            return _tried(router, hook, havoc, seed, seconds)
        finally:
            router.stop(signal.SIGKILL)


def _tried(
    router: Router, hook: Hook, havoc: Havoc, seed: int, seconds: float
) -> Verdict:
    havoc.configure()
    havoc.start()
    load = Load(router.url, seed)
    load.start()
    try:
        havoc.wreak(seconds)
    finally:
        load.stop()
    began = time.monotonic()
    broken = []
    if not _rests(router, havoc):
        broken.append(f"not at rest after {CALM_SECONDS} s: {router.run('status')}")
    calm = time.monotonic() - began
    delay = _fresh(router, hook)
    if delay is None:
        broken.append(f"a fresh event did not go through in {FRESH_SECONDS} s")
    metrics = requests.get(f"{router.url}/metrics", timeout=10).text
    router.stop()
    facts = _facts(router, load, hook, havoc, metrics)
    unexpected = [a for a in load.answers if isinstance(a, int) and a not in (200, 503)]
    broken += [f"a client was answered {answer}" for answer in unexpected]
    return Verdict(
        seed,
        havoc.done,
        _counts(facts, load),
        {
            "longest restart": f"{havoc.longest_restart:.1f} s",
            "calm after": f"{calm:.1f} s",
            "fresh in": f"{delay or 0:.2f} s",
        },
        havoc.left_out,
        broken + violations(facts),
    )


def _counts(facts: Facts, load: Load) -> Counter[str]:
    found = Counter(
        {
            "obligations": len(facts.obligations),
            "events logged": len(facts.log),
            "payloads compared with explain's": sum(map(len, facts.explained.values())),
            "dead letters retried when the hook was mended": len(facts.retried),
        }
    )
    for name, arrivals in facts.arrivals.items():
        found[f"repeats to {name}"] = repeats([one.id for one in arrivals])
    for answer, number in sorted(load.answers.items(), key=str):
        found[f"answers {answer}"] = number
    return found


def _rests(router: Router, havoc: Havoc) -> bool:
    """What was refused just before the webhook was mended is retried once more."""
    if not until(lambda: _is_even(router), CALM_SECONDS):
        return False
    havoc.retry_letters()
    return until(lambda: _is_even(router), CALM_SECONDS)


def _is_even(router: Router) -> bool:
    rows = router.json("ledger", ok=False)
    return all(row["balanced"] and row["pending"] == 0 for row in rows)


def _fresh(router: Router, hook: Hook) -> float | None:
    """Seconds that one more event takes to both partners."""
    event = make("fresh", 0, "Product Viewed")
    began = time.monotonic()
    answer = requests.post(
        f"{router.url}/v1/track", json=event, auth=(f"{CANARY}-key", ""), timeout=10
    )
    assert answer.ok, answer.text

    def is_through() -> bool:
        both = [hook.taken, taken_by_ink(router.directory / "sandbox")]
        return all(event["messageId"] in {one.id for one in taken} for taken in both)

    if not until(is_through, FRESH_SECONDS, 0.05):
        return None
    delay = time.monotonic() - began
    # It is committed after it was taken.
    until(lambda: _is_even(router), FRESH_SECONDS)
    return delay


def _facts(router: Router, load: Load, hook: Hook, havoc: Havoc, metrics: str) -> Facts:
    letters = {}
    for name in (INK, HOOK):
        rows = router.json("dead-letters", "list", name, "--all", "--limit=100000")
        letters[name] = [(r["messageId"], r["state"], r["code"]) for r in rows]
    log = _logged(router)
    return Facts(
        obligations=load.obligations,
        log=log,
        arrivals={
            INK: taken_by_ink(router.directory / "sandbox"),
            HOOK: list(hook.taken),
        },
        letters=letters,
        retried=havoc.retried,
        explained=_explained(router, [event["messageId"] for event in log]),
        upsets=havoc.upsets,
        ledger={row["destination"]: row for row in router.json("ledger", ok=False)},
        output=router.log() + metrics,
    )


def _logged(router: Router) -> list[dict[str, Any]]:
    log = Log(router.data, PARTITIONS, 2**30)
    found = []
    for partition, head in log.heads().items():
        offset = 0
        while offset < head:
            records = log.read(partition, offset, 1000)
            found += [loads(record.body) for record in records]
            offset = records[-1].offset + 1
    log.close()
    return found


def _explained(router: Router, ids: Sequence[str]) -> dict[str, dict[str, Explained]]:
    """What is said of a sample of them, drawn anew each time."""
    sample = random.sample(ids, min(len(ids), EXPLAINED))
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("explained.py")],
        cwd=router.directory,
        env=router.environ(),
        input="\n".join(sample),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, Explained]] = {INK: {}, HOOK: {}}
    for line in done.stdout.splitlines():
        message_id, destination, outcome, code, body = json.loads(line)
        (payload,) = elements(body) if body else (None,)
        found[destination][message_id] = Explained(outcome, code, payload)
    return found
