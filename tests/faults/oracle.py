"""The oracle: breaks a router in every way it knows, and then asks whether it kept
its promises.

What happens, to whom and when is drawn from a seed; how the machine's scheduling mixes
it is not, so a seed that found something may need a few runs to find it again.
"""

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
from conftest import Router, eventually
from scripted import scripted

from faults import partners
from faults.judge import CANARY, HOOK, INK, Facts, repeats, violations
from faults.load import Load, make, until
from faults.partners import FAULTS, MOODS, TIMEOUT, Hook
from router.codec import loads
from router.log import Log

Kind = TypeVar("Kind")

WORKERS = ("--workers", "2", "--worker-class", "gthread", "--threads", "8")
GRACE = ("--graceful-timeout", "4")

CONF = f"""
[router]
data_dir = "{{data}}"
max_disk = "MAX_DISK"
sandbox = true
plugin_dirs = ["more"]

[sources.web]
write_key = "{CANARY}-key"

[destinations.{INK}]
api_key = "{CANARY}-name"
api_secret = "{CANARY}-secret"
endpoint = "http://127.0.0.1:${{{{PORT}}}}/sandbox/{INK}/behavioral/{CANARY}-path"
batch = true
batch_events = INK_EVENTS
concurrency = INK_STREAMS
timeout = "{TIMEOUT}s"

[destinations.{HOOK}]
url = "HOOK_URL/{CANARY}"
enabled = HOOK_ENABLED
batch_events = HOOK_EVENTS
concurrency = HOOK_STREAMS
timeout = "{TIMEOUT}s"
"""

USUAL = {
    "MAX_DISK": "1GiB",
    "INK_EVENTS": "20",
    "INK_STREAMS": "1",
    "HOOK_ENABLED": "true",
    "HOOK_EVENTS": "10",
    "HOOK_STREAMS": "2",
}

# How long what waits may take when all is well again, and a fresh event then.
CALM_SECONDS = 120.0
FRESH_SECONDS = 10.0


@dataclass(frozen=True)
class Verdict:
    """done: what was done to the system, how often. figures: what came of it."""

    seed: int
    done: Counter[str]
    figures: dict[str, Any]
    violations: list[str]

    def __str__(self) -> str:
        done = ", ".join(f"{n} {what}" for what, n in sorted(self.done.items()))
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        lines = [f"seed {self.seed}: {figures}", f"done: {done}"]
        return "\n  ".join([*lines, *(f"BROKEN: {one}" for one in self.violations)])


def turns(dice: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    """All kinds in any order, and again, without an end."""
    while True:
        yield from dice.sample(kinds, len(kinds))


class Havoc:
    """What is done to the router's processes and to its partners."""

    def __init__(self, router: Router, hook: Hook, url: str, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.longest_restart = 0.0
        self._router, self._hook, self._url = router, hook, url
        self._seed = seed
        self._dice = random.Random(f"{seed}/processes")
        self._calm = threading.Event()
        self._kinds: list[Callable[[], str]] = [
            self._kill_worker,
            self._kill_worker,
            self._end_worker,
            self._kill_arbiter,
            self._reload,
            self._reconfigure,
            self._stop_worker,
            self._retry_letters,
        ]

    def configure(self, **changes: str) -> None:
        conf = CONF.replace("HOOK_URL", self._url)
        for name, value in (USUAL | changes).items():
            conf = conf.replace(name, value)
        self._router.configure(conf)

    def start(self) -> None:
        """As a supervisor does: orphans keep the port until they have ended."""
        eventually(self._is_port_free, 60)
        self._router.start(*WORKERS, *GRACE)

    def _is_port_free(self) -> bool:
        try:
            socket.create_server(("", self._router.port)).close()
        except OSError:
            return False
        return True

    def wreak(self, seconds: float) -> None:
        """Goes on for so long, then sets right what can be."""
        upsetting = [
            threading.Thread(target=upset)
            for upset in (self._upset_ink, self._upset_hook)
        ]
        for thread in upsetting:
            thread.start()
        try:
            deadline = time.monotonic() + seconds
            for act in turns(self._dice, self._kinds):
                if time.monotonic() > deadline:
                    break
                self.done[act()] += 1
                time.sleep(self._dice.uniform(0, 1.2))
        finally:
            self._calm.set()
            for thread in upsetting:
                thread.join()
        eventually(lambda: partners.clear_faults(self._router.url), 20)
        self.configure()
        self._reload()

    def _upset_ink(self) -> None:
        dice = random.Random(f"{self._seed}/{INK}")
        for name in turns(dice, list(FAULTS)):
            if self._calm.wait(dice.uniform(0, 3)):
                return
            times = dice.randint(1, 6)
            if partners.give_fault(self._router.url, name, times):
                self.done[f"{INK} {name}"] += times

    def _upset_hook(self) -> None:
        dice = random.Random(f"{self._seed}/{HOOK}")
        for mood in turns(dice, MOODS):
            if self._calm.wait(dice.uniform(0, 1)):
                return
            self._hook.mood, self._hook.share = mood, dice.choice((0.3, 1.0))
            self.done[f"{HOOK} {mood}"] += 1
            self._calm.wait(dice.uniform(0.5, 2))
            self._hook.mood = "well"

    def _worker(self) -> int:
        return self._dice.choice(eventually(self._router.workers))

    def _signal(self, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            self.done["signal that came too late"] += 1

    def _kill_worker(self) -> str:
        self._signal(self._worker(), signal.SIGKILL)
        return "kill -9 of a worker"

    def _end_worker(self) -> str:
        self._signal(self._worker(), signal.SIGTERM)
        return "SIGTERM of a worker"

    def _stop_worker(self) -> str:
        pid = self._worker()
        self._signal(pid, signal.SIGSTOP)
        try:
            time.sleep(self._dice.uniform(0.5, 4))
        finally:
            # Stopped, it would outlive a trial that is interrupted.
            self._signal(pid, signal.SIGCONT)
        return "SIGSTOP of a worker"

    def _kill_arbiter(self) -> str:
        """Its workers are left to find out by themselves."""
        process = self._router.process
        assert process is not None
        process.kill()
        process.wait()
        # One that has no room is never ready.
        self.configure()
        began = time.monotonic()
        self.start()
        self.longest_restart = max(self.longest_restart, time.monotonic() - began)
        return "kill -9 of the arbiter"

    def _retry_letters(self) -> str:
        """They come back as they were: the partner has not changed its mind."""
        chosen = ("--destination", HOOK, "--code", "rejected")
        self._router.run("dead-letters", "retry", *chosen, ok=False)
        return "retry of all dead letters"

    def _reload(self) -> str:
        assert self._router.process is not None
        self._router.process.send_signal(signal.SIGHUP)
        return "HUP"

    def _reconfigure(self) -> str:
        dice = self._dice
        self.configure(
            # Clients may be turned away until the next change.
            MAX_DISK=dice.choice(("1GiB", "1MiB")),
            INK_EVENTS=str(dice.choice((1, 7, 50))),
            INK_STREAMS=str(dice.choice((1, 3))),
            HOOK_ENABLED=dice.choice(("true", "true", "false")),
            HOOK_EVENTS=str(dice.choice((1, 10, 25))),
            HOOK_STREAMS=str(dice.choice((1, 4))),
        )
        self._reload()
        return "HUP with a changed configuration"


def trial(router: Router, seed: int, seconds: float) -> Verdict:
    """Havoc for so many seconds, then calm, then judgement."""
    (router.directory / "more").mkdir()
    (router.directory / "more/hook.py").write_text(partners.PLUGIN)
    hook = Hook(seed)
    with scripted(hook) as partner:
        havoc = Havoc(router, hook, partner.url, seed)
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
        if not until(lambda: _is_even(router), CALM_SECONDS):
            broken.append(f"not at rest after {CALM_SECONDS} s: {router.run('status')}")
        calm = time.monotonic() - began
        delay = _fresh(router, hook)
        if delay is None:
            broken.append(f"a fresh event did not go through in {FRESH_SECONDS} s")
        facts = _facts(router, load, hook)
    router.stop()
    unexpected = [a for a in load.answers if isinstance(a, int) and a not in (200, 503)]
    broken += [f"a client was answered {answer}" for answer in unexpected]
    ours = {"obligations": len(facts.obligations), "logged": len(facts.log)}
    theirs: dict[str, Any] = {
        f"{n} repeats": repeats(ids) for n, ids in facts.arrivals.items()
    }
    theirs |= {"longest restart": f"{havoc.longest_restart:.1f} s"}
    times = {"calm after": f"{calm:.1f} s", "fresh in": f"{delay or 0:.2f} s"}
    figures = ours | theirs | times | {"answers": dict(load.answers)}
    return Verdict(seed, havoc.done, figures, broken + violations(facts))


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
        taken = [one["messageId"] for one in router.received()]
        return event["messageId"] in hook.taken and event["messageId"] in taken

    if not until(is_through, FRESH_SECONDS, 0.05):
        return None
    delay = time.monotonic() - began
    # It is committed after it was taken.
    until(lambda: _is_even(router), FRESH_SECONDS)
    return delay


def _facts(router: Router, load: Load, hook: Hook) -> Facts:
    letters = {}
    for name in (INK, HOOK):
        rows = router.json("dead-letters", "list", name, "--all", "--limit=100000")
        letters[name] = [(row["messageId"], row["code"]) for row in rows]
    return Facts(
        obligations=load.obligations,
        log=_logged(router),
        arrivals={
            INK: [one["messageId"] for one in router.received()],
            HOOK: list(hook.taken),
        },
        letters=letters,
        ledger={row["destination"]: row for row in router.json("ledger", ok=False)},
        output=router.log(),
    )


def _logged(router: Router) -> list[dict[str, Any]]:
    log = Log(router.data, 8, 2**30)
    found = []
    for partition, head in log.heads().items():
        offset = 0
        while offset < head:
            records = log.read(partition, offset, 1000)
            found += [loads(record.body) for record in records]
            offset = records[-1].offset + 1
    log.close()
    return found
