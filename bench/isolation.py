"""What one destination that hangs costs another.

    python bench/isolation.py [SECONDS] [EVENTS_A_SECOND]

Runs `gunicorn router` with two destinations of one partner. For SECONDS (60) both are
answered at once; for as long again one of them is not answered at all. Prints how long
events took from their client's call to the other one, and the ratio of the p99s, which
should stay under 2.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parent.parent
USERS = 100

PLUGIN = """
from pydantic import Field

from router import DestinationSettings, hookimpl
from router.client import verdict


class Settings(DestinationSettings):
    url: str = Field(description="where each event is posted")


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event):
    return event["messageId"]


@hookimpl
def deliver(payloads, settings, client):
    verdict(client.post_json(settings.url, payloads[0]))
"""

CONF = """
[router]
data_dir = "data"
plugin_dirs = ["plugins"]

[sources.web]
write_key = "key"

[destinations.steady]
plugin = "bench_isolation"
url = "{partner}/steady"

[destinations.hanging]
plugin = "bench_isolation"
url = "{partner}/hanging"
"""


class Partner(ThreadingHTTPServer):
    """Notes when each event arrives at `steady`; `hanging` may be made to hang."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.arrived: dict[str, float] = {}
        self.answers = threading.Event()
        self.answers.set()

    def handle_error(self, *args: Any) -> None:
        """A call that was ended at its deadline is what this is about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Partner

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/hanging":
            self.server.answers.wait()
        else:
            self.server.arrived.setdefault(json.loads(body), time.monotonic())
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def gunicorn(directory: Path, partner: str) -> Iterator[str]:
    """A router in a directory of its own; gives its URL."""
    for folder, file, text in (
        ("conf.d", "all.toml", CONF.format(partner=partner)),
        ("plugins", "bench_isolation.py", PLUGIN),
    ):
        (directory / folder).mkdir()
        (directory / folder / file).write_text(text)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    run = [sys.executable, "-m", "gunicorn", "--config", ROOT / "gunicorn.conf.py"]
    environ = {"PYTHONPATH": str(ROOT), "PORT": port, "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(
        [*run, "--log-level", "warning", "router"],
        cwd=directory,
        env={**os.environ, **environ},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


def send(url: str, phase: str, seconds: float, rate: float) -> dict[str, float]:
    """Sends events evenly; when the call of each began, by message id."""
    called: dict[str, float] = {}
    sessions = threading.local()

    def post(number: int) -> None:
        if not hasattr(sessions, "own"):
            sessions.own = requests.Session()
        name = f"{phase}-{number}"
        event = {"userId": f"u{number % USERS}", "event": "Bench", "messageId": name}
        called[name] = time.monotonic()
        answer = sessions.own.post(
            f"{url}/v1/track", json=event, auth=("key", ""), timeout=30
        )
        answer.raise_for_status()

    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        for number in range(int(seconds * rate)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            threads.submit(post, number)
    return called


def measure(partner: Partner, called: dict[str, float], phase: str) -> float:
    """Prints the delays of a phase in milliseconds, and returns the p99."""
    deadline = time.monotonic() + 60
    while not called.keys() <= partner.arrived.keys():
        if time.monotonic() > deadline:
            raise SystemExit("events did not arrive within a minute")
        time.sleep(0.05)
    delays = sorted(
        (partner.arrived[name] - began) * 1000 for name, began in called.items()
    )
    at = {share: delays[int(len(delays) * share)] for share in (0.5, 0.9, 0.99)}
    print(
        f"{phase:<10} {len(delays):>8,} {at[0.5]:>9.1f} {at[0.9]:>9.1f} "
        f"{at[0.99]:>9.1f} {delays[-1]:>9.1f}",
        flush=True,
    )
    return at[0.99]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 50.0
    with Partner() as partner, tempfile.TemporaryDirectory() as directory:
        threading.Thread(target=partner.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{partner.server_address[1]}"
        with gunicorn(Path(directory), url) as router:
            send(router, "warm", 5, rate)
            head = ("phase", "events", "p50 ms", "p90 ms", "p99 ms", "longest")
            print("{:<10} {:>8} {:>9} {:>9} {:>9} {:>9}".format(*head))
            calm = measure(partner, send(router, "calm", seconds, rate), "calm")
            partner.answers.clear()
            hung = measure(partner, send(router, "hanging", seconds, rate), "hanging")
            partner.answers.set()
        partner.shutdown()
    print(f"p99 of the other while one hangs: {hung / calm:.2f} times that of calm")


if __name__ == "__main__":
    main()
