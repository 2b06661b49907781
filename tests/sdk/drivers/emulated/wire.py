"""What the emulated clients have in common: bytes on a socket, and their JSON."""

import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from select import select
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 20.0


@dataclass(frozen=True)
class Answer:
    """status: of HTTP. headers: their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)


class Wire:
    """A connection at a time to one server; raises OSError when that is away."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._address = (parts.hostname, parts.port)
        self._socket: socket.socket | None = None

    def send(self, *pieces: bytes) -> None:
        """Sends bytes, over the connection that is open if one is."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, PATIENCE)
            self._input = self._socket.makefile("rb")
        try:
            self._socket.sendall(b"".join(pieces))
        except OSError:
            self.close()
            raise

    def receive(self) -> Answer:
        """The next answer, an interim one too."""
        try:
            status = int(self._line().split(" ")[1])
            headers = {}
            while line := self._line():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            length = 0 if status < 200 else int(headers["content-length"])
            body = self._input.read(length)
        except OSError:
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body)

    def is_answered(self, seconds: float) -> bool:
        """Whether an answer has begun to come, after some seconds at most."""
        return bool(select([self._socket], [], [], seconds)[0])

    def exchange(self, *pieces: bytes) -> Answer:
        self.send(*pieces)
        return self.receive()

    def close(self) -> None:
        if self._socket is not None:
            self._input.close()
            self._socket.close()
        self._socket = None

    def _line(self) -> str:
        line = self._input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has hung up")
        return line[:-2].decode("latin-1")


def head(request: str, *fields: str) -> bytes:
    """A request's line and header, as they are given."""
    return "\r\n".join([f"{request} HTTP/1.1", *fields, "", ""]).encode()


def chunked(pieces: Iterable[bytes]) -> bytes:
    """The pieces in the chunked transfer coding."""
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece]
    return b"".join([*chunks, b"0\r\n\r\n"])


@dataclass(frozen=True)
class Dialect:
    """How a language writes JSON: compact, where the standard leaves it a choice.

    number: what it makes of a number. escaped: what it escapes beyond the standard, as
    in a regular expression's set. lone: what becomes of half a surrogate pair; None: an
    escape.
    """

    number: Callable[[int | float], str]
    escaped: str = ""
    lone: str | None = "\ufffd"

    def dumps(self, value: Any) -> str:
        match value:
            case dict():
                pairs = [f"{self.text(k)}:{self.dumps(v)}" for k, v in value.items()]
                return f"{{{','.join(pairs)}}}"
            case list():
                return f"[{','.join(self.dumps(item) for item in value)}]"
            case str():
                return self.text(value)
            case bool() | None:
                return json.dumps(value)
        return self.number(value)

    def text(self, value: str) -> str:
        special = f'[\x00-\x1f"\\\\\ud800-\udfff{self.escaped}]'
        return f'"{re.sub(special, self._escaped, value)}"'

    def _escaped(self, match: re.Match[str]) -> str:
        if "\ud800" <= match[0] <= "\udfff" and self.lone is not None:
            return self.lone
        return r"\/" if match[0] == "/" else json.dumps(match[0])[1:-1]
