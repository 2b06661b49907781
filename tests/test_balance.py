"""With the shipped gunicorn.conf.py workers share the connections evenly."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from conftest import Router, eventually

CONF_PY = Path(__file__).parent.parent / "gunicorn.conf.py"
CONF = '[sources.web]\nwrite_key = "key"\n'


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    router = Router(tmp_path, CONF)
    # Then both take connections as soon as they are there.
    with router.running("-c", str(CONF_PY), "--preload", WEB_CONCURRENCY="2"):
        eventually(lambda: len(router.workers()) == 2)
        yield router


def connections(port: int, peers: set[int]) -> set[str]:
    """What Linux calls the sockets that a server on that port has with these."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, ours, theirs, *_, inode = line.split()[:10]
        ports = [int(address.partition(":")[2], 16) for address in (ours, theirs)]
        if ports[0] == port and ports[1] in peers:
            found.add(f"socket:[{inode}]")
    return found


def count(pid: int, sockets: set[str]) -> int:
    """How many of these a process has open."""
    number = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            number += os.readlink(path) in sockets
    return number


def answers(router: Router, number: int, stack: ExitStack) -> list[int]:
    """The answers on so many new connections, which stay open."""
    found = []
    for _ in range(number):
        made = http.client.HTTPConnection("127.0.0.1", router.port, timeout=10)
        connection = stack.enter_context(closing(made))
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        found.append(answer.status)
    return found


def test_connections_that_come_at_once_are_shared(router: Router) -> None:
    peers: set[int] = set()
    with ExitStack() as stack:

        def connect(number: int) -> None:
            for _ in range(number):
                made = socket.create_connection(("127.0.0.1", router.port))
                peers.add(stack.enter_context(made).getsockname()[1])

        def taken() -> list[int]:
            sockets = connections(router.port, peers)
            return [count(pid, sockets) for pid in router.workers()]

        # Before both are at work, one takes what there is.
        eventually(lambda: connect(1) or min(taken()) > 0)
        connect(40)
        eventually(lambda: sum(taken()) == len(peers), 5)
        assert max(taken()) - min(taken()) <= 8


def test_a_worker_that_hangs_keeps_no_connection_from_the_others(
    router: Router,
) -> None:
    hung = router.workers()[0]
    os.kill(hung, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            assert answers(router, 12, stack) == [200] * 12
    finally:
        os.kill(hung, signal.SIGCONT)


def test_nor_does_one_that_was_killed(router: Router) -> None:
    with ExitStack() as stack:
        answers(router, 12, stack)
        killed = router.workers()[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in router.workers())
        assert answers(router, 12, stack) == [200] * 12
        eventually(lambda: len(router.workers()) == 2)
        assert answers(router, 12, stack) == [200] * 12
