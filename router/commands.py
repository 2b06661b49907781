"""What all commands share: each asks, and prints what it found: a table for people or,
with --json, data."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from router import codec, config, reports
from router.app import at_log, check_partitions
from router.config import Config
from router.errors import ConfigError, RouterError
from router.gate import Surroundings

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ONLY_DESTINATION = click.option("--destination", "-d", help="Only this one.")
# Wider than any table, in characters.
WIDEST = 100_000
WORDS = {"True": "yes", "False": "no", "None": "-", "": "-"}

# What a command found: data to print, and whether it is worth an exit status of 1.
Found = tuple[Any, bool]


class Commands(click.Group):
    """Prints what the router raises on purpose, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RouterError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="event-router")
def main() -> None:
    """Takes customer events in, and delivers them. `gunicorn router` runs it.

    The configuration is in conf.d, or where ROUTER_CONF says.
    """


def show(value: Any) -> None:
    """Prints data for people: rows as a table, members a line each."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        _show_rows(value)
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if isinstance(member, list) and member:
                click.echo(f"{key}:")
                show(member)
            else:
                click.echo(f"{key}: {words(member)}")
    else:
        click.echo("\n".join(f"  {one}" for one in value) or "none")


def _show_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """As a table with a line each; on a terminal words go on below each other, and
    where that has no room for each id whole, it is a paragraph for each row."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [_on_a_line(row.get(name)) for row in rows] for name in names}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, cells in columns.items():
        is_text = any(" " in cell for cell in cells)
        table.add_column(name, overflow="fold", no_wrap=not is_text)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*line)
    plain = functools.partial(Console, markup=False, emoji=False, highlight=False)
    terminal, wide = plain(), plain(width=WIDEST)
    if not terminal.is_terminal:
        wide.print(table)
    elif wide.measure(table).minimum <= terminal.width:
        terminal.print(table)
    else:
        for row in rows:
            show(row)
            click.echo()


def reports_on(
    name: str, group: click.Group = main, show: Callable[[Any], None] = show
) -> Callable[[Callable[..., Found]], Any]:
    """Makes a function that finds something into a command that prints it."""

    def decorate(find: Callable[..., Found]) -> Any:
        @functools.wraps(find)
        def command(*, as_json: bool, **options: Any) -> None:
            # A plugin may print, when it is imported too, and nobody asked for that.
            with redirect_stdout(sys.stderr):
                data, found = find(**options)
            if as_json:
                click.echo(codec.dumps(data, indent=2).decode())
            else:
                show(data)
            if found:
                raise SystemExit(1)

        return group.command(name)(JSON(command))

    return decorate


def load_sound(needed: str | None = None) -> Config:
    """The configuration; says which destinations it is without, as they are broken.
    needed: a destination that must not be. Raises ConfigError."""
    found = config.load()
    if broken := found.broken.get(needed or ""):
        what = f"{needed} is broken, and does not run"
        raise click.ClickException(f"{what}: {broken.problem}; {reports.MEND}")
    for one in found.broken.values():
        click.echo(f"{one.problem}\nGoing on without.", err=True)
    return found


def load_anyway() -> Config:
    """The configuration, as far as it can be used; says what is wrong with the rest."""
    found, problems = config.load_partly()
    if problems:
        click.echo(f"{ConfigError(problems)}\nGoing on without.", err=True)
    return found


def existing_log(found: Config) -> Surroundings:
    """The log, which no command but `deliver` makes; raises ConfigError."""
    shared = at_log(found)
    if not shared.log.exists():
        raise click.ClickException(
            f"there is no log at {shared.log.directory.resolve()}: has the router run "
            "here? data_dir counts from the working directory"
        )
    check_partitions(found, shared)
    return shared


def _on_a_line(value: Any) -> str:
    return " ".join(words(value).splitlines())


def words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {words(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(map(words, value)) or "-"
    return WORDS.get(str(value), str(value))
