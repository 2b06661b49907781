"""The processes that are measured, and those that measure.

Both sides of a row are up at once and take turns; who waits for its turn is stopped
(SIGSTOP), so that it costs the other nothing.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import urlopen

from bench import machine

# Requests under way at once: as many as the threads of the shipped gunicorn.conf.py.
CONNECTIONS = 16
WORKERS = 2

# Nothing that is waited for takes so long, in seconds.
LONGEST = 120.0


@dataclass(frozen=True)
class Place:
    """Where one side of a row runs.

    root: a checkout of the router. directory: its own, on a disk. seconds: what a
    sample takes, about. events: how many a full log has.
    """

    root: Path
    directory: Path
    seconds: float = 2.0
    events: int = 10_000_000

    def within(self, name: str) -> "Place":
        """A new directory in this one."""
        directory = self.directory / name
        directory.mkdir(parents=True)
        return replace(self, directory=directory)

    def share(self, events: int) -> int:
        """So many events as go with the usual two seconds, in hundreds."""
        return max(100, int(events * self.seconds / 2) // 100 * 100)


class Process:
    """A program with its children, stopped until it is its turn."""

    def __init__(self, popen: subprocess.Popen[bytes], port: int = 0) -> None:
        self.popen, self.port = popen, port

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Goes on within, and is stopped outside."""
        self.signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.signal(signal.SIGSTOP)

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def children(self) -> list[int]:
        """The ids of its processes but the first."""
        path = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


@contextmanager
def started(
    place: Place,
    command: Sequence[str | Path],
    more: Mapping[str, str] = {},
    output: int | IO[bytes] | None = None,
) -> Iterator[Process]:
    """A program that runs the router of the place, or a ceiling; ended at the end."""
    path = os.pathsep.join([str(place.root), str(machine.HERE / "ceilings")])
    environ = {**os.environ, "PYTHONPATH": path, "NO_PROXY": "127.0.0.1", **more}
    popen = subprocess.Popen(
        command, cwd=place.directory, env=environ, stdout=output, start_new_session=True
    )
    process = Process(popen)
    try:
        yield process
    finally:
        process.signal(signal.SIGCONT)
        popen.terminate()
        try:
            popen.wait(10)
        except subprocess.TimeoutExpired:
            process.signal(signal.SIGKILL)
            popen.wait()


@contextmanager
def gunicorn(
    place: Place, app: str = "router", workers: int = WORKERS, **more: str
) -> Iterator[Process]:
    """The router with its own gunicorn.conf.py, or a ceiling with the same."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--log-level", "warning"]
    command += ["--config", str(place.root / "gunicorn.conf.py"), app]
    environ = {"PORT": str(port), "WEB_CONCURRENCY": str(workers), **more}
    with started(place, command, environ) as process:
        process.port = port
        wait_for(lambda: len(process.children()) >= workers and is_ready(port), process)
        process.signal(signal.SIGSTOP)
        yield process


def is_ready(port: int) -> bool:
    """Whether it answers at all: a ceiling knows no `/ready`."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            return True
    except HTTPError as error:
        return error.code == 404
    except OSError:
        return False


def load(
    port: int, path: str, batch: int, *, seconds: float = LONGEST, events: int = 1 << 40
) -> float:
    """Posts events for so long, or so many; events a second that were answered 200."""
    command: list[str | Path] = [
        machine.tool("load"),
        str(port),
        path,
        machine.EVENT,
        str(batch),
    ]
    command += [str(CONNECTIONS), str(seconds), str(events)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    taken, took, refused = (float(part) for part in done.stdout.split())
    if refused or not taken:
        raise machine.Unable(f"{refused:.0f} of the requests to {path} were refused")
    return taken / took


@dataclass(frozen=True)
class Seen:
    """What a partner has got: events, how many in the first request, and the instants
    of the first and the last request, in monotonic seconds."""

    events: int
    first_events: int
    first: float
    last: float

    @property
    def rate(self) -> float:
        """Events a second from the first receipt to the last."""
        return (self.events - self.first_events) / (self.last - self.first)


class Partner:
    """The partner that all deliveries go to."""

    def __init__(self, port: int, process: Process) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process = process

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within, it answers nobody until it is back."""
        self._process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.signal(signal.SIGCONT)

    def back(self) -> float:
        """Answers all that have come; the instant, in monotonic seconds."""
        self._process.signal(signal.SIGCONT)
        return time.monotonic()

    def seen(self) -> Seen:
        with urlopen(f"{self.url}/", timeout=10) as answer:
            events, first_events, first, last = answer.read().split()
        return Seen(int(events), int(first_events), float(first), float(last))

    def forget(self) -> None:
        with urlopen(f"{self.url}/forget", timeout=10):
            pass

    def wait(self, events: int, process: Process) -> Seen:
        """What it has seen when it has had so many."""
        wait_for(lambda: self.seen().events >= events, process, 0.05)
        return self.seen()


@contextmanager
def partner(place: Place, record: Path | None = None) -> Iterator[Partner]:
    """A partner; record: a file that gets a line for each request."""
    command = [machine.tool("partner"), *([record] if record else [])]
    with started(place, command, output=subprocess.PIPE) as process:
        assert process.popen.stdout
        with process.popen.stdout as output:
            port = int(output.readline())
        yield Partner(port, process)


def wait_for(is_so: Callable[[], bool], process: Process, every: float = 0.1) -> None:
    """Waits until is_so() is; raises Unable when the process ends, or takes forever."""
    deadline = time.monotonic() + LONGEST
    while not is_so():
        if process.popen.poll() is not None:
            raise machine.Unable(f"ended with {process.popen.returncode}")
        if time.monotonic() > deadline:
            raise machine.Unable(f"waited {LONGEST:.0f} s in vain")
        time.sleep(every)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configure(
    place: Place, to: Mapping[str, Mapping[str, object]] = {}, *, deliver: bool = True
) -> None:
    """Writes the conf.d of a router with these destinations; else all is default."""
    tables: dict[str, Mapping[str, object]] = {
        "router": {"data_dir": "data", "deliver": deliver},
        "sources.web": {"write_key": "key"},
    }
    tables |= {f"destinations.{name}": keys for name, keys in to.items()}
    lines = []
    for name, keys in tables.items():
        lines.append(f"[{name}]")
        # Text, numbers and booleans are in TOML as they are in JSON.
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    (place.directory / "conf.d").mkdir(exist_ok=True)
    (place.directory / "conf.d" / "all.toml").write_text("\n".join(lines) + "\n")


def movable_ink(partner: Partner, *, batch: bool) -> dict[str, object]:
    """The table of a destination that posts to a partner, all of the log."""
    keys = {"plugin": "movable_ink", "start": "earliest", "api_key": "key"}
    more: dict[str, object] = {"batch": True, "batch_events": 100} if batch else {}
    return {**keys, "endpoint": f"{partner.url}/behavioral/bench", **more}
