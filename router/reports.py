"""What the commands tell of the configuration and the running system, as plain data."""

import inspect
import shutil
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pluggy import PluginManager

from router import kinds
from router.claims import is_claimed
from router.config import Config
from router.destination import SKIPPED
from router.errors import PluginError, StorageUnavailable
from router.events import TYPES
from router.gate import REMEDIES, SERIOUS, Surroundings
from router.ledger import ALL_PARTITIONS, Hold, surplus
from router.letters import DROPPED, EXPIRED, MISSING, RETRYING, DeadLetter
from router.log import Record
from router.plugins import Found, describe, settings_class
from router.replaying import NOT_CHOSEN
from router.replays import DONE, RUNNING, Replay
from router.requirements import declared
from router.settings import DestinationSettings
from router.timestamps import format_iso
from router.wakeup import count_workers

# The settings that bound what a plugin sends at once.
LIMITS = ("batch_events", "batch_bytes", "concurrency", "timeout")

# The states that somebody must see to.
WRONG = ("held", "broken")

# What an operator can do about a plugin that cannot be used.
MEND = "mend its plugin (`router plugins NAME` says more), and restart or send HUP"

# How many of a destination's replays its status tells of, the newest.
SHOWN_REPLAYS = 5


def configured(config: Config) -> dict[str, list[dict[str, Any]]]:
    """The sources and destinations of conf.d."""
    known: dict[str, Any] = {
        **config.destinations, **config.disabled, **config.broken
    }  # fmt: skip
    return {
        "sources": [
            {"source": name, "enabled": one.enabled}
            for name, one in config.sources.items()
        ],
        "destinations": [
            {
                "destination": name,
                "plugin": one.plugin,
                "enabled": name not in config.disabled,
                "runs": name in config.destinations,
            }
            for name, one in known.items()
        ],
    }


def plugin_page(
    name: str, known: Mapping[str, Found], loaded: PluginManager
) -> dict[str, Any]:
    """What a plugin is and takes, what it requires, and its settings, its own first;
    raises PluginError, and whatever its hook `settings` does.

    notes: what cannot be told, and why.
    """
    hook = loaded.hook
    model = settings_class(hook)
    notes, needed = [], []
    try:
        # Of no destination: what has no default is not there.
        needed = _requirements(hook, model.model_construct(plugin=name))
    except PluginError as error:
        notes.append(str(error))
    except Exception as error:
        why = describe(error)
        notes.append(f"requirements depend on a destination's settings ({why})")
    about = inspect.getdoc(loaded.get_plugin(name)) or ""
    common = DestinationSettings.model_fields
    return {
        "plugin": name,
        "where": known[name].origin,
        "about": about.partition("\n\n")[0],
        "types": [kind for kind in TYPES if getattr(hook, kind).get_hookimpls()],
        "limits": {key: kinds.default(model.model_fields[key]) for key in LIMITS},
        "integrations": sorted({name, *model.integration_names}),
        "sandbox": bool(hook.sandbox.get_hookimpls()),
        "notes": notes,
        "requirements": needed,
        "settings": [
            {
                "key": key,
                "type": kinds.kind(field),
                "default": kinds.default(field),
                "description": field.description or "",
            }
            for key, field in sorted(
                model.model_fields.items(), key=lambda item: item[0] in common
            )
        ],
    }


def balances(shared: Surroundings, destination: str) -> dict[str, Any]:
    """One destination's account: accepted = delivered + skipped + dead + expired +
    pending.

    Dead letters that were put back to work are pending again. `balanced` is false when
    what it passed is not what it has counted.
    """
    offsets, counts = shared.ledger.balance(destination)
    heads = shared.log.heads()
    passed = sum(offset - start for start, offset in offsets.values())
    unread = sum(heads.get(n, offset) - offset for n, (_, offset) in offsets.items())
    return {
        "destination": destination,
        "accepted": passed + unread,
        **_outcomes(counts),
        "pending": unread + counts[RETRYING, RETRYING],
        "balanced": surplus(offsets, counts) == 0,
    }


def statuses(config: Config, shared: Surroundings) -> list[dict[str, Any]]:
    """Every destination that is configured or was, and how it is doing."""
    known = [*config.destinations, *config.broken, *config.disabled]
    known += shared.ledger.destinations()
    return [_status(config, shared, name) for name in dict.fromkeys(known)]


def sources(config: Config, shared: Surroundings) -> list[dict[str, Any]]:
    """What came in, by source; that of no known source has none."""
    arrivals = shared.ledger.arrivals.counts()
    known = [*config.sources, *(source for source, _ in arrivals)]
    rows = []
    for name in dict.fromkeys(known):
        counts = {code: n for (source, code), n in arrivals.items() if source == name}
        row: dict[str, Any] = {"destination": None, "source": name}
        row |= {code: counts.pop(code, 0) for code in ("accepted", "duplicate")}
        rows.append(row | {"codes": counts})
    return rows


def replay(config: Config, shared: Surroundings, found: Replay) -> dict[str, Any]:
    """A replay and how it stands; pending: of the chosen events those still to do,
    waits: why it does not go on."""
    counts = shared.ledger.counts(found.account)
    # What is missing was perhaps not chosen.
    others = (SKIPPED, NOT_CHOSEN), (EXPIRED, MISSING), (RETRYING, RETRYING)
    done = counts.total() - sum(counts[one] for one in others)
    del counts[SKIPPED, NOT_CHOSEN]
    ended = found.ended_at
    return {
        "id": found.id,
        "destination": found.destination,
        "state": found.state,
        "since": format_iso(found.since),
        "until": format_iso(found.until),
        "event": found.event,
        "user": found.user,
        "rate": found.rate,
        "chosen": found.chosen,
        **_outcomes(counts),
        "pending": 0 if found.state == DONE else max(0, found.chosen - done),
        "startedAt": format_iso(found.started_at),
        "endedAt": None if ended is None else format_iso(ended),
        "waits": _waits(config, shared, found) if found.state == RUNNING else [],
    }


def no_room(config: Config, shared: Surroundings) -> str | None:
    """Why events are refused for want of room, if they are."""
    try:
        shared.log.check_room()
    except StorageUnavailable as error:
        return str(error)
    if not shutil.disk_usage(config.router.data_dir).free:
        return f"the filesystem of {config.router.data_dir} is full"
    return None


def letter(found: DeadLetter) -> dict[str, Any]:
    """A dead letter, without what the partner said and the customer's event."""
    return {
        "id": found.id,
        "destination": found.destination,
        "messageId": found.message_id,
        "source": found.source,
        "code": found.code,
        "reason": found.reason,
        "problems": list(found.problems),
        "attempts": found.attempts,
        "diedAt": format_iso(found.died_at),
        "state": found.state,
        "replay": found.replay or None,
    }


def _requirements(hook: Any, settings: DestinationSettings) -> list[dict[str, Any]]:
    needed = declared(hook.requirements(settings=settings))
    return [
        {"event": event, "requires": [one.words for one in requirements]}
        for event, requirements in needed.items()
    ]


def _outcomes(counts: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """What became of events, by code where it matters."""

    def of(wanted: str) -> dict[str, int]:
        found = sorted(counts.items())
        return {code: n for (state, code), n in found if state == wanted and n}

    found = {state: of(state) for state in ("skipped", "dead", "expired")}
    return {"delivered": sum(of("delivered").values()), **found}


def _holds(holds: Iterable[Hold]) -> list[dict[str, Any]]:
    return [
        {
            "kind": hold.kind,
            "reason": hold.reason,
            "remedy": REMEDIES[hold.kind],
            "since": format_iso(int(hold.since * 1000)),
            "nextProbe": format_iso(int(hold.until * 1000)),
            "partition": None if hold.partition < 0 else hold.partition,
        }
        for hold in holds
    ]


def _waits(config: Config, shared: Surroundings, found: Replay) -> list[str]:
    if found.destination not in config.destinations:
        is_broken = found.destination in config.broken
        return [
            "its plugin is broken" if is_broken else "the destination is not enabled"
        ]
    if not count_workers(config.router.data_dir):
        return ["nobody delivers here"]
    own = shared.ledger.holds(found.account)
    holds = [
        one
        for one in shared.ledger.holds(found.destination)
        if one.partition == ALL_PARTITIONS
    ]
    waits = dict.fromkeys(f"{one.kind}: {one.reason}" for one in [*holds, *own])
    for partition, (offset, _) in shared.ledger.replays.spans(found).items():
        try:
            shared.log.read(partition, offset, 1)
        except StorageUnavailable as error:
            waits[f"{error}; see Damage in docs/operations.md"] = None
    return list(waits)


def _status(config: Config, shared: Surroundings, name: str) -> dict[str, Any]:
    holds = _holds(shared.ledger.holds(name))
    kinds = {hold["kind"] for hold in holds}
    data_dir, broken = config.router.data_dir, config.broken.get(name)
    if name not in config.destinations and broken is None:
        state = "disabled" if name in config.disabled else "removed"
    elif broken and not is_claimed(data_dir, name):
        state = "broken"
    elif not count_workers(data_dir):
        state = "stopped"
    elif not is_claimed(data_dir, name):
        state = "not started"
    else:
        state = "held" if kinds & set(SERIOUS) else "retrying" if kinds else "running"
    oldest, unreadable = _oldest_pending(shared, name)
    if unreadable and state in ("retrying", "running"):
        state = "held"
    outcomes = _outcomes(shared.ledger.counts(name, replays=True))
    dead, expired = outcomes["dead"], outcomes["expired"].get(EXPIRED, 0)
    replays = shared.ledger.replays.all(name, SHOWN_REPLAYS)
    return balances(shared, name) | {
        "state": state,
        "problem": broken and f"{broken.problem}; {MEND}",
        "deadLetters": sum(dead.values()) - dead.get(DROPPED, 0) + expired,
        "oldestPendingSeconds": oldest,
        "holds": holds,
        "unreadable": unreadable,
        "replays": [replay(config, shared, one) for one in replays],
    }


def _oldest_pending(shared: Surroundings, name: str) -> tuple[float | None, list[str]]:
    """For how many seconds the oldest event waits; and why some cannot be read."""
    waiting: list[Record] = []
    unreadable = set()
    for partition, (_, offset) in shared.ledger.offsets(name).items():
        waiting += shared.ledger.letters.retrying(name, partition, 0, 1, 1)
        try:
            waiting += shared.log.read(partition, offset, 1)
        except StorageUnavailable as error:
            unreadable.add(str(error))
    first = min((record.received_at for record in waiting), default=None)
    seconds = None if first is None else round(time.time() - first / 1000, 3)
    return seconds, sorted(unreadable)
