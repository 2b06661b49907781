"""Plugins that cannot be loaded, or misbehave, in a real router: each costs its own
destination, which waits, and is named; no other."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from conftest import CONF, ROOT, Router, eventually

from router.app import SANDBOX_SECONDS
from router.wakeup import count_workers

LATE = "its import, settings or requirements has not returned"
CANARY = "c4n4ry"

SOUND = """
from router import hookimpl


@hookimpl
def track(event):
    return event["messageId"]


@hookimpl
def deliver(payloads, settings):
    with open(settings.data_dir / settings.name, "a") as file:
        file.writelines(f"{one}\\n" for one in payloads)
"""

# What follows it wins.
BROKEN = {
    "raises": "raise RuntimeError('c4n4ry')\n",
    "quits": "import sys\n\nsys.exit('c4n4ry')\n",
    "garbled": "def f(:\n",
    "lacks": "import no_such_module\n",
    "unset": SOUND + "\n@hookimpl\ndef settings():\n    raise KeyError('c4n4ry')\n",
    "other": SOUND + "\n@hookimpl\ndef settings():\n    return 'c4n4ry'\n",
    "needy": SOUND + "\n@hookimpl\ndef requirements():\n    raise OSError('c4n4ry')\n",
    "vague": SOUND + "\n@hookimpl\ndef requirements():\n    return ['c4n4ry']\n",
    "typo": SOUND + "\n@hookimpl\ndef trak(event):\n    return event\n",
    "odd": SOUND + "\n@hookimpl\ndef page(evnt):\n    return evnt\n",
    "mute": "from router import hookimpl\n",
}

NO_SANDBOX = "\n\n@hookimpl\ndef sandbox():\n    import time\n\n    time.sleep(9999)\n"
BLOCKED = "import time\n\ntime.sleep(9999)\n" + SOUND


@pytest.fixture
def write(router: Router):
    """Writes plugins into the router's directory: write(name=text)."""
    folder = router.directory / "plugins"
    folder.mkdir()

    def files(**texts: str) -> None:
        for name, text in texts.items():
            # At once, as a worker may be reading it.
            fresh = folder / f"{name}.new"
            fresh.write_text(text)
            fresh.replace(folder / f"{name}.py")

    return files


def tables(*names: str) -> str:
    return CONF + "".join(f"[destinations.{name}]\n" for name in names)


def send(router: Router, *ids: str) -> None:
    for one in ids:
        event = {"type": "track", "event": "Seen", "userId": "ann", "messageId": one}
        assert router.post("/v1/track", event).ok


def taken(router: Router, name: str) -> list[str]:
    file: Path = router.data / name
    return file.read_text().split() if file.exists() else []


def archived(router: Router) -> list[str]:
    return [event["messageId"] for event in router.archived()]


def hup(router: Router) -> None:
    before = router.workers()
    assert router.process is not None
    router.process.send_signal(signal.SIGHUP)
    eventually(lambda: not {*before} & {*router.workers()}, 40)


def test_plugins_that_cannot_be_loaded_cost_no_other_destination(
    router: Router, write
) -> None:
    write(**BROKEN)
    router.configure(tables(*BROKEN))
    with router.running():
        send(router, "a", "b")
        eventually(lambda: archived(router) == ["a", "b"])
        rows = {row["destination"]: row for row in router.json("status", ok=False)}
        printed = router.run("status", ok=False)
        metrics = requests.get(f"{router.url}/metrics", timeout=10).text
    for name in BROKEN:
        row = rows[name]
        assert (row["state"], row["pending"], row["delivered"]) == ("broken", 2, 0)
        where = f"conf.d/all.toml: [destinations.{name}] plugin: "
        assert row["problem"].startswith(where)
        assert "mend its plugin" in row["problem"]
        assert f"{name}: cannot be loaded: {row['problem']}" in printed
        assert f'router_held{{destination="{name}"}} 1.0' in metrics
        told = [line for line in router.log().splitlines() if f".{name}] " in line]
        assert len(told) == 1
        assert "[ERROR] router: does not run, its events wait: " in told[0]
    assert rows["archive"]["state"] == "running"
    assert rows["archive"]["problem"] is None
    assert CANARY not in printed + metrics + router.log()
    assert "Traceback" not in printed + router.log()


def test_check_fails_and_says_what_runs_all_the_same(router: Router, write) -> None:
    write(raises=BROKEN["raises"])
    router.configure(tables("raises"))
    found = router.json("check", ok=False)
    assert (found["ok"], found["starts"]) == (False, True)
    (problem,) = found["problems"]
    assert "cannot be imported: RuntimeError (" in problem
    runs = {one["destination"]: one["runs"] for one in found["destinations"]}
    assert runs == {"movable_ink": True, "archive": True, "raises": False}
    router.configure(tables("raises") + "tiemout = 3\n[destinations.nope]\n")
    found = router.json("check", ok=False)
    assert (found["ok"], found["starts"]) == (False, False)
    assert len(found["problems"]) == 2  # its own keys are not known
    for command in ("explain -d raises", "replay raises --since 1h"):
        assert "no plugin is named 'nope'" in router.run(*command.split(), ok=False)


def test_a_requirement_that_is_none_is_named_by_its_place(
    router: Router, write
) -> None:
    returns = "\n@hookimpl\ndef requirements():\n    return {'Wish': ['c4n4ry']}\n"
    write(loose=SOUND + returns)
    router.configure(tables("loose"))
    said = (
        'requirements["Wish"][0]: expected a requirement, as required("total"); '
        "came str"
    )
    (problem,) = router.json("check", ok=False)["problems"]
    assert problem == f"conf.d/all.toml: [destinations.loose] plugin: {said}"
    assert said in router.run("plugins", "loose")


def test_commands_say_why_a_destination_is_left_out(router: Router, write) -> None:
    write(raises=BROKEN["raises"])
    router.configure(tables("raises"))
    with router.running():
        send(router, "a")
    said = router.run("explain", "a", ok=False)
    assert "cannot be imported: RuntimeError (" in said
    assert "Going on without." in said
    for command in ("explain -d raises a", "replay raises --since 1h"):
        said = router.run(*command.split(), ok=False)
        assert "Error: raises is broken, and does not run: " in said
        assert said.count("cannot be imported: RuntimeError (") == 1
        assert "mend its plugin" in said
        assert "Going on without." not in said
    # Of what is broken another destination is told as ever.
    said = router.run("explain", "-d", "archive", "a", ok=False)
    assert "Going on without." in said
    row = router.row("status", "raises")
    assert (row["state"], row["pending"]) == ("broken", 1)


def test_events_wait_for_a_new_destination_until_it_is_mended(
    router: Router, write
) -> None:
    write(late=BROKEN["raises"])
    with router.running():
        send(router, "before")
    router.configure(tables("late"))
    with router.running():
        send(router, "a", "b")
        write(late=SOUND)
        # It is sound now, but not for those who have loaded it before.
        assert router.row("status", "late")["state"] == "not started"
    with router.running():
        eventually(lambda: taken(router, "late") == ["a", "b"])
        row = router.row("status", "late")
    assert (row["state"], row["pending"], row["problem"]) == ("running", 0, None)
    ledger = router.row("ledger", "late")
    assert (ledger["accepted"], ledger["balanced"]) == (2, True)


def test_on_hup_a_plugin_may_break_and_be_mended(router: Router, write) -> None:
    write(fickle=SOUND)
    router.configure(tables("fickle"))
    with router.running("-c", str(ROOT / "gunicorn.conf.py")):
        eventually(lambda: count_workers(router.data) == 2)
        send(router, "a")
        eventually(lambda: taken(router, "fickle") == ["a"])
        write(fickle=BROKEN["garbled"])
        row = router.row("status", "fickle")
        assert row["state"] == "running"  # with what was loaded
        assert "cannot be imported" in row["problem"]
        hup(router)
        send(router, "b")
        eventually(lambda: archived(router) == ["a", "b"])
        assert router.row("status", "fickle")["state"] == "broken"
        write(fickle=SOUND + "\n# whole again\n")
        hup(router)
        eventually(lambda: taken(router, "fickle") == ["a", "b"])
    assert "goes on with what it has" not in router.log()


def test_a_plugin_that_prints_spoils_no_json_and_no_hup(router: Router, write) -> None:
    write(chatty="print('hello')\n" + SOUND)
    router.configure(tables("chatty"))
    for command in (("check",), ("plugins", "chatty")):
        done = subprocess.run(
            [sys.executable, "-m", "router", *command, "--json"],
            cwd=router.directory, env=router.environ(), capture_output=True, text=True,
            timeout=30,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "hello\n")
        json.loads(done.stdout)
    with router.running("-c", str(ROOT / "gunicorn.conf.py")):
        eventually(lambda: count_workers(router.data) == 2)
        hup(router)
        send(router, "a")
        eventually(lambda: taken(router, "chatty") == ["a"])
    assert "goes on with what it has" not in router.log()


def test_an_import_that_does_not_end_is_left_behind(router: Router, write) -> None:
    write(stuck=BLOCKED, slow="import time\n\ntime.sleep(1.5)\n" + SOUND)
    stuck = "".join(
        f'[destinations.{name}]\nplugin = "stuck"\n' for name in ("a", "b", "c")
    )
    router.configure(CONF + stuck + "[destinations.slow]\n")
    with router.running():
        send(router, "a")
        eventually(lambda: archived(router) == taken(router, "slow") == ["a"])
    place = router.directory / "plugins" / "stuck.py"
    for name in ("a", "b", "c"):
        said = rf"{name}\] plugin: {LATE} within 10 s: it is at {place}:3\n"
        assert re.search(said, router.log())
    assert "Traceback" not in router.log()


def test_a_sandbox_that_does_not_come_about_costs_no_destination(
    router: Router, write
) -> None:
    names = ("slow", "slower", "slowest")
    write(**dict.fromkeys(names, SOUND + NO_SANDBOX))
    router.configure(tables(*names))
    began = time.monotonic()
    with router.running():
        assert time.monotonic() - began < 2 * SANDBOX_SECONDS
        assert router.profiles() == []
        send(router, "a")
        eventually(lambda: archived(router) == taken(router, "slow") == ["a"])
    place = f"it is at {router.directory}/plugins/slow.py:"
    said = "slow: has no sandbox: its hook `sandbox` has not returned within 5 s: "
    assert re.search(f"{said}{place}\\d+\n", router.log())


MISBEHAVING = {
    "maps": SOUND.replace('return event["messageId"]', "1 / 0"),
    "quits": SOUND.replace('return event["messageId"]', "raise SystemExit"),
    "wild": SOUND.replace('return event["messageId"]', "return {1, 2}"),
    "endless": SOUND.replace(
        'return event["messageId"]', "event['me'] = event\n    return event"
    ),
    "meddles": SOUND.replace(
        'return event["messageId"]', "event.clear()\n    return 'mine'"
    ),
    "drops": SOUND.replace("with open", "raise KeyError\n    with open"),
    "dies": SOUND.replace("with open", "raise SystemExit\n    with open"),
    "leaks": SOUND.replace(
        "with open",
        "import threading, time\n"
        "    threading.Thread(target=time.sleep, args=(9999,), daemon=True).start()\n"
        "    with open",
    ),
}


def test_plugins_that_misbehave_cost_their_own_events_only(
    router: Router, write
) -> None:
    write(**MISBEHAVING)
    router.configure(tables(*MISBEHAVING))
    ids = ["a", "b", "c"]
    with router.running():
        send(router, *ids)
        eventually(lambda: archived(router) == ids)
        for name in MISBEHAVING:
            eventually(lambda name=name: router.row("ledger", name)["pending"] == 0)
        rows = {row["destination"]: row for row in router.json("ledger")}
    assert all(event["event"] == "Seen" for event in router.archived())
    assert rows["meddles"]["delivered"] == rows["leaks"]["delivered"] == 3
    for name in MISBEHAVING.keys() - {"meddles", "leaks"}:
        assert rows[name]["dead"] == {"plugin_error": 3}, name
    assert all(row["balanced"] for row in rows.values())
