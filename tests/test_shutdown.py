"""What a worker of gunicorn does at its end to files that are not its own."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

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
