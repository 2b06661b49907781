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
        self._waiting: dict[int, tuple[float, socket.socket]] = {}
        self._begins = threading.Condition()
        self._sleeps = False
        self._watch: threading.Thread | None = None

    @contextmanager
    def over(self, waited: socket.socket) -> Iterator[None]:
        """Watches the socket meanwhile."""
        key = id(waited)
        with self._begins:
            self._waiting[key] = (self._clock() + self._seconds, waited)
            if self._watch is None:
                # Begun by the first request, as no thread outlives a fork.
                self._watch = threading.Thread(target=self._run, daemon=True)
                self._watch.start()
            if self._sleeps:
                self._begins.notify()
        try:
            yield
        finally:
            with self._begins:
                del self._waiting[key]

    def _run(self) -> None:
        with self._begins:
            while True:
                now = self._clock()
                for end, waited in self._waiting.values():
                    if end <= now:
                        hang_up(waited)
                # Each waits for the same time, so the first of them is due first, and
                # none that comes later has to wake this thread.
                due = [end for end, _ in self._waiting.values() if end > now]
                self._sleeps = not due
                self._begins.wait(due[0] - now if due else None)
                self._sleeps = False


def hang_up(connection: socket.socket) -> None:
    """Ends a connection without an answer: what the client takes as a reason to send
    again."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
