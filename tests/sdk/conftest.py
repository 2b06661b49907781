"""Runs unmodified clients against a real gunicorn.

A test that takes `stage` runs once for each client of clients.py. On the stage are
that client (`stage.client`) and a router with an archive, both in empty directories:

    with stage.router.running():
        with stage.run() as driver:
            driver.call(*stage.calls())     # each as it comes to the client
        events = stage.arrived(len(stage.calls()))    # in the order of the archive

At the end of the inner block the driver flushes; it must then exit with 0. What is
expected is golden/NAME.json, compared by `golden.text`; `--write-golden` writes these
files anew. faults.py breaks the router while a client runs.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Router, eventually

from router.log import Log
from sdk import faults, golden
from sdk.clients import CLIENTS, HERE, Client
from sdk.golden import Run

CONF = """
[router]
data_dir = "{data}"

[sources.web]
write_key = "key"

[destinations.archive]
plugin = "jsonl"
"""

NOT_RUN = "client that was not run"


class Driver:
    """A driver that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def call(self, *calls: Mapping[str, Any], pause: float = 0.0) -> None:
        """Makes calls, each followed by a pause in seconds."""
        assert self._process.stdin
        for call in calls:
            self._process.stdin.write(json.dumps(call).encode() + b"\n")
            self._process.stdin.flush()
            time.sleep(pause)


class Stage:
    def __init__(self, client: Client, directory: Path) -> None:
        self.client = client
        self.directory = directory
        for name in ("router", "client"):
            (directory / name).mkdir()
        self.router = Router(directory / "router", CONF)

    @contextmanager
    def run(self, batch: int = 100) -> Iterator[Driver]:
        """The driver; batch: how many events make a batch."""
        self.began = datetime.now(UTC)
        environ = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"}
        output = self.directory / "driver.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [*self.client.command, self.router.url, str(batch)],
                cwd=self.directory / "client",
                env=environ | {"HOME": str(self.directory)} | dict(self.client.environ),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            yield Driver(process)
            process.communicate(timeout=90)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 0, output.read_text()[-5000:]

    def calls(self) -> list[dict[str, Any]]:
        """Every type of call, with awkward values."""
        lines = (HERE / "calls.jsonl").read_text().split("\n")
        return [json.loads(line) for line in lines if line]

    def arrived(self, at_least: int = 0) -> list[dict[str, Any]]:
        """The events in the archive, once there are so many."""
        # A page's first call takes a browser's start, beside others' on few cores.
        eventually(lambda: len(self.router.archived()) >= at_least, 60)
        return self.router.archived()

    def logged(self) -> int:
        """How many events the log has taken."""
        with closing(Log(self.router.data, partitions=8, max_disk=2**30)) as log:
            return sum(log.heads().values())

    def every_call(self, batch: int = 100) -> str:
        """Makes every type of call; returns what arrives, as in a golden file."""
        calls = self.calls()
        with self.router.running():
            with self.run(batch) as driver:
                for number, call in enumerate(calls, 1):
                    driver.call(call)
                    if "at once" in self.client.reorders:
                        self.arrived(number)
            events = self.arrived(len(calls))
        return golden.text(events, self.ran())

    def ran(self) -> Run:
        """The client's last run."""
        return Run(self.router.url, self.began, datetime.now(UTC))


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    client: Client = request.param
    if client.is_missing():
        request.node.user_properties.append((NOT_RUN, (client.name, client.get)))
        pytest.skip(f"not installed: {client.get}")
    made = Stage(client, tmp_path)
    yield made
    if made.router.process is not None:
        faults.kill(made.router)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # The reports tell, as the tests may have run in other processes.
    skipped = terminalreporter.stats.get("skipped", [])
    properties = [one for report in skipped for one in report.user_properties]
    if clients := [client for name, client in properties if name == NOT_RUN]:
        names = ", ".join(sorted({name for name, _ in clients}))
        ways = "; ".join(sorted({get for _, get in clients}))
        line = f"NOT RUN against the clients {names}. To run them: {ways}"
        terminalreporter.write_line(line, red=True, bold=True)
