"""With the shipped gunicorn.conf.py workers share the connections evenly."""

import http.client
import os
import signal
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


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    number = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            number += os.readlink(path).startswith("socket:")
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
    before = {pid: sockets(pid) for pid in router.workers()}
    with ExitStack() as stack:
        made = [http.client.HTTPConnection("127.0.0.1", router.port) for _ in range(40)]
        for connection in made:
            stack.enter_context(closing(connection))
            connection.connect()
        eventually(lambda: sum(taken(before)) == 40, 5)
        assert min(taken(before)) >= 16


def taken(before: dict[int, int]) -> list[int]:
    """How many connections each worker has taken since."""
    return [sockets(pid) - number for pid, number in before.items()]


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
