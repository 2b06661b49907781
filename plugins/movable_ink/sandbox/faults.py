"""Faults that the sandbox is told to have, for trying how the router takes them."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import falcon

from router import codec

from .answers import Refusal, answer, read
from .storage import Storage

# A sync worker of gunicorn that is silent for 30 seconds is killed.
LONGEST_DELAY = 20


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_status(value: Any) -> bool:
    return isinstance(value, int) and 200 <= value <= 599


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_wait(value: Any) -> bool:
    is_date = isinstance(value, str) and value.isascii() and value.isprintable()
    return is_date or (_is_number(value) and value >= 0)


def _is_delay(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= LONGEST_DELAY


MEMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "status": (_is_status, "a status from 200 to 599"),
    "times": (_is_count, "a whole number from 1"),
    "retry_after": (_is_wait, "seconds, or a date as HTTP writes it"),
    "delay": (_is_delay, f"seconds from 0 to {LONGEST_DELAY}"),
    "reset": (lambda value: isinstance(value, bool), "true or false"),
    "message": (lambda value: isinstance(value, str), "text for the answer's body"),
}
EFFECTS = ("status", "delay", "reset")


def fault_problems(value: Any) -> list[str]:
    """What is wrong with a fault that someone asks for."""
    if not isinstance(value, Mapping):
        return [f"expected an object with {', '.join(MEMBERS)}"]
    problems = [_problem(name, found) for name, found in value.items()]
    if not any(value.get(name) for name in EFFECTS):
        problems.append(f"one of {', '.join(EFFECTS)} is needed")
    return [problem for problem in problems if problem]


def _problem(name: str, value: Any) -> str | None:
    if name not in MEMBERS:
        return f"{name}: unknown, expected one of {', '.join(MEMBERS)}"
    is_right, expected = MEMBERS[name]
    return None if is_right(value) else f"{name}: expected {expected}"


class Faults:
    """The faults to come: each is met by the next `times` requests, in order."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, fault: Mapping[str, Any]) -> None:
        with self._storage.changing_faults() as faults:
            faults.append({"times": 1, **fault})

    def left(self) -> list[Any]:
        return self._storage.faults()

    def clear(self) -> None:
        with self._storage.changing_faults() as faults:
            faults.clear()

    def meet(self) -> dict[str, Any]:
        """The fault that this request meets, used up by one; empty for none."""
        if not self._storage.faults():
            return {}
        with self._storage.changing_faults() as faults:
            if not faults:
                return {}
            fault: dict[str, Any] = dict(faults[0])
            faults[0]["times"] -= 1
            if faults[0]["times"] < 1:
                del faults[0]
            return fault


class FaultsResource:
    """`/faults`: those that are left, one more, and none."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        answer(resp, {"faults": self._faults.left()})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        try:
            fault = codec.loads(read(req))
        except ValueError:
            raise Refusal(400, "the body is not JSON") from None
        problems = fault_problems(fault)
        if problems:
            raise Refusal(400, "; ".join(problems))
        self._faults.add(fault)
        self.on_get(req, resp)

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._faults.clear()
        resp.status = falcon.HTTP_204


def broken_off(environ: Mapping[str, Any]) -> Iterator[bytes]:
    """A body that breaks the connection off before its first byte.

    gunicorn hands out the socket: closed without lingering, the client gets a reset.
    Servers take a ConnectionResetError for one of the client's, which they see every
    day, and so write no line about it.
    """
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        at_once = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        connection.close()
    raise ConnectionResetError(errno.ECONNRESET, "the sandbox was told to break off")
    yield b""
