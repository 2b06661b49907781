"""The `router` commands against a real log and a running router."""

import fcntl
import json
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CONF, ROOT, Router, eventually

from router.commands import show
from router.wakeup import count_workers


def viewed(number: int, **properties: Any) -> dict[str, Any]:
    product = {"sku": "S1", "url": "https://shop.example/p"}
    return {"type": "track", "event": "Product Viewed", "anonymousId": f"u{number % 3}",
            "messageId": f"m-{number}", "properties": product | properties}  # fmt: skip


def write(router: Router, *events: Any) -> str:
    file = router.directory / "events.jsonl"
    file.write_text("\n".join(json.dumps(event) for event in events))
    return str(file)


def test_check_tells_what_would_run(router: Router) -> None:
    found = router.json("check")
    assert (found["ok"], found["problems"]) == (True, [])
    assert found["sources"] == [{"source": "web", "enabled": True}]
    assert [one["destination"] for one in found["destinations"]] == [
        "movable_ink", "archive"
    ]  # fmt: skip


def test_a_plugins_page_tells_what_it_is_takes_and_requires(router: Router) -> None:
    page = router.json("plugins", "movable_ink")
    assert page["about"].startswith("Movable Ink: customer events to its")
    assert page["types"] == ["identify", "track"]
    assert page["limits"]["batch_events"] == "1"
    assert page["integrations"] == ["Movable Ink", "MovableInk", "movable_ink"]
    assert page["sandbox"] is True
    keys = [setting["key"] for setting in page["settings"]]
    assert keys.index("api_key") < keys.index("plugin")
    (key,) = [one for one in page["settings"] if one["key"] == "api_key"]
    assert key["default"] == "required"
    required = {one["event"]: one["requires"] for one in page["requirements"]}
    assert "total (a number)" in required["Order Completed"]
    assert "about: Movable Ink" in router.run("plugins", "movable_ink")


def test_a_plugins_page_says_what_it_cannot_tell(router: Router) -> None:
    (router.directory / "plugins").mkdir()
    plugin = router.directory / "plugins" / "keen.py"
    plugin.write_text(
        "from router import DestinationSettings, hookimpl\n"
        "from router.requirements import required\n\n\n"
        "class Settings(DestinationSettings):\n    wanted: str\n\n\n"
        "@hookimpl\ndef settings():\n    return Settings\n\n\n"
        "@hookimpl\ndef requirements(settings):\n"
        "    return {'Added': [required(settings.wanted)]}\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n"
    )
    page = router.json("plugins", "keen")
    assert page["requirements"] == []
    (note,) = page["notes"]
    assert note.startswith("requirements depend on a destination's settings (Attrib")
    assert page["settings"][0] == {
        "key": "wanted", "type": "text", "default": "required", "description": ""
    }  # fmt: skip
    assert "requirements depend on a destination's" in router.run("plugins", "keen")
    for hook, said in [
        ("raise KeyError('total')", "raised KeyError: 'total' (/"),
        ("return 'Settings'", "its hook `settings` returned no such thing"),
    ]:
        text = plugin.read_text().replace("return Settings", hook)
        (router.directory / "plugins" / "worse.py").write_text(text)
        printed = router.run("plugins", "worse", ok=False)
        assert said in printed
        assert "Traceback" not in printed


def test_check_lists_every_problem_and_exits_with_1(router: Router) -> None:
    router.configure(CONF.replace("api_secret", "api_secrt") + "tiemout = 3\n")
    found = router.json("check", ok=False)
    assert found["ok"] is False
    assert len(found["problems"]) == 2
    printed = router.run("check", ok=False)
    for name in ("api_secrt", "tiemout", "[destinations.archive]", "all.toml"):
        assert name in printed
    assert "sandbox-secret" not in printed
    assert "Traceback" not in printed


def test_a_configuration_that_is_wrong_stops_gunicorn_with_the_same_report(
    router: Router,
) -> None:
    router.configure(CONF + "tiemout = 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "router"],
        cwd=router.directory, env=router.environ(), capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert done.returncode != 0
    assert "[destinations.archive] tiemout: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


def test_send_status_dead_letters_and_ledger_agree(router: Router) -> None:
    file = write(router, *(viewed(n) for n in range(250)), viewed(250, url=""), {})
    with router.running("--workers", "2"):
        sent = router.json("send", file, ok=False)
        assert sent["accepted"] == 251
        assert [(one["index"], one["code"]) for one in sent["rejected"]] == [
            (251, "unknown_type")
        ]
        eventually(lambda: not router.row("status", "movable_ink")["pending"], 30, 0.2)
        row = router.row("ledger", "movable_ink")
        letters = router.json("dead-letters", "list")
        shown = router.json("dead-letters", "show", str(letters[0]["id"]), "--unmask")
        plain = router.run("dead-letters", "show", str(letters[0]["id"]))
    assert (row["accepted"], row["delivered"], row["dead"], row["balanced"]) == (
        251, 250, {"requirements": 1}, True
    )  # fmt: skip
    (letter,) = letters
    assert (letter["destination"], letter["messageId"], letter["code"]) == (
        "movable_ink", "m-250", "requirements"
    )  # fmt: skip
    assert letter["problems"] == ["properties.url: required"]
    assert shown["event"]["messageId"] == "m-250"
    assert "Product Viewed" not in plain


def test_send_says_how_many_were_rejected_and_why(router: Router) -> None:
    with router.running():
        printed = router.run("send", write(router, viewed(0)))
        assert printed == "accepted: 1\nrejected: none\n"
        printed = router.run("send", write(router, viewed(1), {}), ok=False)
    assert printed.startswith("accepted: 1\nrejected: 1\nindex")
    assert "unknown_type" in printed


def test_send_says_when_no_router_answers(router: Router) -> None:
    printed = router.run("send", write(router, viewed(0)), ok=False)
    assert "no router answers there" in printed


def test_a_line_that_is_no_json_is_named(router: Router) -> None:
    file = router.directory / "events.jsonl"
    file.write_text('{"type": "page"}\n{oops\n')
    assert "line 2 is no JSON" in router.run("explain", str(file), ok=False)


def test_ledger_exits_with_1_when_it_does_not_add_up(router: Router) -> None:
    with router.running():
        assert router.post("/v1/batch", {"batch": [viewed(n) for n in range(9)]}).ok
        eventually(lambda: len(router.archived()) == 9)
    assert "yes" in router.run("ledger")
    database = sqlite3.connect(router.data / "ledger.db")
    with database:
        database.execute("UPDATE counts SET number = number + 1")
    database.close()
    assert [row["balanced"] for row in router.json("ledger", ok=False)] == [False] * 2


def test_deliver_runs_the_lanes_that_workers_do_not(router: Router) -> None:
    router.configure(CONF.replace("sandbox = true", "sandbox = true\ndeliver = false"))
    with router.running():
        assert router.post("/v1/batch", {"batch": [viewed(n) for n in range(20)]}).ok
        assert router.row("status", "archive")["pending"] == 20
        deliver = subprocess.Popen(
            [sys.executable, "-m", "router", "deliver"],
            cwd=router.directory, env=router.environ(),
        )  # fmt: skip
        try:
            eventually(lambda: len(router.archived()) == 20)
            eventually(lambda: len(router.received()) == 20)
        finally:
            os.kill(deliver.pid, signal.SIGTERM)
        assert deliver.wait(timeout=20) == 0
        assert all(row["balanced"] for row in router.json("ledger"))


def test_partitions_cannot_change_once_there_is_a_log(router: Router) -> None:
    with router.running():
        pass
    router.configure(CONF.replace("sandbox = true", "sandbox = true\npartitions = 3"))
    for command in ("status", "check"):
        printed = router.run(command, ok=False)
        assert "partitions = 3: expected 8" in printed


def test_check_tells_of_a_data_dir_that_cannot_be_used_and_makes_none(
    router: Router,
) -> None:
    assert router.json("check")["ok"]
    assert not router.data.exists()
    router.data.write_text("a file in the place of the folder")
    found = router.json("check", ok=False)
    (problem,) = found["problems"]
    assert "[router] data_dir = " in problem
    assert problem.endswith("/data is no directory")
    assert not found["ok"]
    router.data.unlink()
    (router.data / "log").mkdir(parents=True)
    (router.data / "log" / "00000001.db").write_text("no database" * 100)
    (problem,) = router.json("check", ok=False)["problems"]
    assert problem.endswith("00000001.db: file is not a database")


def test_a_data_dir_that_may_not_be_written_to_is_told_of(router: Router) -> None:
    router.data.mkdir(mode=0o500)
    # Root may write anywhere, unless it gives that up.
    command = "import model, router.cli; model.mortal(); router.cli.main()"
    environ = router.environ()
    done = subprocess.run(
        [sys.executable, "-c", command, "check"],
        cwd=router.directory, capture_output=True, text=True, timeout=30,
        env=environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )  # fmt: skip
    assert f"{router.data} cannot be written to" in done.stdout.replace("\n", "")
    assert done.returncode == 1


def test_a_mistake_on_hup_leaves_the_router_as_it_is(router: Router) -> None:
    def hup() -> None:
        assert router.process is not None
        router.process.send_signal(signal.SIGHUP)

    with router.running("-c", str(ROOT / "gunicorn.conf.py")):
        # Or the second worker would meet the mistake when it starts.
        eventually(lambda: count_workers(router.data) == 2)
        before = router.workers()
        router.configure(CONF.replace("sandbox = true", 'sandbox = "maybe"'))
        hup()
        eventually(lambda: "goes on with what it has" in router.log(), 40)
        assert "sandbox = 'maybe'" in router.log()
        assert router.is_ready()
        assert router.post("/v1/track", viewed(0)).ok
        assert router.workers() == before
        router.configure(CONF.replace('"key"', '"another"', 1))
        hup()
        eventually(lambda: not {*before} & {*router.workers()}, 40)
        assert router.is_ready()
        assert router.post("/v1/track", viewed(1), key="another").ok


def test_wrong_use_exits_with_2_and_says_what_there_is(router: Router) -> None:
    for command in (["explain", "-d", "nope"], ["dead-letters", "show", "x"], ["nope"]):
        done = subprocess.run(
            [sys.executable, "-m", "router", *command],
            cwd=router.directory, env=router.environ(), capture_output=True, text=True,
            input="{}", timeout=30,
        )  # fmt: skip
        assert done.returncode == 2, command
        assert "Traceback" not in done.stderr


def test_status_tells_of_a_router_that_does_not_run_and_makes_no_log(
    router: Router,
) -> None:
    printed = router.run("status", ok=False)
    assert "there is no log at" in printed
    assert not router.data.exists()
    with router.running():
        assert router.row("status", "archive")["state"] == "running"
        router.configure(CONF + '[destinations.more]\nplugin = "jsonl"\n')
        assert router.row("status", "more")["state"] == "not started"
    assert router.row("status", "archive")["state"] == "stopped"


def test_status_says_why_a_destination_retries(router: Router) -> None:
    with router.running():
        faults = f"{router.url}/sandbox/movable_ink/faults"
        assert requests.post(faults, json={"status": 503, "times": 999}, timeout=5).ok
        assert router.post("/v1/track", viewed(0)).ok
        row = eventually(
            lambda: (found := router.row("status", "movable_ink"))["holds"] and found
        )
        printed = router.run("status")
    assert row["state"] == "retrying"
    assert "movable_ink/" in printed
    assert "retry since" in printed
    assert "answered 503" in printed
    assert "remedy: none needed" in printed


def test_a_mistake_in_one_table_does_not_take_the_tools_away(router: Router) -> None:
    with router.running():
        router.post("/v1/track", viewed(1))
        eventually(lambda: router.row("ledger", "archive")["delivered"] == 1)
        router.configure(CONF + "tiemout = 3\n")
        for command in ("status", "ledger", "dead-letters list", "replays list"):
            said = router.run(*command.split())
            assert "[destinations.archive] tiemout: unknown key" in said
            assert "Going on without." in said
        assert re.search(r"archive +removed +1 +1 ", router.run("status"))
        for command in ("explain events.jsonl", "send events.jsonl", "deliver"):
            assert "Going on" not in router.run(*command.split(), ok=False)


def test_nothing_is_done_where_it_is_not_certain_which_log_is_meant(
    router: Router,
) -> None:
    with router.running():
        pass
    for mistake in ("[router]\npartitions = 0\n", "[router\n", "[ruter]\n"):
        (router.conf / "b.toml").write_text(mistake)
        for command in ("status", "ledger", "replays list"):
            said = router.run(*command.split(), ok=False)
            assert "b.toml" in said
            assert "Going on" not in said


SHOW = (
    "import json; from router.commands import show; show(json.load(open('rows.json')))"
)


def on_a_terminal(directory: Path, rows: list[dict[str, str]], columns: int) -> str:
    """What a command prints of rows on a terminal so wide."""
    ours, theirs = pty.openpty()
    size = struct.pack("HHHH", 24, columns, 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    (directory / "rows.json").write_text(json.dumps(rows))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    for name in ("COLUMNS", "LINES"):
        environ.pop(name, None)
    subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=directory, env=environ, stdin=theirs, stdout=theirs, stderr=theirs,
        check=True, timeout=60,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    with suppress(OSError):  # where nobody writes to it any more
        while more := os.read(ours, 65536):
            said += more
    os.close(ours)
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", said)
    return plain.decode().replace("\r\n", "\n")


LONG = "it was refused, and the partner said\nat length :100: what it thinks of that"
SAID = LONG.replace("\n", " ")
ROWS = [
    {"id": "0123456789abcdef0123456789abcdef", "when": "2026-01-01T00:00:00.000Z",
     "reason": LONG, "count": "1"},
    {"id": "fedcba9876543210fedcba9876543210", "when": "2026-01-01T00:00:00.001Z",
     "reason": "no", "count": "2"},
]  # fmt: skip


def test_a_terminal_with_room_for_ids_shows_a_table(tmp_path: Path) -> None:
    said = on_a_terminal(tmp_path, ROWS, 80)
    lines = said.splitlines()
    assert lines[0].split() == ["id", "when", "reason", "count"]
    assert max(map(len, lines)) <= 80
    assert len(lines) > 3  # the long reason goes on
    for row in ROWS:
        assert row["id"] in said
        assert row["when"] in said


def test_a_terminal_without_room_for_ids_shows_a_paragraph_for_each_row(
    tmp_path: Path,
) -> None:
    paragraphs = [
        "".join(f"{name}: {value}\n" for name, value in row.items()) for row in ROWS
    ]
    assert on_a_terminal(tmp_path, ROWS, 60) == "\n".join(paragraphs) + "\n"


def test_a_program_reads_a_line_for_each_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert SAID in lines[1]


def test_a_row_may_have_members_that_others_lack(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([{"index": 1}, {"index": 2, "hint": "none"}])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["index", "hint"], ["1", "-"], ["2", "none"]
    ]  # fmt: skip
