"""A partner at the level of sockets: it says what it is told, byte by byte, and
counts what it was asked. For what no well-behaved server can be made to do."""

import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

RESET = "reset"
CLOSE = "close"


@dataclass(frozen=True)
class Request:
    """What one request said; the names of headers in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> bytes:
        """The body, inflated where it was sent in gzip."""
        is_gzip = self.headers.get("content-encoding") == "gzip"
        return gzip.decompress(self.body) if is_gzip else self.body


# What is done for a request: bytes to send, seconds to wait, RESET or CLOSE.
Step = bytes | float | str
Script = bytes | Iterable[Step] | Callable[[Request], Iterable[Step]]


@dataclass
class Partner:
    """Plays a script for each request; the last script stands for all that follow.

    A script may be a function that makes the steps from the request. reads: false for a
    partner that takes connections and never reads from them. aside: what it says to a
    request that no script is for, or None; these are kept in `asides`, and what it said
    in `told`.
    """

    scripts: tuple[Any, ...]
    reads: bool = True
    tls: ssl.SSLContext | None = None
    aside: Callable[[Request], bytes | None] = lambda request: None
    requests: list[Request] = field(default_factory=list)
    asides: list[Request] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def run(self) -> None:
        while not self._stopped.is_set():
            with suppress(OSError):
                connection, _ = self._listener.accept()
                self._start(self._serve, connection)

    def start(self) -> None:
        self._start(self.run)

    def stop(self) -> None:
        with self._lock:
            self._stopped.set()
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def threads(self) -> list[threading.Thread]:
        """All that it has ever started."""
        return list(self._threads)

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self.tls is not None:
                connection.settimeout(5)
                connection = self.tls.wrap_socket(connection, server_side=True)
                connection.settimeout(None)
            with connection:
                if not self._is_counted(connection):
                    return
                if self.reads:
                    self._converse(connection)
                else:
                    self._stopped.wait()

    def _is_counted(self, connection: socket.socket) -> bool:
        """False when the partner has stopped already."""
        with self._lock:
            if self._stopped.is_set():
                return False
            self.connections += 1
            self._open.append(connection)
            return True

    def _converse(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        with reader:
            while (request := _read(reader)) is not None:
                if (said := self.aside(request)) is not None:
                    self.asides.append(request)
                    self.told.append(said)
                    connection.sendall(said)
                    continue
                with self._lock:
                    number = min(len(self.requests), len(self.scripts) - 1)
                    self.requests.append(request)
                script = self.scripts[number]
                for step in script(request) if callable(script) else script:
                    if not self._play(step, connection):
                        return

    def _play(self, step: Any, connection: socket.socket) -> bool:
        """Whether the connection goes on after the step."""
        if isinstance(step, bytes):
            connection.sendall(step)
        elif step == RESET:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        elif step == CLOSE:
            return False
        else:
            self._stopped.wait(step)
        return not self._stopped.is_set()


@contextmanager
def scripted(*scripts: Script, **how: Any) -> Iterator[Partner]:
    """A partner on a free port. A script that is bytes alone is sent at once."""
    steps = [(one,) if isinstance(one, bytes) else one for one in scripts]
    partner = Partner(tuple(steps), **how)
    partner.start()
    try:
        yield partner
    finally:
        partner.stop()


def answer(status: str = "200 OK", *headers: str, body: bytes = b"") -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def drip(data: bytes, every: float) -> Iterator[bytes | float]:
    """The steps that send data a byte at a time."""
    for byte in data:
        yield bytes([byte])
        yield every


def _read(reader: Any) -> Request | None:
    line = reader.readline().decode("latin-1").strip()
    if not line:
        return None
    headers = {}
    while (row := reader.readline().decode("latin-1").strip()) != "":
        name, _, value = row.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line, headers, reader.read(int(headers.get("content-length", 0))))
