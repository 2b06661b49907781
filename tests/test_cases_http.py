"""The tricky cases of the ingestion contract that are of HTTP itself: 35 to 39.
(32 to 34, 47 and 48 are in test_browsers.py and test_cors.py.)"""

import gzip
import http.client
import json
import re
import runpy
import signal
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest
from conftest import ROOT, Router, eventually
from door import CONF, CONTINUE, OK, Door, answers, chunked, opened, received, request
from gunicorn.workers.gthread import ThreadWorker

EVENT = b'{"event":"e","userId":"u"}'
LIMIT = 512 * 1024
IN_CHUNKS = "Transfer-Encoding: chunked"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_case_35_a_body_may_come_in_chunks(
    door: Door, size: int, *, zipped: bool
) -> None:
    batch = {"batch": [{"type": "page", "anonymousId": "a"}] * 20, "writeKey": "key"}
    body = json.dumps(batch).encode()
    data = gzip.compress(body) if zipped else body
    header = IN_CHUNKS + ("\nContent-Encoding: gzip" if zipped else "")
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    answer = door.post("/v1/b", chunked(*pieces), header, key=None)
    assert answer.verdict == OK
    assert len(door.taken()) == 20


def test_case_35_the_cap_counts_what_is_read(door: Door) -> None:
    for size, verdict in ((LIMIT, OK), (LIMIT + 1, (400, "payload_too_large"))):
        data = EVENT + b" " * (size - len(EVENT))
        pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        for body in (chunked(*pieces), chunked(data), chunked(gzip.compress(data))):
            assert door.post("/v1/track", body, IN_CHUNKS).verdict == verdict
    assert len(door.taken()) == 3


def test_case_35_without_a_length_there_is_no_body(door: Door) -> None:
    whole = request("POST", "/v1/track", None, close=True)
    (answer,) = answers(door.talk(whole))
    assert answer.verdict == (400, "invalid_json")


@pytest.mark.parametrize("end", [True, False], ids=["half closed", "closed"])
@pytest.mark.parametrize(
    "whole",
    [
        request("POST", "/v1/track", None, f"Content-Length: {len(EVENT) + 1}") + EVENT,
        request("POST", "/v1/track", None, "Content-Length: 600000") + EVENT,
        request("POST", "/v1/track", None, IN_CHUNKS) + b"40\r\n" + EVENT,
        request("POST", "/v1/track", None, IN_CHUNKS) + chunked(EVENT)[:-5],
    ],
    ids=["a byte", "more than the cap", "a chunk", "the last chunk"],
)
def test_case_36_what_is_shorter_than_promised_is_neither_stored_nor_answered(
    door: Door, whole: bytes, *, end: bool
) -> None:
    if end:
        assert door.talk(whole) == b""
    else:
        with closing(door.connect()) as connection:
            connection.sendall(whole)
    assert door.taken() == []


def test_case_36_what_is_longer_than_promised_is_another_request(door: Door) -> None:
    whole = request("POST", "/v1/track", EVENT)
    found = answers(door.talk(whole + b'"excess"}' + whole))
    assert found[0].verdict == OK
    assert [answer.status for answer in found[1:]] == [400]
    assert door.only()["event"] == "e"


@pytest.mark.parametrize(
    "lengths",
    ["Content-Length: 4\nTransfer-Encoding: chunked",
     "Transfer-Encoding: chunked\nContent-Length: 31",
     "Content-Length: 26\nContent-Length: 31",
     "Transfer-Encoding: identity, chunked, identity"],
)  # fmt: skip
def test_case_36_two_lengths_are_refused_and_the_connection_ends(
    door: Door, lengths: str
) -> None:
    smuggled = request("POST", "/v1/track", EVENT)
    whole = request("POST", "/v1/track", None, lengths)
    (answer,) = answers(door.talk(whole + chunked(EVENT) + smuggled))
    assert (answer.status, answer.headers["Connection"]) == (400, "close")
    assert door.taken() == []


def test_case_36_after_a_chunk_that_is_none_the_connection_ends(door: Door) -> None:
    smuggled = request("POST", "/v1/track", EVENT)
    for body in (b"zz\r\n", b"3\r\nabcdef\r\n", b"-1\r\n\r\n"):
        whole = request("POST", "/v1/track", None, IN_CHUNKS) + body
        (answer,) = answers(door.talk(whole + smuggled))
        assert answer.verdict == (400, "invalid_body")
    assert door.taken() == []


@pytest.mark.parametrize("length", ["-1", "x", "1e2", "0x1a", "26, 26", "+26"])
def test_case_36_a_length_that_is_none_is_refused(door: Door, length: str) -> None:
    whole = request("POST", "/v1/track", None, f"Content-Length: {length}") + EVENT
    (answer,) = answers(door.talk(whole))
    assert (answer.status, answer.headers["Connection"]) == (400, "close")
    assert door.taken() == []


def test_case_37_a_client_that_asks_first_is_told_to_go_on_at_once(door: Door) -> None:
    length = f"Expect: 100-continue\nContent-Length: {len(EVENT)}"
    head = request("POST", "/v1/track", None, length, close=True)
    with closing(door.connect()) as connection:
        connection.sendall(head)
        assert connection.recv(1000) == CONTINUE
        connection.sendall(EVENT)
        (answer,) = answers(b"".join(iter(lambda: received(connection), b"")))
    assert answer.verdict == OK
    assert door.only()["event"] == "e"


def test_case_37_one_that_asks_and_does_not_wait_is_answered_too(door: Door) -> None:
    whole = request("POST", "/v1/track", EVENT, "Expect: 100-continue", close=True)
    (answer,) = answers(door.talk(whole))
    assert answer.verdict == OK
    assert door.only()["event"] == "e"


def test_case_38_requests_may_follow_each_other_on_a_connection(door: Door) -> None:
    sent = [b'{"event":"%d","userId":"u"}' % number for number in range(50)]
    whole = b"".join(request("POST", "/v1/track", one) for one in sent)
    found = answers(door.talk(whole))
    assert [answer.verdict for answer in found] == [OK] * 50
    assert [event["event"] for event in door.taken()] == [str(n) for n in range(50)]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (request("POST", "/v1/track", b"{"), "invalid_json"),
        (request("POST", "/v1/track", b"{}", key=None), "missing_write_key"),
        (request("POST", "/v1/track", b"{}" * 400_000), "payload_too_large"),
        (request("POST", "/v1/track", chunked(b"x" * 10**6), IN_CHUNKS),
         "payload_too_large"),
        (request("POST", "/v1/track", EVENT, "Content-Encoding: br"),
         "unsupported_encoding"),
        (request("POST", "/v1/nothing", b" " * 500_000), "not_found"),
        (request("PUT", "/v1/track", b" " * 500_000), "method_not_allowed"),
        (request("POST", "/v1/m", b" " * 500_000), None),
    ],
    ids=["no JSON", "no key", "large", "chunks", "br", "no path", "method", "dropped"],
)  # fmt: skip
def test_case_38_after_an_error_the_next_request_is_served(
    door: Door, bad: bytes, code: str
) -> None:
    good = request("POST", "/v1/track", EVENT)
    found = answers(door.talk(good + bad + good + bad + good))
    assert [answer.code for answer in found] == [None, code, None, code, None]
    assert len(door.taken()) == 3


def test_case_38_what_is_far_too_large_is_read_only_so_far(door: Door) -> None:
    whole = request("POST", "/v1/track", b" " * 50 * 2**20)
    with closing(door.connect()) as connection, pytest.raises(ConnectionError):
        connection.sendall(whole + whole)
    assert door.post("/v1/track", EVENT).verdict == OK
    assert door.only()["event"] == "e"


def test_case_38_an_idle_connection_is_kept_longer_than_balancers_keep_theirs() -> None:
    configured = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    assert configured["keepalive"] >= 65
    assert issubclass(configured["worker_class"], ThreadWorker)


def test_case_38_a_router_that_ends_says_so_on_connections_that_are_open(
    tmp_path: Path,
) -> None:
    router = Router(tmp_path, CONF)
    with router.running("-c", str(ROOT / "gunicorn.conf.py")):
        client = http.client.HTTPConnection("127.0.0.1", router.port, timeout=10)

        def said() -> str | None:
            client.request("POST", "/v1/track?writeKey=key", EVENT)
            answer = client.getresponse()
            assert answer.status == 200
            assert answer.read() == b'{"success":true}'
            return answer.headers["Connection"]

        with closing(client):
            assert said() == "keep-alive"
            connection = client.sock
            assert router.process is not None
            router.process.send_signal(signal.SIGTERM)
            eventually(lambda: connection is client.sock and said() == "close", 1)


HURRY = '[ingest]\nread_timeout = "500ms"'


def test_case_39_a_client_that_dawdles_is_hung_up_on(tmp_path: Path) -> None:
    with opened(tmp_path, HURRY) as door:
        for header in ("Content-Length: 1000", IN_CHUNKS):
            with closing(door.connect()) as slow:
                slow.sendall(request("POST", "/v1/track", None, header))
                slow.settimeout(0.1)
                answer = None
                for _ in range(100):
                    try:
                        slow.sendall(b"1\r\n \r\n")
                        answer = received(slow)
                        break
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        answer = b""
                assert answer == b""
        assert door.post("/v1/track", EVENT).verdict == OK
        assert door.only()["event"] == "e"


def test_case_39_a_client_that_dawdles_over_its_headers_is_hung_up_on(
    tmp_path: Path,
) -> None:
    configured = (ROOT / "gunicorn.conf.py").read_text()
    hurried = configured.replace("STALLED_SECONDS = 15", "STALLED_SECONDS = 1")
    assert hurried != configured
    (tmp_path / "hurried.py").write_text(hurried)
    router = Router(tmp_path, CONF)
    with router.running("-c", str(tmp_path / "hurried.py")):
        door = Door(router)
        whole = request("POST", "/v1/track", EVENT)
        for served, sent in enumerate((whole[:4], whole[:40], whole + whole[:40])):
            found = answers(door.talk(sent, end=False))
            assert [answer.verdict for answer in found] == [OK] * (served // 2)
    assert "Traceback" not in router.log()


def test_each_of_the_50_cases_has_a_test() -> None:
    files = (ROOT / "tests").glob("test_*.py")
    names = (re.findall(r"def test_case_(\d\d)_", file.read_text()) for file in files)
    assert {int(number) for number in chain.from_iterable(names)} == {*range(1, 51)}
