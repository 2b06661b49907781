"""What an author tells of a plugin, and what all rules are judged with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

import pluggy
import pytest

from router import cases, codec
from router.destination import PLUGIN_ERROR, Delivery, Destination
from router.errors import Outcome, PluginError
from router.explain import raised
from router.testing.examples import Event, examples, numbered
from router.testing.scripted import Request, Script, answer, scripted
from router.testing.trial import Trial, attempt, fail, load, prepared, words

Expected = type[Outcome] | None
Answer = tuple[int, Any]
Headed = tuple[int, Any, Mapping[str, str]]

Test = TypeVar("Test", bound=Callable[..., None])


def applies(when: Callable[[type["Kit"]], bool]) -> Callable[[Test], Test]:
    """A test that is there only for a plugin of which this is true."""

    def mark(test: Test) -> Test:
        test.applies = when  # type: ignore[attr-defined]
        return test

    return mark


class Kit:
    """What a subclass may say is described in `Conformance`."""

    plugin: ClassVar[str]
    plugin_dirs: ClassVar[Sequence[str | Path]] = ()
    settings: ClassVar[Mapping[str, Any]] = {}
    batch: ClassVar[Mapping[str, Any]] = {}
    events: ClassVar[Sequence[Event]] = ()
    outcomes: ClassVar[Mapping[int, Expected]] = {}
    taken: ClassVar[Answer] = (200, {})
    took_others: ClassVar[bool | None] = None
    network: ClassVar[bool] = True
    _found: ClassVar[str]

    def partial_answer(self, index: int, payloads: Sequence[Any]) -> Answer:
        """The partner's answer to a request with these payloads, when that one is bad.

        `took_others` says whether it took the others.
        """
        raise NotImplementedError

    def retry_answer(self, seconds: int) -> Answer | Headed:
        """The partner's answer when it asks to be left alone for so long."""
        return 429, {"message": "slowly"}, {"Retry-After": str(seconds)}

    def other_answer(self, request: Request) -> Answer | None:
        """The partner's answer to a request that delivers nothing, as one for a token;
        None to one that delivers."""
        return None

    def __init_subclass__(cls) -> None:
        """Leaves out the tests that do not apply: to skip them would say that
        something is missing."""
        super().__init_subclass__()
        if not hasattr(cls, "plugin"):
            return
        tests: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            tests |= {name: one for name, one in vars(base).items() if one is not None}
        for name, test in tests.items():
            if when := getattr(test, "applies", None):
                setattr(cls, name, test if when(cls) else None)

    @pytest.fixture(autouse=True)
    def _is_usable(self, request: pytest.FixtureRequest) -> None:
        # Of a plugin that cannot be used all tests would fail alike; so one does.
        if request.function.__name__ != "test_plugin_is_usable" and self._trouble():
            pytest.skip("test_plugin_is_usable says why")

    def test_plugin_is_usable(self) -> None:
        """The plugin is found, loads, and takes its settings; if not, no other test
        is run."""
        if trouble := self._trouble():
            pytest.fail(trouble, pytrace=False)

    def _trouble(self) -> str:
        """Why no rule could be tried, or nothing; looked for once."""
        kit = type(self)
        if "_found" not in vars(kit):
            kit._found = ""
            try:
                with TemporaryDirectory() as place, self.trial(Path(place)) as trial:
                    self._knows_what_it_gets(trial.destination())
            except pytest.fail.Exception as failure:
                kit._found = str(failure.msg)
        return kit._found

    def _knows_what_it_gets(self, destination: Destination) -> None:
        if not destination.settings.payloads_as_json:
            return
        _, delivery = self.sent(destination)[0]
        outcome = attempt(destination, [delivery])
        if isinstance(outcome, AttributeError | TypeError) and "byte" in str(outcome):
            fail(
                "deliver", "that it takes payloads as JSON, in bytes, as the class of "
                "the settings has payloads_as_json = True", words(outcome),
                "join the bytes, and send them as they are (client.post(url, "
                "data=...)); or, if deliver needs objects, leave payloads_as_json out",
            )  # fmt: skip

    @pytest.fixture(autouse=True)
    def _no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The partner is on this machine, where no proxy would look for it.
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")

    @contextmanager
    def trial(self, directory: Path, *scripts: Script) -> Iterator[Trial]:
        """The plugin with a partner that plays these scripts, and by default takes
        everything."""
        if self.network and "{partner}" not in codec.dumps(self.settings).decode():
            fail(
                "`settings`", "{partner} in one of them, as in "
                '{"url": "{partner}/hook"}', "none",
                "give the partner's address so, or say `network = False` of a plugin "
                "that talks to nobody",
            )  # fmt: skip
        with scripted(*scripts or (self.yes(),), aside=self._aside) as partner:
            given = (self.plugin, self.plugin_dirs, self.settings)
            yield Trial(*given, partner, partner.url, directory)

    def _aside(self, request: Request) -> bytes | None:
        other = self.other_answer(request)
        return None if other is None else self.said(*other)

    def yes(self) -> bytes:
        """What the partner says when it takes a request."""
        return self.said(*self.taken)

    def said(self, status: int, body: Any, *headers: str) -> bytes:
        """A whole answer with a JSON body."""
        kind = "Content-Type: application/json"
        return answer(f"{status} Said", kind, *headers, body=codec.dumps(body))

    def all_events(self) -> list[Event]:
        """The kit's examples and the author's."""
        mine = [numbered(one, 0) | dict(one) for one in self.events]
        return [*mine, *examples()]

    def sent(self, destination: Destination) -> list[tuple[Event, Delivery]]:
        """The events that are sent, each with its payload; fails if there is none."""
        pairs = [(one, prepared(destination, one)) for one in self.all_events()]
        found = [(event, made) for event, made in pairs if made.state is None]
        if not found:
            bugs = {raised(m.detail) for _, m in pairs if m.code == PLUGIN_ERROR}
            codes = {made.code for _, made in pairs} - {PLUGIN_ERROR}
            came = ", ".join(
                [*sorted(codes), *(f"a bug: {one}" for one in sorted(bugs))]
            )
            fail(
                "the example events", "at least one with a payload",
                f"none ({came})",
                ("mend the mapping, which raises; and " if bugs else "")
                + "give events that the plugin sends, as clients write them: "
                '`events = [{"type": "track", "event": ..., "properties": ...}]`',
            )  # fmt: skip
        return found

    def template(self, destination: Destination) -> Event:
        """An event that is sent, if there is one a track event."""
        found = [event for event, _ in self.sent(destination)]
        return next((one for one in found if one["type"] == "track"), found[0])

    def several(self, destination: Destination, count: int) -> list[Event]:
        """So many events of one kind, each of another user, in the order of time."""
        template = self.template(destination)
        return [numbered(template, number) for number in range(count)]


def networked(kit: type[Kit]) -> bool:
    return kit.network


def has_batches(kit: type[Kit]) -> bool:
    return kit.network and bool(kit.batch)


def tells_partly(kit: type[Kit]) -> bool:
    return has_batches(kit) and kit.partial_answer is not Kit.partial_answer


def has_sandbox(kit: type[Kit]) -> bool:
    hooks = loaded(kit)
    return hooks is not None and bool(hooks.hook.sandbox.get_hookimpls())


def has_cases(kit: type[Kit]) -> bool:
    return bool(cases_of(kit))


def cases_of(kit: type[Kit]) -> list[Path]:
    hooks = loaded(kit)
    return cases.files(hooks.get_plugin(kit.plugin)) if hooks else []


def loaded(kit: type[Kit]) -> pluggy.PluginManager | None:
    """The plugin, if it can be loaded."""
    try:
        return load(kit.plugin, kit.plugin_dirs)
    except PluginError:
        return None
