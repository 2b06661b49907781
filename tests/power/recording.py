"""A router that is recorded at work, and what a power cut would have left of it."""

import json
import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import requests
from conftest import Router, eventually
from faults.partners import PLUGIN

from power.disk import Disk, Journal, Record
from router.id_files import HEADER
from router.testing.serving import serve

WORKERS = ("--workers", "2", "--threads", "4")
PARTITIONS = 2
CLIENTS = 2

CONF = f"""
[router]
data_dir = "{{data}}"
partitions = {PARTITIONS}
plugin_dirs = ["PLUGINS"]
retention = "RETENTION"

[sources.web]
write_key = "key"

[destinations.shop]
plugin = "hook"
url = "URL/shop"
batch_events = 10

[destinations.held]
plugin = "hook"
url = "URL/held"
batch_events = 50

[destinations.archive]
plugin = "jsonl"
batch_events = 10
"""


class Partners:
    """Of shop, which takes all, and of held, which takes nothing until it `is_well`."""

    def __init__(self, journal: Journal | None = None, *, is_well: bool) -> None:
        self.taken: dict[str, list[str]] = defaultdict(list)
        self._journal, self._is_well = journal, is_well
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        name = environ["PATH_INFO"].strip("/")
        if name == "held" and not self._is_well:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        ids = [payload["id"] for payload in json.loads(body)]
        with self._lock:
            self.taken[name] += ids
            if self._journal:
                self._journal.note({"taken": name, "ids": ids})
        start_response("200 OK", [("Content-Length", "0")])
        return []


def make(user: str, number: int) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Viewed",
        "userId": user,
        "messageId": f"{user}:{number}",
        "properties": {"filler": "x" * 300},
    }


def work(
    router: Router, journal: Journal, client: int, is_enough: threading.Event
) -> None:
    """A client: sends batch after batch, each when the one before was answered."""
    dice = random.Random(client)
    numbers: dict[str, Iterator[int]] = defaultdict(count)
    with requests.Session() as session:
        while not is_enough.is_set():
            users = dice.choices([f"c{client}u{n}" for n in range(3)], k=5)
            batch = [make(user, next(numbers[user])) for user in users]
            ids = [event["messageId"] for event in batch]
            journal.note({"sent": client, "ids": ids})
            answer = session.post(
                f"{router.url}/v1/batch", json={"batch": batch}, auth=("key", "")
            )
            if answer.status_code == 200:
                journal.note({"answered": client, "ids": ids})


def begun(directory: Path) -> Journal:
    """The journal of what will be below disk/."""
    (directory / "disk").mkdir()
    return Journal(directory / "disk", directory / "journal")


def made(directory: Path, url: str, retention: str) -> Router:
    directory.mkdir(exist_ok=True)
    router = Router(directory)
    router.data = directory / "disk" / "data"
    plugins = directory / "plugins"
    plugins.mkdir()
    (plugins / "hook.py").write_text(PLUGIN)
    conf = CONF.replace("PLUGINS", str(plugins)).replace("URL", url)
    router.configure(conf.replace("RETENTION", retention))
    return router


@dataclass
class Recording:
    root: Path
    records: Sequence[Record]
    first: int  # the record of the first answer


def record(directory: Path, library: Path) -> Recording:
    """Records a router under load, until it has removed some segments."""
    journal = begun(directory)
    partners = Partners(journal, is_well=False)
    is_enough = threading.Event()
    with serve(partners) as url:
        router = made(directory, url, "3s")
        with router.running(*WORKERS, **journal.environ(library)):
            clients = [
                threading.Thread(target=work, args=(router, journal, n, is_enough))
                for n in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            try:
                eventually(lambda: oldest(router) > 3, 60)
            finally:
                is_enough.set()
                for client in clients:
                    client.join()
    records = list(journal.records())
    first = next(n for n, one in enumerate(records) if "answered" in noted(one))
    return Recording(journal.root, records, first)


def oldest(router: Router) -> int:
    """The number of the oldest segment."""
    found = router.data.glob("log/0*.db")
    return min((int(file.stem) for file in found), default=0)


def noted(record: Record) -> dict[str, Any]:
    return json.loads(record.data) if record.kind == "N" else {}


@dataclass
class Seen:
    """What clients were answered, and partners took, until a cut."""

    answered: list[str] = field(default_factory=list)
    unanswered: dict[int, list[str]] = field(default_factory=dict)
    taken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, note: dict[str, Any]) -> None:
        match note:
            case {"sent": client, "ids": ids}:
                self.unanswered[client] = ids
            case {"answered": client, "ids": ids}:
                self.answered += ids
                del self.unanswered[client]
            case {"taken": name, "ids": ids}:
                self.taken[name] += ids


def cut(recording: Recording, seed: int, target: Path) -> Seen:
    """Cuts the power at some moment after the first answer, for seed 0 right then."""
    dice = random.Random(seed)
    last = len(recording.records)
    moment = dice.randrange(recording.first, last) if seed else recording.first
    disk, seen = Disk(recording.root), Seen()
    for record in recording.records[: moment + 1]:
        if record.kind == "N":
            seen.add(noted(record))
        else:
            disk.replay(record)
    disk.after_cut(dice, target)
    boot_anew(target / "data")
    return seen


def boot_anew(data: Path) -> None:
    """As after a cut: no file is of this boot of the machine."""
    for path in data.glob("log/ids-0*"):
        header = HEADER.unpack(path.read_bytes()[: HEADER.size])
        with path.open("r+b") as file:
            file.write(HEADER.pack(*header[:2], b"another boot....", *header[3:]))
