"""`router replay`, and `router replays` to see to those that are under way."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from router import reports
from router.commands import (
    Found,
    existing_log,
    load_anyway,
    load_sound,
    main,
    reports_on,
    show,
    words,
)
from router.config import Config
from router.destination import Destination
from router.explain import outcome_row
from router.gate import Surroundings
from router.log import Record
from router.replaying import Chosen, choose
from router.replays import CANCELLED, DONE, MOVES, PAUSED, RUNNING, Choice, Replay
from router.settings import SECONDS
from router.timestamps import format_iso, parse
from router.wakeup import count_workers

# Events a second, unless told: so few that the live ones hardly notice.
RATE = 100.0

# Seconds between two looks at how far it is.
LOOK_EVERY = 0.25
# Seconds without anybody who delivers, as in a restart.
ALONE_FOR = 5.0


class Instant(click.ParamType[int]):
    """An instant, or how long ago it was; in milliseconds since the epoch."""

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        ago = re.fullmatch(r"(\d+)(\w+)", value)
        if ago and ago[2] in SECONDS:
            return int((time.time() - int(ago[1]) * SECONDS[ago[2]]) * 1000)
        instant = parse(value)
        if instant is None:
            what = "expected an instant such as 2026-03-01T12:00Z, or how long ago: 24h"
            self.fail(what, param, ctx)
        return instant


def show_replay(row: Mapping[str, Any]) -> None:
    """What a dry run found, or how a replay stands."""
    if "samples" in row:
        click.echo(headline(row))
        if row["samples"]:
            click.echo("some of them, and what would become of them:")
            show(row["samples"])
    else:
        click.echo(line(row))


def headline(row: Mapping[str, Any]) -> str:
    """How many events there are to replay."""
    span = f"from {row['since']} to {row['until']}"
    return f"{row['destination']}: {row['chosen']} events {span}"


def line(row: Mapping[str, Any]) -> str:
    """How a replay stands."""
    said = [f"{row['delivered']} of {row['chosen']} events delivered"]
    said += [f"{s}: {words(row[s])}" for s in ("skipped", "dead", "expired") if row[s]]
    if row["state"] not in (DONE, CANCELLED):
        said.append(f"{row['pending']} to go, {row['rate']:g} a second at most")
    said += [f"waits: {reason}" for reason in row["waits"]]
    place = f"{row['destination']}: replay {row['id']}"
    return f"{place} {row['state']}: {'; '.join(said)}"


def show_replays(rows: Sequence[Mapping[str, Any]]) -> None:
    click.echo("\n".join(map(line, rows)) or "none")


@reports_on("replay", show=show_replay)
@click.argument("destination")
@click.option("--since", type=Instant(), required=True, help="Received then or later.")
@click.option("--until", type=Instant(), help="Received before; by default now.")
@click.option("--event", help='Only track events of this name, as "Product *".')
@click.option("--user", help="Only of this userId or anonymousId.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=RATE,
    show_default=True,
    help="Events a second, at most.",
)
@click.option("--dry-run", is_flag=True, help="Only tell which events it would be.")
def replay(destination: str, *, dry_run: bool, rate: float, **wanted: Any) -> Found:
    """Send to DESTINATION again what it has passed in a range of the log.

    Whoever delivers here does it, beside what comes in; this command shows how it goes
    on, and may be left. Instants are as in 2026-03-01T12:00Z, or how long ago: 24h.
    Exits with 0 when it is done, and with 1 when an event became a dead letter or had
    expired, or it is not done yet.
    """
    for name in ("event", "user"):
        if wanted[name] == "":
            raise click.UsageError(f"--{name} is empty: leave it out for all")
    if not math.isfinite(rate):
        raise click.UsageError("--rate must be a number of events a second")
    found = load_sound(destination)
    shared = existing_log(found)
    choice = Choice(**wanted | {"until": wanted["until"] or _now()})
    if choice.since >= choice.until:
        raise click.UsageError("--since must be before --until")
    chosen = _chosen(shared, _known(found, destination), choice)
    preview = _preview(found.destinations[destination], choice, chosen)
    if dry_run or not chosen.count:
        return preview, False
    screen = Console(stderr=True)
    screen.print(headline(preview), markup=False, highlight=False)
    started = Replay(
        **vars(choice), destination=destination, rate=rate, chosen=chosen.count,
        started_at=_now(),
    )  # fmt: skip
    number = shared.ledger.replays.start(started, chosen.spans)
    row = _watch(found, shared, number, screen)
    return row, row["state"] != DONE or bool(row["dead"] or row["expired"])


@main.group()
def replays() -> None:
    """Replays: see how they stand; pause, resume or cancel one."""


@reports_on("list", replays, show=show_replays)
@click.argument("destination", required=False)
def list_replays(destination: str | None) -> Found:
    """Show how the replays stand, the newest first."""
    found = load_anyway()
    shared = existing_log(found)
    known = shared.ledger.replays.all(destination)
    return [reports.replay(found, shared, one) for one in known], False


@reports_on("pause", replays, show=show_replay)
@click.argument("replay_id", type=int, metavar="ID")
def pause(replay_id: int) -> Found:
    """Let a replay rest, until it is resumed."""
    return _move(replay_id, PAUSED)


@reports_on("resume", replays, show=show_replay)
@click.argument("replay_id", type=int, metavar="ID")
def resume(replay_id: int) -> Found:
    """Let a replay that was paused go on where it was."""
    return _move(replay_id, RUNNING)


@reports_on("cancel", replays, show=show_replay)
@click.argument("replay_id", type=int, metavar="ID")
def cancel(replay_id: int) -> Found:
    """End a replay for good; what was sent is sent."""
    return _move(replay_id, CANCELLED)


def _move(replay_id: int, state: str) -> Found:
    found = load_anyway()
    shared = existing_log(found)
    if not shared.ledger.replays.move(_found(shared, replay_id), state, _now()):
        now = _found(shared, replay_id).state
        able = " or ".join(MOVES[state])
        raise click.ClickException(f"replay {replay_id} is {now}, not {able}")
    return reports.replay(found, shared, _found(shared, replay_id)), False


def _found(shared: Surroundings, replay_id: int) -> Replay:
    found = shared.ledger.replays.find(replay_id)
    if found is None:
        raise click.ClickException(f"there is no replay {replay_id}")
    return found


def _known(found: Config, name: str) -> Destination:
    if name not in found.destinations:
        names = ", ".join(found.destinations) or "none"
        raise click.UsageError(
            f"{name} is not an enabled destination; there are: {names}"
        )
    return found.destinations[name]


def _chosen(shared: Surroundings, destination: Destination, choice: Choice) -> Chosen:
    """Only of what it has passed: the rest it gets in any case."""
    offsets = shared.ledger.offsets(destination.name)
    ends = {partition: offset for partition, (_, offset) in offsets.items()}
    starts = shared.log.starts_of(choice.since)
    total = sum(max(0, end - starts.get(n, 0)) for n, end in ends.items())
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=total)
        return choose(
            shared.log, choice, ends, lambda passed: progress.advance(task, passed)
        )


def _preview(
    destination: Destination, choice: Choice, chosen: Chosen
) -> dict[str, Any]:
    return {
        "destination": destination.name,
        "since": format_iso(choice.since),
        "until": format_iso(choice.until),
        "chosen": chosen.count,
        "samples": [_sample(destination, record) for record in chosen.samples],
    }


def _sample(destination: Destination, record: Record) -> dict[str, Any]:
    """An event, and what would become of it now."""
    delivery = destination.prepare(record)
    outcome = delivery.state or "deliver"
    return {
        "type": record.event["type"],
        "event": record.event.get("event"),
        "receivedAt": format_iso(record.received_at),
        **outcome_row(destination.name, record.message_id, outcome, delivery),
    }


def _watch(
    found: Config, shared: Surroundings, number: int, screen: Console
) -> dict[str, Any]:
    """Shows how far it is until it is over, or nobody has worked on it for a while."""
    said = ""
    alone_since = None
    with Progress(console=screen, transient=True) as progress:
        task = progress.add_task(f"replay {number}")
        try:
            while True:
                row = reports.replay(found, shared, _found(shared, number))
                done = row["chosen"] - row["pending"]
                waits = "".join(f" waits: {one}" for one in row["waits"][:1])
                progress.update(
                    task, total=row["chosen"], completed=done,
                    description=f"replay {number}{waits}",
                )  # fmt: skip
                if row["state"] != RUNNING:
                    break
                alone_since = _alone_since(found, alone_since)
                if alone_since and time.monotonic() - alone_since > ALONE_FOR:
                    said = "nobody delivers here now: it goes on when a router does"
                    break
                time.sleep(LOOK_EVERY)
        except KeyboardInterrupt:
            said = f"replay {number} goes on; `router replays cancel {number}` ends it"
    if said:
        screen.print(said, markup=False, highlight=False)
    return row


def _alone_since(found: Config, since: float | None) -> float | None:
    """Since when nobody delivers; a restart takes a moment."""
    if count_workers(found.router.data_dir):
        return None
    return since or time.monotonic()


def _now() -> int:
    return int(time.time() * 1000)
