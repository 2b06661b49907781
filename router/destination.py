"""A destination: a configured instance of a plugin, and what it makes of an event.

select -> require -> map        (here: pure, the same for `explain`)
                         -> deliver -> commit   (delivery)
"""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import pluggy

from router import codec
from router.errors import Outcome, Rejected
from router.log import Record
from router.requirements import Requirement, check
from router.settings import DestinationSettings

DELIVERED, SKIPPED, DEAD = "delivered", "skipped", "dead"
PLUGIN_ERROR = "plugin_error"


@dataclass(frozen=True)
class Delivery:
    """An event on its way to a destination.

    state is None while it is pending; `code` and `reason` say why it was skipped or
    died, `problems` which requirements it misses, `detail` what helps to find out.
    """

    record: Record
    payload: Any = None
    size: int = 0
    state: str | None = None
    code: str = ""
    reason: str = ""
    problems: Sequence[str] = field(default=())
    detail: str = ""
    attempts: int = 0

    def delivered(self) -> "Delivery":
        return replace(self, state=DELIVERED, code=DELIVERED, payload=None)

    def skipped(self, code: str, reason: str) -> "Delivery":
        return replace(self, state=SKIPPED, code=code, reason=reason)

    def died(self, code: str, reason: str, **more: Any) -> "Delivery":
        return replace(self, state=DEAD, code=code, reason=reason, **more)


class Destination:
    """A plugin with its settings, ready to prepare and deliver."""

    def __init__(
        self, name: str, settings: DestinationSettings, manager: pluggy.PluginManager
    ) -> None:
        self.name = name
        self.settings = settings
        self.plugin = settings.plugin
        self._hooks = manager.hook
        self._names = {name, self.plugin, *settings.integration_names}
        declared: Mapping[str, Sequence[Requirement]] = self._hooks.requirements(
            settings=settings
        )
        self.requirements = {_plain(name): found for name, found in declared.items()}
        for one in chain.from_iterable(self.requirements.values()):
            if not isinstance(one, Requirement):
                raise TypeError(f"a requirement is built by router.requirements: {one}")

    def prepare(self, record: Record) -> Delivery:
        """What becomes of an event before anything is sent: a payload, or why not.

        Never raises: a bug in the plugin makes a dead letter with its traceback.
        """
        delivery = Delivery(record)
        try:
            return self._select(delivery) or self._map(delivery)
        except Rejected as error:
            return delivery.died(error.code, error.reason, problems=[error.reason])
        except (Exception, SystemExit) as error:
            return bug(delivery, error)

    def connect(self) -> Any:
        """A client for one thread."""
        return self._hooks.connect(settings=self.settings)

    def deliver(self, deliveries: Sequence[Delivery], client: Any) -> None:
        """Hands the payloads to the plugin; raises what it raises."""
        payloads = [delivery.payload for delivery in deliveries]
        said = self._hooks.deliver(
            payloads=payloads, settings=self.settings, client=client
        )
        if said is not None:
            raise TypeError("deliver must return nothing, or raise an outcome")

    def sandbox(self) -> Any:
        """The plugin's imitation of its partner, a WSGI app, or None."""
        return self._hooks.sandbox(settings=self.settings)

    def _select(self, delivery: Delivery) -> Delivery | None:
        settings, event = self.settings, delivery.record.event
        if settings.sources and delivery.record.source not in settings.sources:
            return delivery.skipped("source_not_selected", "not one of its `sources`")
        if settings.types and event["type"] not in settings.types:
            return delivery.skipped("type_not_selected", "not one of its `types`")
        if settings.events and not _matches(event.get("event"), settings.events):
            return delivery.skipped("event_not_selected", "not one of its `events`")
        if not is_switched_on(event.get("integrations"), self._names):
            return delivery.skipped(
                "integrations", "the event's `integrations` object switches it off"
            )
        return None

    def _map(self, delivery: Delivery) -> Delivery:
        event = delivery.record.event
        hook = getattr(self._hooks, event["type"])
        if not hook.get_hookimpls():
            return delivery.skipped(
                "unsupported_type", f"{self.plugin} takes no {event['type']} calls"
            )
        if event["type"] == "track":
            needed = self.requirements.get(_plain(event.get("event")), ())
            problems = check(needed, event)
            if problems:
                reason = "; ".join(problems)
                return delivery.died("requirements", reason, problems=problems)
        payload = hook(event=event, settings=self.settings)
        if payload is None:
            return delivery.skipped(
                "unsupported_event", f"{self.plugin} does not take this event"
            )
        return replace(delivery, payload=payload, size=len(codec.dumps(payload)))


def settled(delivery: Delivery, error: BaseException, attempts: int = 0) -> Delivery:
    """The dead letter that an outcome of `deliver` makes, or a bug in it."""
    if not isinstance(error, Outcome):
        return bug(delivery, error)
    return delivery.died(
        error.code, error.reason, detail=error.detail, attempts=attempts
    )


def bug(delivery: Delivery, error: BaseException) -> Delivery:
    """The dead letter that a bug in a plugin makes, with its traceback."""
    reason = f"the plugin raised {type(error).__name__}"
    detail = "".join(traceback.format_exception(error))
    return delivery.died(PLUGIN_ERROR, reason, detail=detail)


def is_switched_on(integrations: Any, names: set[str]) -> bool:
    """What an event's `integrations` object says to a destination of these names.

    A name wins over `All`, and false wins over true. Anything but false and null
    under a name means yes, an object of options too. Names are matched exactly; one
    that is spelt in another case counts where no other name is given.
    """
    if not isinstance(integrations, Mapping):
        return True
    said = [integrations[name] for name in names if name in integrations]
    if not said:
        folded = {name.casefold() for name in names}
        said = [v for name, v in integrations.items() if name.casefold() in folded]
    said = [value for value in said if value is not None and value != ""]
    if said:
        return not any(value is False for value in said)
    return not any(integrations.get(name) is False for name in ("All", "all", "ALL"))


def _matches(name: Any, globs: Sequence[str]) -> bool:
    return isinstance(name, str) and any(fnmatchcase(name, glob) for glob in globs)


def _plain(name: Any) -> str:
    return name.strip().casefold() if isinstance(name, str) else ""
