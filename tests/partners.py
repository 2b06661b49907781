"""A partner that does what a script says, the plugin that delivers to it, and a place
where lanes run between the two. Run as a program, it accepts events in a process of
its own."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

from router import codec, config
from router.delivery import Lanes
from router.events import Accepted
from router.gate import Surroundings
from router.ledger import Hold, Ledger
from router.log import Log
from router.retry import Policy
from router.wakeup import ring

ROOT = Path(__file__).parent.parent

QUICK = Policy(first=0.01, longest=0.05, least=0.001)

PLUGIN = """
import os

from pydantic import Field

from router import DestinationSettings, Misconfigured, Partial, Rejected, Retry
from router import TooLarge, codec, hookimpl


class Settings(DestinationSettings):
    url: str = Field(description="the scripted partner")


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event):
    if event["event"] == "Bug":
        return {}["a bug in the mapping"]
    if event["event"] == "Confused":
        raise Misconfigured("no mapping may say so")
    if event["event"] == "Unknown":
        return None
    return {"id": event["messageId"]}


@hookimpl
def deliver(payloads, settings, client):
    headers = {"X-Process": str(os.getpid())}
    said = client.post(settings.url, data=codec.dumps(payloads), headers=headers).json()
    match said["outcome"]:
        case "retry":
            raise Retry("unwell", said["after"])
        case "rejected":
            raise Rejected("not that one", said["index"])
        case "partial":
            raise Partial({n: Rejected(f"not number {n}") for n in said["indices"]})
        case "too_large":
            raise TooLarge("too much")
        case "misconfigured":
            raise Misconfigured("wrong key")
        case "bug":
            raise ZeroDivisionError
"""

Answer = Mapping[str, Any]

TAKEN = {"outcome": "taken"}
TOO_LARGE = {"outcome": "too_large"}
MISCONFIGURED = {"outcome": "misconfigured"}
BUG = {"outcome": "bug"}


def retry(after: float | None = None) -> Answer:
    return {"outcome": "retry", "after": after}


def rejected(index: int | None = None) -> Answer:
    return {"outcome": "rejected", "index": index}


def partial(*indices: int) -> Answer:
    return {"outcome": "partial", "indices": indices}


@dataclass(frozen=True)
class Request:
    """ids: of its events, in order. attempt: how often the same were sent, from 1."""

    destination: str
    body: bytes
    ids: tuple[str, ...]
    process: int
    began: float
    attempt: int


class Partner:
    """Keeps what it was sent and what it took; script says how it answers."""

    def __init__(self) -> None:
        self.script: Callable[[Request], Answer] = lambda request: TAKEN
        self.requests: list[Request] = []
        self.most_at_once: dict[str, int] = defaultdict(int)
        self._taken: dict[str, list[str]] = defaultdict(list)
        self._times: dict[str, float] = {}
        self._busy: dict[str, int] = defaultdict(int)
        self._attempts: dict[tuple[str, ...], int] = defaultdict(int)
        self._lock = threading.Lock()

    def answer(self, destination: str, body: bytes, process: int) -> Answer:
        ids = tuple(payload["id"] for payload in json.loads(body))
        with self._lock:
            self._attempts[destination, *ids] += 1
            attempt = self._attempts[destination, *ids]
            request = Request(
                destination, body, ids, process, time.monotonic(), attempt
            )
            self.requests.append(request)
            self._busy[destination] += 1
            self.most_at_once[destination] = max(
                self.most_at_once[destination], self._busy[destination]
            )
        try:
            said = self.script(request)
        finally:
            with self._lock:
                self._busy[destination] -= 1
        taken = list(ids) if said == TAKEN else []
        if said["outcome"] == "partial":
            taken = [one for n, one in enumerate(ids) if n not in said["indices"]]
        with self._lock:
            self._taken[destination] += taken
            self._times |= dict.fromkeys(taken, time.monotonic())
        return said

    def taken(self, destination: str = "shop") -> list[str]:
        with self._lock:
            return list(self._taken[destination])

    def taken_at(self, event_id: str) -> float:
        return self._times[event_id]

    def sent(self, destination: str = "shop") -> list[Request]:
        with self._lock:
            return [r for r in self.requests if r.destination == destination]

    @contextmanager
    def served(self) -> Iterator[str]:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.partner = self
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    partner: Partner
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is none of the partner's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        process = int(self.headers["X-Process"])
        said = self.server.partner.answer(self.path.strip("/"), body, process)
        content = json.dumps(said).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
        self.wfile.write(head.encode() + content)

    def log_message(self, *args: Any) -> None:
        pass


class Site:
    """A configuration, its log and its ledger, in a directory of its own."""

    def __init__(self, directory: Path, partner: Partner, url: str) -> None:
        self.directory = directory
        self.partner = partner
        self.url = url
        self.conf = directory / "conf.d"
        self.data = directory / "data"
        self.plugins = directory / "plugins"
        self.conf.mkdir()
        self.plugins.mkdir()
        self.write_plugin("scripted", PLUGIN)

    def write_plugin(self, name: str, source: str) -> None:
        (self.plugins / f"{name}.py").write_text(source)

    def configure(
        self, *destinations: str, partitions: int = 4, **keys: str | int | bool
    ) -> None:
        """Gives each destination these keys; it posts to the path of its name."""
        keys = {"plugin": "scripted", "start": "earliest", **keys}
        lines = [
            f'[router]\ndata_dir = "{self.data}"\nplugin_dirs = ["{self.plugins}"]',
            f'partitions = {partitions}\n[sources.web]\nwrite_key = "key"',
        ]
        for name in destinations or ("shop",):
            lines.append(f'[destinations.{name}]\nurl = "{self.url}/{name}"')
            lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        (self.conf / "all.toml").write_text("\n".join(lines))
        self.close()
        self.log = Log(self.data, partitions, 1 << 30)
        self.ledger = Ledger(self.data)

    def close(self) -> None:
        """Closes what this thread has open of the log and the ledger."""
        for one in (getattr(self, "log", None), getattr(self, "ledger", None)):
            if one is not None:
                one.close()

    @contextmanager
    def delivering(
        self, policy: Policy = QUICK, clock: Callable[[], float] = time.time
    ) -> Iterator[Lanes]:
        """Lanes of this process, as conf.d has them now."""
        destinations = config.load(self.conf, {}).destinations.values()
        lanes = Lanes(
            destinations, Surroundings(self.log, self.ledger, policy, clock), self.data
        )
        lanes.start()
        try:
            yield lanes
        finally:
            stop(lanes)

    @contextmanager
    def process(self) -> Iterator["subprocess.Popen[bytes]"]:
        """A `router deliver` in a process of its own."""
        environ = os.environ | {"PYTHONPATH": str(ROOT), "ROUTER_CONF": str(self.conf)}
        with (self.directory / "output.log").open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "router", "deliver"],
                env=environ | {"NO_PROXY": "127.0.0.1"},
                cwd=self.directory,
                stdout=output,
                stderr=output,
            )
        try:
            yield child
        except BaseException:
            print((self.directory / "output.log").read_text())
            raise
        finally:
            child.kill()
            child.wait()

    def accept(
        self, events: Iterable[tuple[str, int]], name: str = "Added"
    ) -> list[str]:
        """Appends events of (user, number) and rings; returns their ids."""
        accepted = [event(user, number, name) for user, number in events]
        ring(self.data, self.log.append(accepted).grown)
        return [one.message_id for one in accepted]

    def user_in(self, partition: int) -> str:
        names = (f"user{n}" for n in count())
        return next(n for n in names if self.log.partition_of(n) == partition)

    def dead(self, destination: str = "shop") -> list[str]:
        """The ids of dead letters, oldest first."""
        letters = self.ledger.dead_letters(destination, limit=10_000)
        return [letter.message_id for letter in reversed(letters)]

    def hold(self, destination: str = "shop") -> Hold | None:
        return next(iter(self.ledger.holds(destination)), None)

    def passed(self, destination: str = "shop") -> int:
        """How many events the destination is done with."""
        offsets = self.ledger.offsets(destination).values()
        return sum(offset - start for start, offset in offsets)

    def is_done(self, destination: str = "shop") -> bool:
        offsets = self.ledger.offsets(destination)
        return {n: o for n, (_, o) in offsets.items()} == self.log.heads()

    def check_ledger(self, destination: str = "shop") -> None:
        counts = self.ledger.counts(destination)
        letters = self.ledger.dead_letters(destination, limit=10_000)
        dead = sum(n for (state, _), n in counts.items() if state == "dead")
        dead += counts["expired", "expired"]
        assert sum(counts.values()) == self.passed(destination)
        assert dead == len(letters)


def stop(lanes: Lanes, seconds: float = 15.0) -> None:
    thread = threading.Thread(target=lanes.stop, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "the lanes did not stop"


def event(user: str, number: int, name: str = "Added") -> Accepted:
    content = {
        "type": "track",
        "event": name,
        "anonymousId": user,
        "messageId": f"{user}:{number}",
    }
    body = codec.dumps(content)
    return Accepted("web", content["messageId"], user, 1_700_000_000_000, body)


def accept_lines(data_dir: Path, partitions: int) -> None:
    """For each line "user number" accepts an event, and answers when it was on disk."""
    log = Log(data_dir, partitions, 1 << 30)
    for line in sys.stdin:
        user, number = line.split()
        grown = log.append([event(user, int(number))]).grown
        stored = time.monotonic()
        ring(data_dir, grown)
        print(stored, flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        accept_lines(Path(sys.argv[1]), int(sys.argv[2]))
