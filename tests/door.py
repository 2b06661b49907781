"""The router's door as a client's socket sees it: bytes in, answers and events out."""

import base64
import gzip
import http.client
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from struct import pack
from typing import Any

from conftest import ROOT, Router, eventually

# One partition: one marker behind them tells that all earlier events are out.
CONF = """
[router]
data_dir = "{data}"
partitions = 1

[sources.web]
write_key = "key"

[sources.ios]
write_key = "ios-key"

[sources.off]
write_key = "off"
enabled = false

[destinations.archive]
plugin = "jsonl"

[destinations.webhook]
plugin = "jsonl"
"""


@dataclass(frozen=True)
class Answer:
    """An answer as it came; content: its JSON."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of a refusal in its one form; None for the plain success."""
        assert self.headers["Content-Type"] == "application/json"
        if self.status == 200:
            assert self.content == {"success": True}
            return None
        content = self.content
        assert content["success"] is False
        assert isinstance(content["message"], str)
        assert content["message"] == content["error"] != ""
        assert sorted(content) == ["code", "error", "message", "success"]
        return str(content["code"])

    @property
    def verdict(self) -> tuple[int, str | None]:
        return self.status, self.code

    @property
    def rejected(self) -> list[tuple[int, Any, str]]:
        """Of a batch of which some was refused: index, messageId and code."""
        assert self.status == 200
        assert self.content["success"] is True
        assert sorted(self.content) == ["accepted", "rejected", "success"]
        known = ["code", "index", "message", "messageId"]
        assert all(sorted(one) == known for one in self.content["rejected"])
        assert all(one["message"] for one in self.content["rejected"])
        return [
            (one["index"], one["messageId"], one["code"])
            for one in self.content["rejected"]
        ]


OK = (200, None)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Door:
    """A running router. Nothing that it is sent was tidied up by a library."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._markers = count()
        self._seen: dict[str, int] = dict.fromkeys(("archive", "webhook"), 0)

    def talk(self, *parts: bytes, pause: float = 0.0, end: bool = True) -> bytes:
        """What comes back for these bytes before the router closes the connection.

        end: whether the client says that nothing more follows.
        """
        with closing(self.connect()) as connection:
            for number, part in enumerate(parts):
                time.sleep(pause if number else 0)
                connection.sendall(part)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: received(connection), b""))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.router.port), 30)

    def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: str = "",
        key: str | None = "key",
    ) -> Answer:
        """headers: as they stand on the wire, a line each."""
        whole = request(method, target, body, headers, key, close=True)
        (found,) = answers(self.talk(whole), method)
        return found

    def post(
        self, target: str, body: Any, headers: str = "", key: str | None = "key"
    ) -> Answer:
        """body: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", target, data, headers, key)

    def track(self, *events: Any, **envelope: Any) -> Answer:
        return self.post("/v1/batch", {"batch": [*events], **envelope})

    def out(self) -> dict[str, list[dict[str, Any]]]:
        """The events that came out at each destination since this was last asked."""
        marker = f"marker-{next(self._markers)}"
        on = {"All": False, "archive": True, "webhook": True}
        sent = {"messageId": marker, "userId": "marker", "integrations": on}
        assert self.post("/v1/identify", sent).verdict == OK
        return {name: self._until(marker, name) for name in self._seen}

    def taken(self) -> list[dict[str, Any]]:
        """The events that came out at the archive."""
        return self.out()["archive"]

    def only(self) -> dict[str, Any]:
        """The one event that came out."""
        (event,) = self.taken()
        return event

    def _until(self, marker: str, destination: str) -> list[dict[str, Any]]:
        def arrived() -> list[dict[str, Any]] | None:
            found = self.router.archived(destination)[self._seen[destination] :]
            return found if found and found[-1]["messageId"] == marker else None

        found: list[dict[str, Any]] = eventually(arrived)
        self._seen[destination] += len(found)
        return found[:-1]


class Client:
    """A connection that is kept while the router keeps it."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._connection: socket.socket | None = None

    def answer(self, whole: bytes, method: str = "POST") -> Answer:
        """The one answer to a request that is HTTP."""
        connection = self._connection or self._door.connect()
        connection.sendall(whole)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        found = Answer(answer.status, answer.headers, answer.read())
        is_kept = answer.headers["Connection"] != "close"
        answer.close()
        self._connection = connection
        if not is_kept:
            self.close()
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@contextmanager
def opened(directory: Path, more: str = "", **environ: str) -> Iterator[Door]:
    router = Router(directory, CONF + more)
    with router.running("-c", str(ROOT / "gunicorn.conf.py"), **environ):
        yield Door(router)
    assert "Traceback" not in router.log()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def request(
    method: str,
    target: str,
    body: bytes | None = None,
    headers: str = "",
    key: str | None = "key",
    *,
    close: bool = False,
) -> bytes:
    """A whole request; its length is said unless its headers say otherwise."""
    lines = [f"{method} {target} HTTP/1.1", "Host: router.example"]
    lines += [f"Authorization: Basic {encoded(key + ':')}"] if key is not None else []
    lines += ["Connection: close"] if close else []
    lines += [line for line in headers.split("\n") if line]
    if body is not None and "transfer-encoding" not in headers.lower():
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def bomb(megabytes: int) -> bytes:
    """Blanks in gzip: about a KB for each MB."""
    blanks = b" " * 2**20
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    # Flushed whole, it may be repeated.
    block = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    check = 0
    for _ in range(megabytes):
        check = zlib.crc32(blanks, check)
    header, end = gzip.compress(b"")[:10], zlib.compressobj(wbits=-15).flush()
    return header + block * megabytes + end + pack("<II", check, megabytes << 20)


def chunked(*chunks: bytes) -> bytes:
    """The body of a request with `Transfer-Encoding: chunked`."""
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (*chunks, b""))


def received(connection: socket.socket) -> bytes:
    """The next bytes; none once the connection has ended, however it did."""
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


class Unclosed(BytesIO):
    """A stream that http.client reads more than one answer from."""

    def makefile(self, mode: str) -> "Unclosed":
        return self

    def close(self) -> None:
        pass


def answers(data: bytes, method: str = "POST") -> list[Answer]:
    """The answers in what came over a connection."""
    # One that is not followed by an answer belongs to a request that ended early.
    data = data.replace(CONTINUE, b"")
    stream = Unclosed(data)
    found = []
    while stream.tell() < len(data):
        answer = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        answer.begin()
        found.append(Answer(answer.status, answer.headers, answer.read()))
    return found


def resident(pid: int, name: str = "VmRSS") -> int:
    """The memory that a process has, in bytes; VmHWM: the most that it had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1]) * 1024
