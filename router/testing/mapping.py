"""Rules for mapping: from an event to a payload, or a reason why there is none."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from router import codec
from router.destination import DEAD, PLUGIN_ERROR, SKIPPED, Delivery, Destination
from router.events import TYPES
from router.explain import raised
from router.testing.examples import Event, odd
from router.testing.kit import Kit
from router.testing.trial import fail, prepared

# What Python tells of before it is done (PEP 578), and no mapping has a use for.
IO = ("open", "socket.", "subprocess.", "os.system", "sqlite3.", "urllib.", "shutil.")

CHANGED = (
    "build a new object instead, and new ones of what is in it, as "
    """`{**event, "properties": {**event["properties"], ...}}`; the event is other """
    "destinations' too, and the log's"
)

_watched = threading.local()


def _watch(name: str, arguments: Any) -> None:
    seen = getattr(_watched, "seen", None)
    if seen is not None and name.startswith(IO):
        seen.append(f"{name} {str(arguments[:1])[:80]}")


@contextmanager
def io_of_this_thread() -> Iterator[list[str]]:
    """Fills the list with each file, socket or process that the thread asks for."""
    if not hasattr(_watch, "is_there"):
        # A hook is there to stay; so there is one, which mostly does nothing.
        sys.addaudithook(_watch)
        _watch.is_there = True  # type: ignore[attr-defined]
    seen: list[str] = []
    _watched.seen = seen
    try:
        yield seen
    finally:
        _watched.seen = None


def shown(event: Event) -> str:
    """Which event it is, in a message."""
    name = f" {event['event']!r}" if event.get("event") else ""
    return f"{event['type']}{name}"


def careful(event: Event) -> str:
    """What a mapping does about what may be missing or odd."""
    if event["type"] == "track":
        return (
            "declare in `requirements` what the mapping relies on (number, identifier, "
            "each, ...), and read the rest with .get"
        )
    return (
        "read with .get what may be missing, and look at its kind (`requirements` are "
        "for track calls)"
    )


def is_no_json(made: Delivery) -> bool:
    """Whether the payload, and not the mapping, is what failed."""
    where = made.detail.rsplit("  File ", 1)[-1]
    return made.code == PLUGIN_ERROR and where.startswith(f'"{codec.__file__}"')


class MappingRules(Kit):
    """Mapping is pure, and every event has an end that somebody can look up."""

    @pytest.mark.parametrize("kind", TYPES)
    def test_type(self, kind: str, tmp_path: Path) -> None:
        """A call of each type has a payload, or is skipped or dead with a reason."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            for event in self.all_events():
                if event["type"] == kind:
                    self._has_an_end(event, prepared(destination, event))

    def _has_an_end(self, event: Event, made: Delivery) -> None:
        what = f"mapping {shown(event)}"
        if made.code == PLUGIN_ERROR and not is_no_json(made):
            fail(
                what, "a payload, or None for an event that is not sent",
                f"a bug: {raised(made.detail)}",
                "return None for what the plugin does not take; raise "
                f'Rejected("why") for what it cannot; {careful(event)}',
            )  # fmt: skip
        if made.state in (SKIPPED, DEAD) and not made.reason.strip():
            fail(
                what, "a reason why it is not sent", "none",
                'give Rejected a sentence: Rejected("has no products")',
            )  # fmt: skip

    def test_something_is_sent(self, tmp_path: Path) -> None:
        """At least one of the events, the kit's or the author's, has a payload."""
        with self.trial(tmp_path) as trial:
            self.sent(trial.destination())

    def test_event_is_not_changed(self, tmp_path: Path) -> None:
        """A mapping never changes the event, nor what is in it."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            for event in self.all_events():
                made = prepared(destination, event)
                # What the delivery's record held before anybody read it.
                before, after = codec.unpack(made.record.body), made.record.event
                if repr(before) != repr(after):
                    names = {*before, *after}
                    changed = [
                        n for n in sorted(names) if before.get(n) != after.get(n)
                    ]
                    fail(
                        f"mapping {shown(event)}", "the event as it was",
                        f"other {', '.join(changed) or 'order of members'}", CHANGED,
                    )  # fmt: skip

    def test_payload_repeats(self, tmp_path: Path) -> None:
        """The same event always has the same payload: after a crash it is mapped
        again, and the partner may know by its bytes that it had it."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            first = self._mapped(destination)
            # Over the next second, where a clock would show.
            time.sleep(1.1)
            for event, once, again in zip(
                self.all_events(), first, self._mapped(destination), strict=True
            ):
                if once != again:
                    fail(
                        f"mapping {shown(event)} twice", "the same payload",
                        f"first {once!s:.300}, then {again!s:.300}",
                        "take ids and times from the event (messageId, timestamp), "
                        "none from uuid, random or the clock",
                    )  # fmt: skip

    def _mapped(self, destination: Destination) -> list[Any]:
        made = [prepared(destination, event) for event in self.all_events()]
        return [one.code or codec.dumps(one.payload).decode() for one in made]

    def test_mapping_does_no_io(self, tmp_path: Path) -> None:
        """A mapping asks nobody: no file, no socket, no process."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            # Once before, as what is imported late is read from files.
            self._mapped(destination)
            with io_of_this_thread() as seen:
                self._mapped(destination)
            if trial.partner.requests or trial.partner.asides or seen:
                fail(
                    "mapping", "neither file nor network",
                    ", ".join(dict.fromkeys(seen)) or "a request to the partner",
                    "read files in the validators of `settings` and ask the partner in "
                    "`deliver`; a mapping has the event and the settings",
                )  # fmt: skip

    def test_payload_is_json(self, tmp_path: Path) -> None:
        """A payload is what JSON can hold, and reads back the same."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            for event in self.all_events():
                made = prepared(destination, event)
                if is_no_json(made):
                    self._is_no_json(event, raised(made.detail))
                if made.state is None:
                    back = codec.loads(codec.dumps(made.payload))
                    if back != _with_lists(made.payload):
                        self._is_no_json(event, f"it reads back as {back!s:.300}")

    def _is_no_json(self, event: Event, came: str) -> None:
        fail(
            f"the payload of {shown(event)}",
            "text, numbers, true, false, null, lists and objects with text as keys",
            came,
            "write dates as text (event['timestamp'] is), sets as sorted lists, None "
            "for NaN, numbers as keys with str(...)",
        )  # fmt: skip

    def test_odd_events(self, tmp_path: Path) -> None:
        """An event that lacks what it should have, or has it in an odd form, is no bug
        of the plugin: it is sent, skipped, or dead with a reason."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            for event in self.all_events():
                # A bug with the event as it should be is another rule's.
                if prepared(destination, event).code == PLUGIN_ERROR:
                    continue
                for one in odd(event):
                    made = prepared(destination, one)
                    if made.code == PLUGIN_ERROR and not is_no_json(made):
                        fail(
                            f"mapping {shown(one)} with {_difference(event, one)}",
                            "a payload, None, or a dead letter with a reason",
                            f"a bug: {raised(made.detail)}",
                            f'{careful(event)}; or raise Rejected("why")',
                        )  # fmt: skip

    def test_requirements_report_every_problem(self, tmp_path: Path) -> None:
        """An event that misses several things has a dead letter that tells of all."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            for event in self.all_events():
                if event["type"] == "track" and not prepared(destination, event).state:
                    self._all_are_told(event, problems_with(destination))

    def _all_are_told(
        self, event: Event, problems_of: Callable[[Event], set[str]]
    ) -> None:
        properties = event.get("properties") or {}
        alone = {name: problems_of(_without(event, {name})) for name in properties}
        needed = {name for name, problems in alone.items() if problems}
        told = problems_of(_without(event, needed)) if needed else set()
        missing = set().union(*alone.values()) - told
        if missing:
            fail(
                f"{shown(event)} without {', '.join(sorted(needed))}",
                "one dead letter that lists every problem",
                f"only {sorted(told)}, without {sorted(missing)}",
                "declare what is needed in `requirements`, which checks all of it, "
                "rather than raise Rejected at the first in the mapping",
            )  # fmt: skip


def problems_with(destination: Destination) -> Callable[[Event], set[str]]:
    def problems_of(event: Event) -> set[str]:
        made = prepared(destination, event)
        is_told = made.state == DEAD and made.code != PLUGIN_ERROR
        return set(made.problems) if is_told else set()

    return problems_of


def _without(event: Event, names: set[str]) -> Event:
    kept = {k: v for k, v in event["properties"].items() if k not in names}
    return {**event, "properties": kept}


def _difference(event: Event, one: Event) -> dict[str, Any]:
    """What the odd one has otherwise, or "nothing" where it has no such member."""
    found: dict[str, Any] = {n: "nothing" for n in event if n not in one}
    for holder in ("properties", "traits"):
        before, after = event.get(holder) or {}, one.get(holder) or {}
        changed = [name for name in before if before[name] != after.get(name, before)]
        found |= {f"{holder}.{name}": after.get(name, "nothing") for name in changed}
    return found


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_lists(item) for item in value]
    return value
