"""Requests of every wrong kind: none is answered with 500, none leaves a traceback,
none makes a worker grow, and what is accepted is delivered.

    FUZZ=100000 pytest -s tests/test_fuzz.py

sends that many requests, and a third as many that need not be HTTP; by default a few
thousand.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import eventually
from door import Client, Door, answers, chunked, opened, request, resident
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REQUESTS = int(os.environ.get("FUZZ", "2400"))

# Each body is sent in these ways.
WAYS = ("as it is", "in chunks", "in gzip")

SINGLE = ("identify", "track", "page", "screen", "group", "alias", *"itpsga")
PATHS = [f"/v1/{name}" for name in (*SINGLE, *["batch", "import", "b"] * 8)]
PATHS += """\
/beacon/v1/batch?writeKey=key
//v1/batch/
/v1/batch?x=%zz&writeKey=%ff
/v1/m
/v1/nothing
/health
/%00""".splitlines()
ASKED = """\
/v1/projects/key/settings
/v1/projects/%ff/x
/v1/projects//settings
/sourceConfig?writeKey=key
/v1/pixel/track?
/pixel/v1/page?
/ready
/v1/b""".splitlines()

HEADERS = """\
Accept: x/y;q=z
Access-Control-Request-Method: POST
Authorization: Basic a2V5Og==
Authorization: Basic \xff
Authorization: x y
Content-Encoding: br
Content-Encoding: gzip
Content-Encoding: identity
Content-Type: ;
Content-Type: a/b; charset=utf-16
Cookie: a=\xe9; =;
Expect: 100-continue
Forwarded: for=;;=,
If-None-Match: *
Origin: \xff
Origin: https://shop.example
Range: x
TE: trailers
X-Forwarded-For: ::1, x
X-Forwarded-Host: [
X-Retry-Count: -1""".splitlines()

# Pieces of JSON, whole and broken.
TOKENS = [
    *'{}[],:"\\ 0-', *("{}", "[]", '""', "null", "true", "NaN", "-Infinity", "-0"),
    *("1e400", "1e-400", "1e" + "9" * 30, "1" * 5000, "0." + "1" * 500, " ", "\t"),
    *('"batch":', '"batch":[', '"writeKey":"key"', '"writeKey":"', '"type":"track"'),
    *('"userId":', '"event":"e"', '"context":{', '"properties":', '"messageId":'),
    *("\\ud83d", "\\ude00", "\\u0000", "\\ud8", "\ufeff", "\u2028", "\xe9", "\x00"),
    *("[" * 300, '{"a":' * 300, "[" * 3000, "]" * 300, "}" * 300, '"' * 9, "\\" * 9),
]  # fmt: skip

NAMES = st.sampled_from(
    ["type", "event", "userId", "anonymousId", "groupId", "previousId", "messageId",
     "properties", "traits", "context", "integrations", "name", "category", "channel",
     "receivedAt", "writeKey", "batch", "All", "direct", "ip", "_metadata", "sentAt"]
)  # fmt: skip
TIMES = st.dictionaries(
    st.sampled_from(["timestamp", "originalTimestamp", "sentAt"]),
    st.sampled_from(
        ["2024-03-04T12:00:00Z", "0001-01-01", "9999-12-31", 10**17, "soon"]
    ),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["track", "page", "u", "key", " ", 10**400])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
GOOD = {"type": "track", "event": "e", "userId": "u", "properties": {"a": [1]}}
EVENTS = st.builds(
    lambda more, times: GOOD | more | times,
    st.dictionaries(NAMES, VALUES, max_size=3),
    TIMES,
)
BATCHES = st.builds(
    lambda events, more, times: {"batch": events, "writeKey": "key"} | more | times,
    st.lists(EVENTS | VALUES, max_size=4),
    st.dictionaries(NAMES, VALUES, max_size=2),
    TIMES,
)
WRITTEN = st.builds(
    lambda value, is_ascii: json.dumps(value, ensure_ascii=is_ascii),
    EVENTS | BATCHES,
    st.booleans(),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
SOUP = st.lists(st.sampled_from(TOKENS), max_size=30).map("".join).map(str.encode)
TEXTS = WRITTEN | SOUP | VALUES.map(json.dumps).map(str.encode)
CUTS = st.tuples(st.integers(0, 10**6), st.integers(0, 9), st.binary(max_size=3) | SOUP)


def mutated(whole: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """The bytes with others in some places."""
    for at, removed, added in cuts:
        at %= len(whole) + 1
        whole = whole[:at] + added + whole[at + removed :]
    return whole


MUTATED = st.builds(mutated, TEXTS, st.lists(CUTS, max_size=2))
PACKED = st.builds(mutated, TEXTS.map(gzip.compress), st.lists(CUTS, max_size=2))
BODIES = WRITTEN | MUTATED | PACKED | st.binary(max_size=60)

LINES = st.lists(
    st.sampled_from(HEADERS), max_size=3, unique_by=lambda line: line.split(":")[0]
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("fuzz")) as door:
        for _ in range(200):
            door.track(GOOD)
        yield door


@contextmanager
def unharmed(door: Door) -> Iterator[None]:
    """Afterwards the router is as it was, and has delivered what it accepted."""
    idle = {pid: resident(pid) for pid in door.router.workers()}
    yield
    eventually(lambda: is_delivered(door), 60)
    now = {pid: resident(pid) for pid in door.router.workers()}
    assert now.keys() == idle.keys()
    print({pid: f"{idle[pid]} -> {now[pid]} bytes" for pid in idle})
    assert all(now[pid] < 1.3 * idle[pid] for pid in idle)


def is_delivered(door: Door) -> bool:
    row = door.router.row("ledger", "archive")
    return row["accepted"] == row["delivered"] + sum(row["skipped"].values())


def fuzz(number: int) -> Any:
    """Runs a test that many times; each run tells nothing of the router's speed."""
    unhealthy = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=number, deadline=None, suppress_health_check=unhealthy)


def test_no_request_is_answered_with_500(door: Door) -> None:
    seen: Counter[int] = Counter()
    client = Client(door)

    def send(method: str, path: str, body: bytes | None, *headers: str) -> None:
        key = None if any("uthorization" in line for line in headers) else "key"
        whole = request(method, path, body, "\n".join(headers), key)
        answer = client.answer(whole, method)
        seen[answer.status] += 1
        assert answer.status in (200, 400, 401, 403, 404, 405, 415)
        if "/pixel/" in path and method == "GET":
            assert answer.headers["Content-Type"] == "image/gif"
        elif method in ("GET", "POST"):
            assert isinstance(answer.content, dict)

    @fuzz(REQUESTS // len(WAYS))
    @given(st.sampled_from(PATHS), BODIES, LINES)
    def try_body(path: str, body: bytes, headers: list[str]) -> None:
        send("POST", path, body, *headers)
        half = len(body) // 2
        pieces = chunked(*[piece for piece in (body[:half], body[half:]) if piece])
        send("POST", path, pieces, "Transfer-Encoding: chunked", *headers)
        headers = [line for line in headers if not line.startswith("Content-Encoding")]
        send("POST", path, gzip.compress(body), "Content-Encoding: gzip", *headers)

    @fuzz(REQUESTS // 10)
    @given(
        st.sampled_from(["GET", "HEAD", "OPTIONS", "PUT", "QUERY"]),
        st.sampled_from(ASKED),
        st.text("a.=&%+/0f-_z", max_size=30),
        LINES,
    )
    def try_question(method: str, path: str, query: str, headers: list[str]) -> None:
        send(method, path + query, None, *headers)

    with unharmed(door):
        try_body()
        try_question()
    client.close()
    print(dict(seen))
    # Were all refused alike, little of the router would have been tried.
    assert seen[200] > REQUESTS / 20
    assert seen[400] > REQUESTS / 20


WHOLES = st.builds(
    lambda path, body, headers: request("POST", path, body, "\n".join(headers)),
    st.sampled_from(PATHS),
    TEXTS,
    LINES,
)


def test_no_bytes_are_answered_with_500(door: Door) -> None:
    seen: Counter[int] = Counter()

    @fuzz(REQUESTS // 3)
    @given(st.builds(mutated, WHOLES, st.lists(CUTS, min_size=1, max_size=3)))
    def try_bytes(whole: bytes) -> None:
        for answer in answers(door.talk(whole)):
            seen[answer.status] += 1
            assert answer.status < 500
            # What is no HTTP is refused by gunicorn, which speaks HTML.
            if answer.headers["Server"] and answer.body:
                assert isinstance(answer.content, dict)

    with unharmed(door):
        try_bytes()
    print(dict(seen))
    assert seen[200] > 0
    assert seen[400] > REQUESTS / 20
