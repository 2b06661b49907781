"""What is done to a router: to its processes, its disk, its clock and its partners."""

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from conftest import Router, eventually

from faults import partners
from faults.judge import CANARY, HOOK, INK
from faults.partners import FAULTS, MOODS, TIMEOUT, Hook
from faults.surroundings import Clock, Disk

Kind = TypeVar("Kind")

WITHOUT_MOUNT = (
    "a filesystem of its own, as none may be mounted; instead files could not grow, or "
    "had modes that root ignores"
)
WITHOUT_COMPILER = "steps of the clock, as there is no cc to make one that can be set"

WORKERS = ("--workers", "2", "--worker-class", "gthread", "--threads", "8")
GRACE = ("--graceful-timeout", "4")

# Seconds in which workers end, and share the lanes anew, with some to spare.
SETTLING = 6.0

# Seconds that the clock is set forward or back.
CLOCKS = (3600, -3600)

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
timeout = "{TIMEOUT}s"
"""

USUAL = {
    "MAX_DISK": "1GiB",
    "INK_EVENTS": "20",
    "INK_STREAMS": "2",
    "HOOK_ENABLED": "true",
    "HOOK_EVENTS": "10",
}


def turns(dice: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    """All kinds in any order, and again, without an end."""
    while kinds:
        yield from dice.sample(kinds, len(kinds))


class Havoc:
    """done: how often which was done. upsets: from when to when something was done by
    which a lane loses what it knows of its requests, in seconds of the monotonic clock.
    retried: ids of the dead letters that were put back to work once the webhook was
    mended. left_out: what cannot be done here."""

    def __init__(
        self, router: Router, hook: Hook, disk: Disk, url: str, seed: int
    ) -> None:
        self.done: Counter[str] = Counter()
        self.upsets: list[tuple[float, float]] = []
        self.retried: list[str] = []
        self.longest_restart = 0.0
        self.disk = disk
        self.clock = Clock(router.directory)
        self.left_out = [
            what
            for what, is_here in (
                (WITHOUT_MOUNT, self.disk.is_mounted),
                (WITHOUT_COMPILER, self.clock.is_ours),
            )
            if not is_here
        ]
        self._settled_at = 0.0
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
            self.retry_letters,
            self._fill_disk,
            self._protect_disk,
        ]

    def configure(self, **changes: str) -> None:
        conf = CONF.replace("HOOK_URL", self._url)
        for name, value in (USUAL | changes).items():
            conf = conf.replace(name, value)
        self._router.configure(conf)

    def start(self) -> None:
        """As a supervisor does: orphans keep the port until they have ended."""
        eventually(self._is_port_free, 60)
        self._router.start(*WORKERS, *GRACE, **self.clock.environ)

    def _is_port_free(self) -> bool:
        try:
            socket.create_server(("", self._router.port)).close()
        except OSError:
            return False
        return True

    def wreak(self, seconds: float) -> None:
        """Goes on for so long, and until each kind has had its turn; then sets right
        what can be."""
        upsetting = [
            threading.Thread(target=upset)
            for upset in (self._upset_ink, self._upset_hook, self._upset_clock)
        ]
        for thread in upsetting:
            thread.start()
        try:
            deadline = time.monotonic() + seconds
            for number, act in enumerate(turns(self._dice, self._kinds)):
                if number >= len(self._kinds) and time.monotonic() > deadline:
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
        self._mend_hook()

    def _mend_hook(self) -> None:
        """What it refused is retried, and a worker killed while it is."""
        self._hook.is_mended = True
        refused = ("dead-letters", "list", HOOK, "--code", "rejected")
        rows = self._router.json(*refused, "--limit", "100000", ok=False)
        self.retried = [row["messageId"] for row in rows if row["state"] == "dead"]
        self.retry_letters()
        time.sleep(self._dice.uniform(0, 0.3))
        self.done[self._kill_worker()] += 1

    def _upset_clock(self) -> None:
        dice = random.Random(f"{self._seed}/clock")
        for seconds in turns(dice, CLOCKS if self.clock.is_ours else ()):
            if self._calm.wait(dice.uniform(0.5, 3)):
                return
            self.clock.set(seconds)
            self.done[f"clock set by {seconds:+d} s, and right again"] += 1
            self._calm.wait(dice.uniform(2, 4))
            self.clock.set(0)

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

    @contextmanager
    def _upsetting(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.upsets.append((began, time.monotonic()))

    def _unsettle(self) -> None:
        self._settled_at = time.monotonic() + SETTLING

    def _kill_worker(self) -> str:
        self._unsettle()
        with self._upsetting():
            self._signal(self._worker(), signal.SIGKILL)
        return "kill -9 of a worker"

    def _end_worker(self) -> str:
        self._unsettle()
        self._signal(self._worker(), signal.SIGTERM)
        return "SIGTERM of a worker"

    def _stop_worker(self) -> str:
        pid = self._worker()
        with self._upsetting():
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
        with self._upsetting():
            process.kill()
        process.wait()
        # One that has no room is never ready.
        self.configure()
        began = time.monotonic()
        self.start()
        self.longest_restart = max(self.longest_restart, time.monotonic() - began)
        self._unsettle()
        return "kill -9 of the arbiter"

    def retry_letters(self) -> str:
        """They come back as they were, until the partner changes its mind."""
        chosen = ("--destination", HOOK, "--code", "rejected")
        self._router.run("dead-letters", "retry", *chosen, ok=False)
        return "retry of all dead letters"

    def _fill_disk(self) -> str:
        self._do_without(self.disk.full())
        return "full filesystem"

    def _protect_disk(self) -> str:
        self._do_without(self.disk.read_only())
        return "read-only filesystem"

    def _do_without(self, trouble: AbstractContextManager[None]) -> None:
        """For some seconds, in which a worker may be killed."""
        # A lane that ends meanwhile cannot commit what it has sent.
        is_settled = time.monotonic() > self._settled_at
        with nullcontext() if is_settled else self._upsetting(), trouble:
            time.sleep(self._dice.uniform(0.5, 1.5))
            if self._dice.random() < 0.5:
                self.done[self._kill_worker()] += 1
            time.sleep(self._dice.uniform(0.5, 2))

    def _reload(self) -> str:
        self._unsettle()
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
        )
        self._reload()
        return "HUP with a changed configuration"
