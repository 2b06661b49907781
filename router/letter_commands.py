"""`router dead-letters`: what was given up, and what is to become of it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from router import codec, reports, triage
from router.commands import (
    ONLY_DESTINATION,
    Found,
    existing_log,
    load_anyway,
    load_sound,
    reports_on,
    show,
)
from router.config import Config
from router.errors import Unreadable
from router.explain import hidden
from router.letters import DEAD, DeadLetter, Letters

# Letters in one transaction: lanes wait for it to store what became of theirs.
AT_ONCE = 1000


@click.group("dead-letters")
def dead_letters() -> None:
    """The deliveries that were given up."""


def show_groups(rows: Sequence[dict[str, Any]]) -> None:
    """A line each; problems are in the reason, and ids in the single letters."""
    left_out = ("messageId", "problems")
    show([{k: v for k, v in row.items() if k not in left_out} for row in rows])


def show_page(row: dict[str, Any]) -> None:
    """Members a line each, and below them what has parts of its own."""
    parts = [name for name in ("event", "now") if row.get(name)]
    show({name: value for name, value in row.items() if name not in ("event", "now")})
    for name in parts:
        click.echo(f"{name}:\n{codec.dumps(row[name], indent=2).decode()}")


def show_list(rows: Sequence[dict[str, Any]]) -> None:
    (show_groups if rows and "count" in rows[0] else show)(rows)


def selected(command: Callable[..., Any]) -> Any:
    """The letters that a command is for: by id, or by what they have in common."""
    options = (
        click.argument("ids", nargs=-1, type=int, metavar="[ID]..."),
        ONLY_DESTINATION,
        click.option("--code", help="All of this code."),
        click.option("--like", type=int, metavar="ID", help="All of its group."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@reports_on("list", dead_letters, show=show_list)
@click.argument("destination", required=False)
@click.option("--code", help="Each letter of this code.")
@click.option("--all", "every", is_flag=True, help="Each letter, in every state.")
@click.option("--limit", default=100, show_default=True, help="How many, newest first.")
def list_letters(
    destination: str | None, code: str | None, *, every: bool, limit: int
) -> Found:
    """Show what was given up: alike letters together, with one as an example; or, with
    --code or --all, each by itself."""
    config = load_anyway()
    letters = existing_log(config).ledger.letters
    if code is None and not every:
        rows = triage.groups(letters, destination)[:limit]
    else:
        state = None if every else DEAD
        found = letters.find(destination, code=code, state=state, limit=limit)
        rows = [reports.letter(one) for one in found]
    return [_hidden(row, config) for row in rows], False


@reports_on("show", dead_letters, show=show_page)
@click.argument("letter_id", type=int, metavar="ID")
@click.option("--unmask", is_flag=True, help="With what is a customer's, not secrets.")
def show_letter(letter_id: int, *, unmask: bool) -> Found:
    """Show one: what the partner answered, what befell it, what would be sent now."""
    found = load_anyway()
    letter = _letter(existing_log(found).ledger.letters, letter_id)
    destination = found.destinations.get(letter.destination)
    return triage.page(letter, destination, unmask=unmask), False


@reports_on("retry", dead_letters)
@selected
@click.option(
    "--edit", type=click.File("rb"), help="Send the event of this file instead."
)
def retry(ids: tuple[int, ...], edit: Any, **which: Any) -> Found:
    """Put letters back to work: through selection, requirements and mapping, as conf.d
    has them when the router was last started, in the order of the log.

    Exits with 1 when one is not dead.
    """
    letters = existing_log(load_sound()).ledger.letters
    wanted = _wanted(letters, ids, **which)
    body = None
    if edit is not None:
        if len(ids) != 1:
            raise click.UsageError("--edit is for one ID")
        body = triage.edited(_letter(letters, ids[0]), _read(edit))
    now = _now()
    return _move("retrying", wanted, lambda some: letters.put_back(some, now, body))


@reports_on("drop", dead_letters)
@selected
@click.option("--note", required=True, help="Why; it is kept with them.")
def drop(ids: tuple[int, ...], note: str, **which: Any) -> Found:
    """Close letters: they are not sent any more, and count as dead by `dropped`.

    An ID may also be of a letter that waits to be tried again. Exits with 1 when one is
    closed already.
    """
    letters = existing_log(load_anyway()).ledger.letters
    wanted = _wanted(letters, ids, **which)
    now = _now()
    return _move("dropped", wanted, lambda some: letters.drop(some, now, note))


def _wanted(
    letters: Letters,
    ids: Sequence[int],
    destination: str | None,
    code: str | None,
    like: int | None,
) -> list[int]:
    ways = (ids, destination is not None or code is not None, like is not None)
    if sum(map(bool, ways)) != 1:
        raise click.UsageError(
            "say which: by IDs, by --destination and --code, or by --like"
        )
    if ids:
        return list(ids)
    letter = None if like is None else _letter(letters, like)
    return triage.chosen(letters, destination, code, letter)


def _move(
    name: str, wanted: Sequence[int], move: Callable[[Sequence[int]], list[int]]
) -> Found:
    """Moves letters, in the order of the log: a lane may take up the first before the
    last is moved."""
    moved: list[int] = []
    starts = range(0, len(wanted), AT_ONCE)
    progress = Console(stderr=True)
    for start in track(starts, name, console=progress, disable=len(starts) < 10):
        moved += move(wanted[start : start + AT_ONCE])
    left = sorted({*wanted} - {*moved})
    return {name: len(moved), "notOpen": left}, bool(left)


def _letter(letters: Letters, letter_id: int) -> DeadLetter:
    found = letters.find(letter_id=letter_id)
    if not found:
        raise click.ClickException(f"there is no dead letter {letter_id}")
    return found[0]


def _read(file: Any) -> Any:
    try:
        return codec.loads(file.read())
    except ValueError as error:
        raise Unreadable(f"{file.name} is no JSON: {error}") from None


def _hidden(row: dict[str, Any], config: Config) -> dict[str, Any]:
    """Without the secrets of its destination, as far as they are known."""
    destination = config.destinations.get(row["destination"])
    return hidden(row, destination.settings) if destination else row


def _now() -> int:
    return int(time.time() * 1000)
