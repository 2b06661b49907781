"""Fixtures: a configuration in a directory of its own, and real routers that run it."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parent.parent

CONF = """
[router]
data_dir = "{data}"
sandbox = true

[sources.web]
write_key = "key"

[destinations.movable_ink]
api_key = "sandbox-key"
api_secret = "sandbox-secret"
endpoint = "http://127.0.0.1:${{PORT}}/sandbox/movable_ink/behavioral/sandbox"

[destinations.archive]
plugin = "jsonl"
"""


def eventually(
    claim: Callable[[], Any], seconds: float = 10.0, every: float = 0.02
) -> Any:
    """What claim returns once it is true; fails when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)
    return found


class Router:
    """A gunicorn that serves a configuration, as an operator would run it."""

    def __init__(self, directory: Path, conf: str = CONF) -> None:
        self.directory = directory
        self.conf = directory / "conf.d"
        self.data = directory / "data"
        self.output = directory / "output.log"
        held = held_port()
        weakref.finalize(self, held.close)
        self.port = held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.conf.mkdir()
        self.configure(conf)

    def configure(self, conf: str) -> None:
        # At once, as a worker may be reading it.
        fresh = self.conf / "all.new"
        fresh.write_text(conf.format(data=self.data))
        fresh.replace(self.conf / "all.toml")

    def start(self, *options: str, **environ: str) -> None:
        """Starts `gunicorn router` in a directory that holds nothing but conf.d."""
        gunicorn = [sys.executable, "-m", "gunicorn", "router", *options]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                gunicorn,
                cwd=self.directory,
                env=self.environ() | environ,
                stdout=output,
                stderr=output,
            )
        eventually(self.is_ready, 20)

    def environ(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k != "ROUTER_CONF"}
        # Some gunicorns leave a control socket in $HOME; each router has its own.
        home = {"HOME": str(self.directory), "PORT": str(self.port)}
        return inherited | home | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return requests.get(f"{self.url}/ready", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        self.process = None
        return status

    def workers(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def post(self, path: str, content: Any, key: str = "key") -> requests.Response:
        return requests.post(
            f"{self.url}{path}", json=content, auth=(key, ""), timeout=30
        )

    def run(self, *command: str, ok: bool = True) -> str:
        """What a `router` command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "router", *command],
            cwd=self.directory,
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def json(self, *command: str, ok: bool = True) -> Any:
        return json.loads(self.run(*command, "--json", ok=ok))

    def row(self, command: str, destination: str) -> dict[str, Any]:
        """What `router status` or `router ledger` says of one destination."""
        rows = self.json(command, ok=False)
        return next(row for row in rows if row["destination"] == destination)

    def archived(self, name: str = "archive") -> list[dict[str, Any]]:
        files = sorted((self.data / name).glob("*.jsonl"))
        # The last line may be half written; and other characters than these end a line
        # for splitlines, and may be in one.
        lines = [line for f in files for line in f.read_bytes().split(b"\n")[:-1]]
        exact = partial(json.loads, parse_float=floating, parse_int=whole)
        return [exact(line) for line in lines]

    def profiles(self) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/sandbox/movable_ink/profiles", timeout=10)
        return list(answer.json()["profiles"])

    def received(self) -> list[dict[str, Any]]:
        """Everything that the Movable Ink sandbox took."""
        return [event for profile in self.profiles() for event in profile["events"]]

    def log(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    @contextmanager
    def running(self, *options: str, **environ: str) -> Iterator["Router"]:
        self.start(*options, **environ)
        try:
            yield self
        finally:
            self.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="write tests/sdk/golden anew"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("write_golden") and os.environ.get("CI"):
        raise pytest.UsageError("--write-golden: not in CI, where they are compared")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that was skipped is a failure: it should have run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("CI") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    """A router that is configured and not yet running."""
    made = Router(tmp_path)
    yield made
    if made.process is not None:
        made.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `door.Door`: a router that a file's tests share, and what comes out of it."""
    from door import opened  # which imports this file

    with opened(tmp_path_factory.mktemp("door")) as door:
        yield door


def floating(text: str) -> float | str:
    """A number, or its text where a float cannot hold it, as it cannot 1e400."""
    return float(text) if math.isfinite(float(text)) else text


def whole(text: str) -> int | str:
    """A number, or its text where an int cannot hold it, as it cannot -0."""
    return text if text == "-0" else int(text)


def held_port() -> socket.socket:
    """Keeps a port, on which nobody listens, for a server that is started later.

    Meanwhile the kernel gives it to nobody else, neither to listen nor as the near end
    of a connection. A server with SO_REUSEADDR, as gunicorn is, can have it anyway.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
