"""A plugin on trial: its destination, the partner it talks to, and what came of it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pluggy
import pytest

from router import config, plugins
from router.delivery import Lanes
from router.destination import Delivery, Destination
from router.errors import CannotConnect, InvalidEvent, Outcome, PluginError
from router.events import Accepted
from router.gate import Surroundings
from router.ledger import Hold, Ledger
from router.letters import DeadLetter
from router.log import Log
from router.retry import Policy
from router.tables import TableSource
from router.testing.examples import Event, record
from router.testing.scripted import Partner

# Stands in settings for the address of the scripted partner.
PARTNER = "{partner}"

# Seconds in which what should end has ended, however slow the machine.
PATIENCE = 10.0

# Waits between attempts are short, in seconds.
QUICK = Policy(first=0.01, longest=0.05, least=0.001)


def fail(what: str, expected: str, came: str, mend: str) -> NoReturn:
    """Fails the test, and says what to do."""
    said = f"{what}: expected {expected}; came {came}\nTo mend it: {mend}"
    pytest.fail(said, pytrace=False)


def words(outcome: BaseException | None) -> str:
    """What `deliver` said."""
    if outcome is None:
        return "taken (deliver returned)"
    name = type(outcome).__name__
    if isinstance(outcome, CannotConnect):
        return f"a bug: {outcome.reason}: {outcome.__cause__}"
    if isinstance(outcome, Outcome):
        return f"{name}: {outcome.reason}"
    return f"a bug: {name}: {outcome} ({plugins.place(outcome)})"


def load(plugin: str, directories: Sequence[str | Path]) -> pluggy.PluginManager:
    """The plugin, as the router loads it; raises PluginError."""
    return plugins.manager(plugin, plugins.find([Path(one) for one in directories]))


@dataclass
class Trial:
    """One plugin with one partner, in a directory of its own.

    url: the address that stands for {partner}.
    """

    plugin: str
    plugin_dirs: Sequence[str | Path]
    settings: Mapping[str, Any]
    partner: Partner
    url: str
    directory: Path

    def destination(self, **more: Any) -> Destination:
        """The plugin as a destination, with its settings and these."""
        given = {"plugin": self.plugin, "start": "earliest", "concurrency": 1}
        values = {**given, **placed(dict(self.settings), self.url), **more}
        problems: list[str] = []
        table = TableSource(
            f"destinations.{self.plugin}", Path("settings"), values, problems
        )
        try:
            known = plugins.find([Path(one) for one in self.plugin_dirs])
        except PluginError as error:
            pytest.fail(str(error), pytrace=False)
        if self.plugin not in known:
            fail(
                f"plugin {self.plugin!r}", "one that is there",
                f"none of that name among {', '.join(sorted(known))}",
                "put it into plugins/ of the directory where pytest runs, say in "
                "`plugin_dirs` where it is, or install its package",
            )  # fmt: skip
        made, loader = None, plugins.Loader(known)
        try:
            data_dir = self.directory / "data"
            made = config.destination(self.plugin, table, data_dir, loader)
        except PluginError as error:
            table.complain(f"plugin: {error}")
        if made is None:
            fail(
                f"plugin {self.plugin!r}", "a plugin that loads with its settings",
                "\n  ".join(["", *problems]),
                "give valid ones in `settings`, or mend the plugin",
            )  # fmt: skip
        return made

    def drain(self, destination: Destination, events: Sequence[Event]) -> "Drained":
        """What lanes make of these events, in this order, from a log on disk."""
        data = self.directory / "log"
        log, ledger = Log(data, 1, 1 << 30), Ledger(data)
        with closing(log), closing(ledger):
            log.append([_accepted(event) for event in events])
            lanes = Lanes([destination], Surroundings(log, ledger, QUICK), data)
            lanes.start()
            try:
                if not eventually(lambda: _ends(ledger, destination) == log.heads()):
                    self._is_stuck(ledger.holds(destination.name))
            finally:
                _in_time(lanes.stop)
            letters = ledger.dead_letters(destination.name, limit=10_000)
            return Drained(Counter(ledger.counts(destination.name)), letters[::-1])

    def _is_stuck(self, holds: Sequence[Hold]) -> NoReturn:
        why = ", ".join(f"{hold.kind}: {hold.reason}" for hold in holds)
        fail(
            "a lane with events", f"that it is through within {PATIENCE:g} s",
            f"a lane that waits ({why or 'for deliver'})",
            "let deliver return once the partner has taken all, and raise an outcome "
            "else",
        )  # fmt: skip


@dataclass(frozen=True)
class Drained:
    """What became of events: how many of each state and code, and the dead letters,
    the oldest first."""

    counts: Mapping[tuple[str, str], int]
    letters: Sequence[DeadLetter]


def prepared(destination: Destination, event: Event, number: int = 0) -> Delivery:
    """What the destination makes of an event that a client sent."""
    try:
        return destination.prepare(record(event, number))
    except InvalidEvent as error:
        fail(
            f"the event {dict(event)}", "one that the router accepts", error.reason,
            "write in `events` what a client sends",
        )  # fmt: skip


def attempt(
    destination: Destination, deliveries: Sequence[Delivery], *, times: int = 1
) -> BaseException | None:
    """What `deliver` raised with a client of its own, or None; sent that many times.

    It runs in a thread, as in a lane, so that one that blocks for ever is seen.
    """
    outcomes: list[BaseException | None] = []

    def run() -> None:
        client: Any = None
        try:
            client = destination.connect()
            for _ in range(times):
                destination.deliver(deliveries, client)
            outcomes.append(None)
        except BaseException as error:
            outcomes.append(error)
        finally:
            with suppress(Exception):
                client.close()

    if not _in_time(run):
        fail(
            "deliver", f"an end within {PATIENCE:g} s", "none: it blocks",
            "call the partner through `client`, which keeps the setting `timeout`",
        )  # fmt: skip
    return outcomes[0]


@contextmanager
def beside(partner: Partner) -> Iterator[list[threading.Thread]]:
    """Fills the list, at its end, with the threads that were started within and still
    run, the partner's left out."""
    before, left = set(threading.enumerate()), list[threading.Thread]()
    yield left

    def others() -> list[threading.Thread]:
        ours = {*before, *partner.threads()}
        return [one for one in threading.enumerate() if one not in ours]

    eventually(lambda: not others(), 2.0)
    left += others()


def eventually(claim: Any, seconds: float = PATIENCE) -> bool:
    """Whether the claim comes true in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def placed(value: Any, url: str) -> Any:
    """The settings with the partner's address put in."""
    if isinstance(value, str):
        return value.replace(PARTNER, url)
    if isinstance(value, Mapping):
        return {key: placed(item, url) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [placed(item, url) for item in value]
    return value


def _accepted(event: Event) -> Accepted:
    kept = record(event)
    user = str(kept.event.get("anonymousId") or kept.event.get("userId"))
    return Accepted(kept.source, kept.message_id, user, kept.received_at, kept.body)


def _ends(ledger: Ledger, destination: Destination) -> dict[int, int]:
    return {n: end for n, (_, end) in ledger.offsets(destination.name).items()}


def _in_time(run: Any) -> bool:
    """Whether it ends in time, in a thread that is left alone if not."""
    thread = threading.Thread(target=run, name="on trial", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return not thread.is_alive()
