"""A partner at the level of sockets: it says what it is told, byte by byte, and
counts what it was asked. For what no well-behaved server can be made to do."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

RESET = "reset"
CLOSE = "close"


@dataclass(frozen=True)
class Request:
    """What one request said."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Partner:
    """Plays a script for each request; the last script stands for all that follow.

    A step of a script is bytes to send, seconds to wait, RESET or CLOSE. A script may
    be a function that makes the steps from the request. reads: false for a partner that
    takes connections and never reads from them.
    """

    scripts: tuple
    reads: bool = True
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self):
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._open = []
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def run(self):
        while not self._stopped.is_set():
            with suppress(OSError):
                connection, _ = self._listener.accept()
                self._start(self._serve, connection)

    def start(self):
        self._start(self.run)

    def stop(self):
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

    def _start(self, run, *arguments):
        thread = threading.Thread(target=run, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _serve(self, connection):
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

    def _is_counted(self, connection) -> bool:
        """False when the partner has stopped already."""
        with self._lock:
            if self._stopped.is_set():
                return False
            self.connections += 1
            self._open.append(connection)
            return True

    def _converse(self, connection):
        reader = connection.makefile("rb")
        with reader:
            while (request := _read(reader)) is not None:
                with self._lock:
                    number = min(len(self.requests), len(self.scripts) - 1)
                    self.requests.append(request)
                script = self.scripts[number]
                for step in script(request) if callable(script) else script:
                    if not self._play(step, connection):
                        return

    def _play(self, step, connection) -> bool:
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
def scripted(*scripts, **how) -> Iterator[Partner]:
    """A partner on a free port. A script that is bytes alone is sent at once."""
    steps = [(one,) if isinstance(one, bytes) else one for one in scripts]
    partner = Partner(tuple(steps), **how)
    partner.start()
    try:
        yield partner
    finally:
        partner.stop()


def answer(status="200 OK", *headers, body=b"") -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def drip(data: bytes, every: float) -> Iterator[bytes | float]:
    """The steps that send data a byte at a time."""
    for byte in data:
        yield bytes([byte])
        yield every


def _read(reader) -> Request | None:
    line = reader.readline().decode("latin-1").strip()
    if not line:
        return None
    headers = {}
    while (row := reader.readline().decode("latin-1").strip()) != "":
        name, _, value = row.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line, headers, reader.read(int(headers.get("content-length", 0))))
