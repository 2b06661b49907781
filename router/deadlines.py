"""Ends connections whose client takes too long to send its request."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Deadlines:
    """Shuts a socket down that is waited for longer than `seconds`.

    A timeout of the socket's own starts again with every byte, so that a client which
    sends one now and then could hold a thread for hours.
    """

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._clock = seconds, clock
        # Changed by all threads, without a lock: each has a key of its own.
        self._waiting: dict[int, tuple[float, socket.socket]] = {}
        self._starting = threading.Lock()
        self._watch: threading.Thread | None = None
        self._sleeps = False
        self._called = threading.Event()

    @contextmanager
    def over(self, waited: socket.socket) -> Iterator[None]:
        """Watches the socket meanwhile."""
        key = id(waited)
        self._waiting[key] = (self._clock() + self._seconds, waited)
        if self._watch is None:
            self._start()
        if self._sleeps:
            self._called.set()
        try:
            yield
        finally:
            del self._waiting[key]

    def _start(self) -> None:
        # By the first request, as no thread outlives a fork.
        with self._starting:
            if self._watch is None:
                self._watch = threading.Thread(target=self._run, daemon=True)
                self._watch.start()

    def _run(self) -> None:
        while True:
            now = self._clock()
            for end, waited in list(self._waiting.values()):
                if end <= now:
                    hang_up(waited)
            # Each waits for the same time, so the first of them is due first, and none
            # that comes later has to wake this thread.
            if due := self._due(now):
                self._called.wait(due[0] - now)
            else:
                self._sleeps = True
                # One that came before could not know of it.
                if not self._due(now):
                    self._called.wait()
                self._sleeps = False
            self._called.clear()

    def _due(self, now: float) -> list[float]:
        return [end for end, _ in list(self._waiting.values()) if end > now]


def hang_up(connection: socket.socket) -> None:
    """Ends a connection without an answer: what the client takes as a reason to send
    again."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
