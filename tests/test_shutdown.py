"""What a worker of gunicorn does at its end: to files that are not its own, and to say
whether every event is accounted for."""

import os
import signal
import socket
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from conftest import Router, eventually


def pipes(pid: int) -> set[str]:
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(fd))
    return {link for link in found if link.startswith("pipe:")}


def test_a_request_that_outlasts_the_grace_writes_to_no_file_of_ours(
    router: Router,
) -> None:
    gthread = ("--worker-class", "gthread", "--threads", "2", "--graceful-timeout", "1")
    with router.running(*gthread):
        (pid,) = router.workers()
        before = pipes(pid)
        with socket.create_connection(("127.0.0.1", router.port)) as client:
            client.sendall(b"POST /v1/track HTTP/1.1\r\nHost: h\r\n")
            client.sendall(b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
            assert client.recv(99).startswith(b"HTTP/1.1 100")
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: f"Worker exiting (pid: {pid})" in router.log())
            # The request's thread will write to the number of one of them.
            assert before <= pipes(pid)


@pytest.mark.parametrize(
    ("falsify", "off"),
    [
        ("UPDATE counts SET number = number - 2 WHERE 1", "+2"),
        ("UPDATE offsets SET offset = offset - 1 WHERE offset > start", "-1"),
    ],
)
def test_a_ledger_that_does_not_add_up_is_told_of_when_a_worker_stops(
    router: Router, falsify: str, off: str
) -> None:
    with router.running():
        for number in range(3):
            event = {"event": "e", "userId": "u", "messageId": f"m{number}"}
            assert router.post("/v1/track", event).ok
        eventually(lambda: router.row("ledger", "archive")["pending"] == 0)
        ledger = router.data / "ledger.db"
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            connection.execute(f"{falsify} AND destination = 'archive'")
        assert router.stop() == 0
    said = [line for line in router.log().splitlines() if "router.delivery" in line]
    assert said
    line = f"[ERROR] router.delivery: archive: the ledger is off by {off}:"
    assert all(line in one for one in said)


def test_of_a_ledger_that_adds_up_a_worker_says_nothing_when_it_stops(
    router: Router,
) -> None:
    with router.running():
        assert router.post("/v1/track", {"event": "e", "userId": "u"}).ok
        eventually(lambda: router.row("ledger", "archive")["pending"] == 0)
        assert router.stop() == 0
    assert "Worker exiting" in router.log()
    assert "router.delivery" not in router.log()


def test_a_ledger_that_cannot_be_read_keeps_no_worker_from_stopping(
    router: Router,
) -> None:
    with router.running():
        eventually(lambda: router.row("status", "archive")["state"] == "running")
        ledger = router.data / "ledger.db"
        ledger.write_bytes(b"no database" * 1000)
        ledger.with_name("ledger.db-wal").write_bytes(b"")
        assert router.stop() == 0
    assert "the ledger cannot be checked: ledger.db: " in router.log()
