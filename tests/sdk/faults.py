"""What goes wrong with a router while a client runs."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from conftest import Router, eventually

# Starts a router that notes the status of each answer.
ACCESS_LOG = ("--access-logfile", "-", "--access-logformat", "answer %(m)s %(s)s")


def answers(router: Router, status: int) -> int:
    """How often the router gave this answer to a client."""
    return router.log().count(f"answer POST {status}\n")


@contextmanager
def unavailable(router: Router) -> Iterator[None]:
    """The log takes nothing: its lock cannot be opened. Clients get 503."""
    lock = router.data / "log.lock"

    def block() -> bool:
        lock.unlink(missing_ok=True)
        try:
            lock.mkdir()
        except FileExistsError:  # a writer was quicker
            return False
        return True

    eventually(block)
    yield
    lock.rmdir()


def kill(router: Router) -> None:
    """Ends all its processes as a power cut would."""
    assert router.process
    if router.process.poll() is None:
        for pid in (router.process.pid, *router.workers()):
            os.kill(pid, signal.SIGKILL)
    router.process.wait()
    router.process = None
    eventually(lambda: is_refusing(router))


def is_refusing(router: Router) -> bool:
    try:
        requests.get(f"{router.url}/health", timeout=5)
    except requests.ConnectionError:
        return True
    return False
