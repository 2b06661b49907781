"""The bytes of a request: encodings, limits, and clients that stop half-way."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CONF, ROOT, Router, eventually

EVENT = json.dumps({"userId": "u", "event": "Signed Up"}).encode()
ZIPPED = gzip.compress(EVENT)
LIMIT = 512 * 1024

CONF_IN_A_HURRY = CONF + '[ingest]\nread_timeout = "1s"\n'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    router = Router(tmp_path_factory.mktemp("bodies"), CONF_IN_A_HURRY)
    with router.running("-c", str(ROOT / "gunicorn.conf.py")):
        yield router


def post(router: Router, data: Any, **headers: str) -> tuple[int, str | None]:
    options = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = requests.post(
        f"{router.url}/v1/track",
        data=data, headers=options, auth=("key", ""), timeout=10,
    )  # fmt: skip
    return answer.status_code, answer.json().get("code")


def raw(router: Router, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the router answers to these bytes before it closes the connection."""
    with closing(socket.create_connection(("127.0.0.1", router.port), 10)) as sent:
        head = (
            b"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic a2V5Og==\r\n"
        )
        sent.sendall(head + parts[0])
        for part in parts[1:]:
            time.sleep(pause)
            sent.sendall(part)
        sent.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sent.recv(65536), b""))


@pytest.mark.parametrize(
    "data",
    [
        ZIPPED,
        gzip.compress(EVENT[:9]) + gzip.compress(EVENT[9:]),
        gzip.compress(b"") + ZIPPED,
    ],
    ids=["one member", "two members", "an empty member"],
)
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip ", "identity", None])
def test_gzip_is_taken_whether_it_is_said_or_not(
    running: Router, data: bytes, encoding: str | None
) -> None:
    headers = {"Content_Encoding": encoding} if encoding else {}
    assert post(running, data, **headers) == (200, None)
    assert post(running, iter([data[:5], data[5:]]), **headers) == (200, None)


@pytest.mark.parametrize(
    "data",
    [EVENT, b"", ZIPPED[:-1], ZIPPED[:12], ZIPPED[:-6] + b"abcdef", ZIPPED + b"x",
     b"\x1f\x8b", ZIPPED[:5] + b"\xff" * 30],
    ids=["plain", "empty", "cut", "cut short", "wrong sum", "garbage after it",
         "nothing but magic", "corrupt"],
)  # fmt: skip
def test_what_is_no_whole_gzip_is_a_client_s_mistake(
    running: Router, data: bytes
) -> None:
    assert post(running, data, Content_Encoding="gzip") == (400, "invalid_encoding")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_encodings_are_not_supported(running: Router, encoding: str) -> None:
    expected = (415, "unsupported_encoding")
    assert post(running, EVENT, Content_Encoding=encoding) == expected


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "a/b; charset=utf-16"]
)
def test_a_content_type_changes_nothing(running: Router, kind: str) -> None:
    assert post(running, EVENT, Content_Type=kind) == (200, None)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_request_may_be_as_large_as_the_limit_and_no_larger(
    running: Router, *, zipped: bool
) -> None:
    for size, expected in (
        (LIMIT, (200, None)),
        (LIMIT + 1, (400, "payload_too_large")),
    ):
        data = EVENT + b" " * (size - len(EVENT))
        assert post(running, gzip.compress(data) if zipped else data) == expected


def test_a_body_that_ends_early_is_not_answered_and_not_stored(running: Router) -> None:
    event = json.dumps({"userId": "cut", "event": "E"}).encode()
    promised = f"Content-Length: {len(event) + 1}\r\n\r\n".encode()
    assert raw(running, promised + event) == b""
    chunk = f"Transfer-Encoding: chunked\r\n\r\n{len(event) + 1:x}\r\n".encode()
    assert raw(running, chunk + event) == b""
    assert post(running, EVENT) == (200, None)
    eventually(lambda: running.archived()[-1]["userId"] == "u")
    assert "cut" not in {event["userId"] for event in running.archived()}


def test_a_client_that_dawdles_is_hung_up_on(running: Router) -> None:
    with closing(socket.create_connection(("127.0.0.1", running.port), 10)) as slow:
        slow.sendall(
            b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"
        )
        slow.settimeout(0.1)
        answer = None
        for _ in range(200):
            try:
                slow.sendall(b" ")
                answer = slow.recv(100)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                answer = b""
                break
        assert answer == b""
    assert post(running, EVENT) == (200, None)


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ],
    ids=["chunks that are none", "two lengths"],
)
def test_a_request_that_is_no_http_is_a_client_s_mistake(
    running: Router, head: bytes
) -> None:
    assert raw(running, head).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_asks_first_is_told_to_go_on(running: Router) -> None:
    head = f"Expect: 100-continue\r\nContent-Length: {len(EVENT)}\r\n\r\n".encode()
    answer = raw(running, head, EVENT, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_no_request_ends_in_a_traceback(running: Router) -> None:
    assert "Traceback" not in running.log()
    assert Path(running.data, "log.db").exists()
