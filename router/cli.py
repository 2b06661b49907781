"""The `router` command. Each command reads conf.d, asks, and prints: a table for people
or, with --json, data. It exits with 0; 1 when it found something; 2 for wrong use."""

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import requests
from rich.console import Console
from rich.progress import track

from router import codec, config, plugins, reports, scaffold
from router.app import at_log, collect_less_often, disk_problems, log_to_stderr, settle
from router.backup import back_up
from router.cases import explain_and_save
from router.commands import (
    ONLY_DESTINATION,
    Found,
    existing_log,
    load_anyway,
    load_sound,
    reports_on,
    show,
    words,
)
from router.commands import main as main
from router.delivery import Lanes
from router.errors import ConfigError
from router.explain import explain as explain_event
from router.explain import explain_file, read_events
from router.letter_commands import dead_letters
from router.replay_commands import line as replay_line
from router.retention import Retention

SEND_EVENTS = 100

IN_CLEAR = (
    "these cases hold events in clear, with all that is a customer's; look at them "
    "before you share or commit them"
)

# Seconds after which `deliver` ends all the same, where a plugin does not return.
STOP_WITHIN = 60.0


def show_explained(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        now = f"; now: {row['state']}" if "state" in row else ""
        place = row["destination"] or "not accepted"
        line = f"{place}: {row['outcome']} ({row['code']}) {row['reason']}"
        click.echo(
            "\n  ".join([line.rstrip() + now, *row["problems"], *row["changes"]])
        )
        for name in ("raised", "note"):
            if name in row:
                click.echo(f"  {name}: {row[name]}")
        for request in row.get("requests", ()):
            headers = [f"{name}: {value}" for name, value in request["headers"].items()]
            start = f"{request['method']} {request['url']}"
            lines = [start, *headers, "", request["body"]]
            click.echo("\n".join(f"  {one}" for one in lines) + "\n")
        if "payload" in row:
            click.echo(f"  {codec.dumps(row['payload']).decode()}")
        if "saved" in row:
            click.echo(f"  saved: {row['saved']}")


def show_status(found: Sequence[Mapping[str, Any]]) -> None:
    """The numbers as tables, and below them what is to be said of them."""
    for row in found:
        if row["destination"] is None and "problem" in row:
            click.echo(f"clients get 503: {row['problem']}")
    sources = [row for row in found if "codes" in row]
    columns = ("source", "accepted", "duplicate")
    show([{name: one[name] for name in columns} for one in sources if one["source"]])
    for source in sources:
        if source["codes"]:
            name = source["source"] or "no source"
            click.echo(f"{name}: {words(source['codes'])}")
    rows = [row for row in found if row["destination"] is not None]
    names = ("destination", "state", "accepted", "delivered", "skipped", "dead")
    more = ("expired", "pending")
    show([{name: _total(row[name]) for name in (*names, *more)} for row in rows])
    for row in rows:
        place = row["destination"]
        if row["problem"]:
            click.echo(f"{place}: cannot be loaded: {row['problem']}")
        for name in ("skipped", "dead", "expired"):
            if row[name]:
                click.echo(f"{place}: {name}: {words(row[name])}")
        for hold in row["holds"]:
            lane = "" if hold["partition"] is None else f"/{hold['partition']}"
            click.echo(
                f"{place}{lane}: {hold['kind']} since {hold['since']}: "
                f"{hold['reason']}; tried again at {hold['nextProbe']}; "
                f"remedy: {hold['remedy']}"
            )
        for damage in row["unreadable"]:
            click.echo(f"{place}: waits for {damage}; see Damage in docs/operations.md")
        if row["deadLetters"]:
            command = f"router dead-letters list {place}"
            click.echo(f"{place}: dead letters: {row['deadLetters']}: {command}")
        for one in row["replays"]:
            click.echo(replay_line(one))
        if row["oldestPendingSeconds"]:
            seconds = row["oldestPendingSeconds"]
            click.echo(f"{place}: the oldest event waits for {seconds} s")


@reports_on("check")
def check() -> Found:
    """Check the configuration, the plugins and the data directory, and tell what would
    run."""
    try:
        found = config.load()
    except ConfigError as error:
        return {"ok": False, "starts": False, "problems": error.problems}, True
    bugs = [one.problem for one in found.broken.values()]
    if problems := disk_problems(found):
        return {"ok": False, "starts": False, "problems": [*problems, *bugs]}, True
    answer = {"ok": not bugs, "starts": True, "problems": bugs}
    return answer | reports.configured(found), bool(bugs)


@reports_on("plugins")
@click.argument("name", required=False)
def plugins_(name: str | None) -> Found:
    """List the plugins that are installed, or show one of them."""
    try:
        known = plugins.find(config.load().router.plugin_dirs)
    except ConfigError:  # what is in plugins/ and installed is still worth a look
        known = plugins.find()
    if name is not None:
        page = partial(reports.plugin_page, name, known)
        return plugins.Loader(known).load(name, page), False
    rows = [{"plugin": one.name, "where": one.origin} for one in known.values()]
    return rows, False


@reports_on("new-plugin")
@click.argument("name")
@click.option(
    "--package", is_flag=True, help="As a package of its own, for pip, in a new folder."
)
def new_plugin(name: str, *, package: bool) -> Found:
    """Write a plugin to start from, with its file in conf.d and its tests.

    It works as it is. Without --package it goes to the working directory.
    """
    if name in plugins.find():
        raise click.UsageError(f"there is a plugin {name} already")
    if package:
        directory = Path(f"event-router-{name.replace('_', '-')}")
        written = scaffold.write(name, directory, scaffold.PACKAGE)
        then = [f"cd {directory}", "pip install --editable '.[test]'", "pytest"]
    else:
        written = scaffold.write(name, Path(), scaffold.HERE)
        then = [f"pytest tests/test_{name}.py", f"router plugins {name}"]
    return {"plugin": name, "files": [*map(str, written)], "next": then}, False


@reports_on("explain", show=show_explained)
@click.argument("what", default="-", metavar="[FILE|MESSAGE_ID]")
@ONLY_DESTINATION
@click.option("--source", help="As if sent by this source; by default the first.")
@click.option(
    "--save",
    metavar="DIR",
    type=click.Path(file_okay=False, writable=True, path_type=Path),
    help="Write a case for each event; needs --destination.",
)
def explain(
    what: str, destination: str | None, source: str | None, save: Path | None
) -> Found:
    """Show what each destination would get of an event, or why not.

    FILE holds one event, a list or a batch of them, or one a line; - is standard
    input. Anything else is looked up in the log as a message id.

    A case is a file by which the plugin is tested, if it is in the plugin's folder
    `cases` (of a plugin that is a file NAME.py: NAME_cases). It holds the event in
    clear, with all that is a customer's.
    """
    found = load_sound(destination)
    chosen = [d for n, d in found.destinations.items() if destination in (None, n)]
    if not chosen:
        names = ", ".join(found.destinations) or "none"
        raise click.UsageError(f"no such destination is enabled; there are: {names}")
    if save and not destination:
        raise click.UsageError("--save needs --destination: cases are one plugin's")
    explained = partial(explain_and_save, save) if save else explain_event
    if what == "-" or Path(what).exists():
        with click.open_file(what, "rb") as file:
            sent = read_events(file.read())
        rows = explain_file(
            chosen, sent, source or next(iter(found.sources)), explained
        )
    else:
        shared = existing_log(found)
        record = shared.log.find(what)
        if record is None:
            raise click.ClickException(f"no file and no message id of the log: {what}")
        rows = [explained(one, record, shared.ledger) for one in chosen]
    if any("saved" in row for row in rows):
        click.echo(f"{save}: {IN_CLEAR}", err=True)
    return rows, any(row["outcome"] in ("dead", "refused") for row in rows)


def show_sent(found: Mapping[str, Any]) -> None:
    click.echo(f"accepted: {found['accepted']}")
    click.echo(f"rejected: {len(found['rejected']) or 'none'}")
    if found["rejected"]:
        show(found["rejected"])


@reports_on("send", show=show_sent)
@click.argument("file", default="-", type=click.File("rb"))
@click.option("--url", help="By default http://127.0.0.1, at $PORT or 8000.")
@click.option("--write-key", help="By default that of the first source.")
def send(file: Any, url: str | None, write_key: str | None) -> Found:
    """Send the events of a file to a running router."""
    first = next(iter(config.load().sources.values()))
    key = write_key or first.write_key.get_secret_value()
    base = url or f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
    found = [raw for raw, _ in read_events(file.read())]
    rejected: list[dict[str, Any]] = []
    starts = range(0, len(found), SEND_EVENTS)
    progress = Console(stderr=True)
    for start in track(starts, "sending", console=progress, disable=len(starts) < 10):
        answer = _post(f"{base}/v1/batch", found[start : start + SEND_EVENTS], key)
        bad = answer.get("rejected", ())
        rejected += [{**one, "index": one["index"] + start} for one in bad]
    accepted = len(found) - len(rejected)
    return {"accepted": accepted, "rejected": rejected}, bool(rejected)


@reports_on("status", show=show_status)
def status() -> Found:
    """Show what came in, and how each destination is doing; exits with 1 when one is
    held or broken, or events are refused for want of room."""
    found = load_anyway()
    shared = existing_log(found)
    rows = reports.statuses(found, shared)
    is_wrong = any(row["problem"] or row["state"] == "held" for row in rows)
    sources = reports.sources(found, shared)
    if problem := reports.no_room(found, shared):
        sources.append({"destination": None, "source": None, "problem": problem})
        is_wrong = True
    return rows + sources, is_wrong


@reports_on("ledger")
def ledger() -> Found:
    """Show that every event is accounted for; exits with 1 when one is not."""
    shared = existing_log(load_anyway())
    rows = [reports.balances(shared, name) for name in shared.ledger.destinations()]
    return rows, not all(row["balanced"] for row in rows)


main.add_command(dead_letters)


@reports_on("backup")
@click.argument("directory", type=click.Path(path_type=Path))
def backup(directory: Path) -> Found:
    """Copy the log and the ledger, of a running router too, to a new DIRECTORY."""
    if directory.exists():
        raise click.UsageError(f"{directory} exists; a backup makes a new directory")
    size = back_up(existing_log(config.load()), directory)
    return {"directory": str(directory), "bytes": size}, False


@main.command()
def deliver() -> None:
    """Run lanes and retention without HTTP, until SIGTERM; for `deliver = false` in the
    workers."""
    log_to_stderr()
    found = config.load()
    shared = at_log(found)
    settle(found, shared)
    settings = found.router
    lanes = Lanes(found.destinations.values(), shared, settings.data_dir)
    collect_less_often()
    retention = Retention(shared, settings.data_dir, settings.retention)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    retention.start()
    lanes.start()
    ended.wait()
    lanes.stop(STOP_WITHIN)
    retention.stop()


def _post(url: str, batch: Sequence[Any], key: str) -> Mapping[str, Any]:
    try:
        body = codec.dumps({"batch": batch})
        response = requests.post(url, data=body, auth=(key, ""), timeout=30)
        answer: Mapping[str, Any] = response.json()
    except (requests.RequestException, ValueError) as error:
        name = type(error).__name__
        raise click.ClickException(f"{url}: no router answers there ({name})") from None
    if not response.ok:
        code, message = answer.get("code"), answer.get("message")
        raise click.ClickException(f"{url}: {code}: {message}")
    return answer


def _total(value: Any) -> Any:
    return sum(value.values()) if isinstance(value, Mapping) else value
