"""A destination: a configured instance of a plugin, and what it makes of an event.

select -> transform -> require -> map        (here: pure, the same for `explain`)
                                      -> deliver -> commit   (delivery)
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pluggy

from router import codec
from router.errors import (
    CannotConnect,
    Misconfigured,
    Outcome,
    Partial,
    Rejected,
    Retry,
)
from router.events import ALL, TYPES, user_key
from router.letters import DeadLetter, Retried
from router.log import Record
from router.plugins import describe
from router.requirements import check, declared
from router.settings import DestinationSettings
from router.transforms import CannotTransform, Transforms

DELIVERED, SKIPPED, DEAD = "delivered", "skipped", "dead"
PLUGIN_ERROR = "plugin_error"


class Delivery:
    """An event on its way to a destination.

    state is None while it is pending; `code` and `reason` say why it was skipped or
    died, `problems` which requirements it misses, `detail` what helps to find out,
    `changes` what the destination's rules did to the event. user is its user key. json
    is the payload, written; the payload itself is None once it was let go.
    """

    # Attributes of the class cost nothing until they are set.
    payload: Any = None
    json: bytes = b""
    state: str | None = None
    code: str = ""
    reason: str = ""
    problems: Sequence[str] = ()
    detail: str = ""
    changes: Sequence[str] = ()
    user: str = ""
    attempts: int = 0

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def size(self) -> int:
        """Bytes of its payload as JSON."""
        return len(self.json)

    @property
    def letter(self) -> DeadLetter | None:
        """The dead letter that is tried again here, if it is one."""
        return self.record.letter if isinstance(self.record, Retried) else None

    def let_go(self, *, payload: bool) -> None:
        """Lets go of the event, parsed, and of the payload, if its JSON is all that is
        sent. Objects that live until their batch is full cost more than those that live
        for a moment: the caches have not room for all, and garbage is looked for."""
        try:  # noqa: SIM105 - `suppress` takes as long as the rest
            del self.record.event
        except AttributeError:
            pass  # it could not be parsed
        if payload:
            self.payload = None

    def settle(self, state: str, code: str, reason: str = "") -> None:
        """Says what became of it."""
        self.code, self.reason = code, reason
        # Last, as another thread may commit what it sees settled.
        self.state = state

    def fail(self, error: BaseException, attempts: int = 0) -> None:
        """It died of an outcome of `deliver`, or of a bug in it."""
        self.attempts = attempts
        if isinstance(error, Outcome):
            self.detail = error.detail
            self.settle(DEAD, error.code, error.reason)
        else:
            self.blame(error)

    def blame(self, error: BaseException, reason: str = "") -> None:
        """It died of a bug in the plugin, whose traceback is kept."""
        self.detail = "".join(traceback.format_exception(error))
        said = reason or f"the plugin raised {describe(error)}"
        self.settle(DEAD, PLUGIN_ERROR, said)


class Destination:
    """A plugin with its settings, ready to prepare and deliver."""

    def __init__(
        self, name: str, settings: DestinationSettings, manager: pluggy.PluginManager
    ) -> None:
        self.name = name
        self.settings = settings
        self.plugin = settings.plugin
        self._hooks = manager.hook
        hooks = {kind: getattr(manager.hook, kind) for kind in TYPES}
        self._mapping = {
            kind: _mapping(hook) for kind, hook in hooks.items() if hook.get_hookimpls()
        }
        self._names = {name, self.plugin, *settings.integration_names}
        self._rules = Transforms.of(settings.keep, settings.drop, settings.hash)
        # By name as the plugin spells it, as most events do; and in any spelling.
        self._declared = declared(self._hooks.requirements(settings=settings))
        self.requirements = {_plain(n): some for n, some in self._declared.items()}

    def prepare(self, record: Record) -> Delivery:
        """What becomes of an event before anything is sent: a payload, or why not.

        Never raises: a bug in the plugin makes a dead letter with its traceback.
        """
        delivery = Delivery(record)
        try:
            event: Mapping[str, Any] = record.event
            if skip := self._reason_to_skip(record.source, event):
                delivery.settle(SKIPPED, *skip)
                return delivery
            # Before the plugin can change the event that it gets.
            delivery.user = user_key(event)
            event, delivery.changes = self._rules.apply(event)
            if problems := self._problems(event):
                delivery.problems = problems
                delivery.settle(DEAD, "requirements", "; ".join(problems))
            else:
                self._map(delivery, event)
        except CannotTransform as error:
            delivery.settle(DEAD, "transform", str(error))
        except Rejected as error:
            delivery.problems = [error.reason]
            delivery.settle(DEAD, error.code, error.reason)
        except BaseException as error:
            delivery.blame(error)
        return delivery

    @property
    def uses_client(self) -> bool:
        """Whether `deliver` takes the client, and so can be heard without a partner."""
        hooks = self._hooks.deliver.get_hookimpls()
        return any("client" in one.argnames for one in hooks)

    def connect(self) -> Any:
        """A client for one thread; raises an outcome if there is none, which is the
        fault of no event."""
        try:
            return self._hooks.connect(settings=self.settings)
        except (Retry, Misconfigured):
            raise
        except BaseException as error:
            told = "".join(traceback.format_exception(error))
            what = f"connect raised {describe(error)}"
            raise CannotConnect(what, detail=told) from error

    def deliver(self, deliveries: Sequence[Delivery], client: Any) -> None:
        """Hands the payloads to the plugin; raises what it raises."""
        as_json = self.settings.payloads_as_json
        payloads = [one.json if as_json else one.payload for one in deliveries]
        try:
            said = self._hooks.deliver(
                payloads=payloads, settings=self.settings, client=client
            )
        except Partial as error:
            if not error.rejected.keys() <= set(range(len(payloads))):
                raise IndexError("Partial names what is not in the batch") from None
            raise
        if said is not None:
            raise TypeError("deliver must return nothing, or raise an outcome")

    def sandbox(self) -> Any:
        """The plugin's imitation of its partner, a WSGI app, or None."""
        return self._hooks.sandbox(settings=self.settings)

    def _reason_to_skip(
        self, source: str, event: Mapping[str, Any]
    ) -> tuple[str, str] | None:
        """The code and the reason, if the event is not for this destination."""
        settings, kind = self.settings, event["type"]
        if settings.sources and source not in settings.sources:
            return "source_not_selected", "not one of its `sources`"
        if settings.types and kind not in settings.types:
            return "type_not_selected", "not one of its `types`"
        if settings.events and not _matches(event.get("event"), settings.events):
            return "event_not_selected", "not one of its `events`"
        if not is_switched_on(event.get("integrations"), self._names):
            return "integrations", "the event's `integrations` object switches it off"
        if kind not in self._mapping:
            return "unsupported_type", f"{self.plugin} takes no {kind} calls"
        return None

    def _problems(self, event: Mapping[str, Any]) -> list[str]:
        if event["type"] != "track":
            return []
        name = event["event"]
        needs = self._declared.get(name) or self.requirements.get(_plain(name))
        return check(needs, event) if needs else []

    def _map(self, delivery: Delivery, event: Mapping[str, Any]) -> None:
        payload = self._mapping[event["type"]](event, self.settings)
        if payload is None:
            what = f"{self.plugin} does not take this event"
            delivery.settle(SKIPPED, "unsupported_event", what)
            return
        try:
            delivery.payload, delivery.json = payload, codec.dumps(payload)
        except (TypeError, ValueError) as error:
            delivery.blame(error, f"{event['type']} returned what is no JSON")


def _mapping(hook: pluggy.HookCaller) -> Callable[[Any, Any], Any]:
    """The hook as a function of event and settings: the plugin's own where it is that,
    as pluggy's way to it takes as long as half of a mapping."""
    first, *others = hook.get_hookimpls()
    is_plain = not (others or first.wrapper or first.hookwrapper)
    if is_plain and first.argnames == ("event", "settings"):
        function: Callable[[Any, Any], Any] = first.function
        return function
    return lambda event, settings: hook(event=event, settings=settings)


def is_switched_on(integrations: Any, names: set[str]) -> bool:
    """What an event's `integrations` object says to a destination of these names.

    A name wins over `All`, and false wins over true. Anything but false and null
    under a name means yes, an object of options too. Names are matched exactly; one
    that is spelt in another case counts where no other name is given.
    """
    # Almost no event says false; a 0 looks like one here, but not below.
    if not isinstance(integrations, dict) or False not in integrations.values():
        return True
    given = {name: v for name, v in integrations.items() if v is not None and v != ""}
    said = [given[name] for name in names if name in given]
    if not said:
        folded = {name.casefold() for name in names}
        said = [v for name, v in given.items() if name.casefold() in folded]
    if said:
        return not any(value is False for value in said)
    return not any(given.get(name) is False for name in ALL)


def _matches(name: Any, globs: Sequence[str]) -> bool:
    return isinstance(name, str) and any(fnmatchcase(name, glob) for glob in globs)


def _plain(name: Any) -> str:
    return name.strip().casefold() if isinstance(name, str) else ""
