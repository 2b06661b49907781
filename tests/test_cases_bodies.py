"""The tricky cases of the ingestion contract that are of bytes and of keys: 5 to 13, 43
and 50. What is expected is what the contract says, over real sockets."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from door import OK, Door, bomb, chunked, encoded, opened

LIMIT = 512 * 1024
MOST = 32 * 1024
EVENT = b'{"event":"e","userId":"u"}'
ZIPPED = gzip.compress(EVENT, mtime=0)
GZIP = "Content-Encoding: gzip"

INVALID_JSON = (400, "invalid_json")
INVALID_ENCODING = (400, "invalid_encoding")
TOO_LARGE = (400, "payload_too_large")


@pytest.mark.parametrize("megabytes", [10, 480])
@pytest.mark.parametrize("header", [GZIP, ""])
def test_case_05_a_gzip_bomb_is_refused_at_the_cap(
    door: Door, megabytes: int, header: str
) -> None:
    packed = bomb(megabytes)
    assert len(packed) < 1060 * megabytes < LIMIT
    assert door.post("/v1/track", packed, header).verdict == TOO_LARGE
    in_chunks = chunked(packed[:100], packed[100:])
    header += "\nTransfer-Encoding: chunked"
    assert door.post("/v1/track", in_chunks, header).verdict == TOO_LARGE
    assert door.taken() == []


@pytest.mark.parametrize(
    "data",
    [
        EVENT,
        b"",
        b"\x1f\x8b",
        ZIPPED[:-1],
        ZIPPED[:12],
        ZIPPED[:20] + b"\0" + ZIPPED[21:],
        ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:],
        ZIPPED + EVENT,
        ZIPPED + b"\x1f\x8b",
        zlib.compress(EVENT),
    ],
    ids=["plain", "empty", "only magic", "cut at the end", "cut", "corrupt",
         "wrong sum", "garbage after it", "half a member after it", "zlib"],
)  # fmt: skip
def test_case_06_what_is_said_to_be_gzip_and_is_not_is_a_mistake(
    door: Door, data: bytes
) -> None:
    for path in ("/v1/track", "/v1/batch"):
        assert door.post(path, data, GZIP).verdict == INVALID_ENCODING
    assert door.taken() == []


def test_case_06_several_members_are_one_body(door: Door) -> None:
    members = gzip.compress(EVENT[:7]) + gzip.compress(b"") + gzip.compress(EVENT[7:])
    assert door.post("/v1/track", members, GZIP).verdict == OK
    assert door.only()["event"] == "e"


def test_case_07_gzip_is_recognized_without_its_header(door: Door) -> None:
    assert door.post("/v1/track", ZIPPED).verdict == OK
    assert door.only()["event"] == "e"
    assert door.post("/v1/track", ZIPPED[:-1]).verdict == INVALID_ENCODING
    assert door.taken() == []


@pytest.mark.parametrize("name", ["br", "deflate", "zstd", "gzip, gzip", "br, gzip"])
def test_case_08_other_encodings_are_not_supported(door: Door, name: str) -> None:
    header = f"Content-Encoding: {name}"
    for data in (EVENT, ZIPPED, b""):
        answer = door.post("/v1/track", data, header)
        assert answer.verdict == (415, "unsupported_encoding")
    assert door.taken() == []


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ("Content-Encoding: identity", EVENT),
        ("CONTENT-ENCODING: Identity", EVENT),
        ("content-encoding: GZip", ZIPPED),
        ("Content-encoding:gzip", ZIPPED),
        ("Content-Encoding: x-gzip ", ZIPPED),
        ("Content-Encoding: identity", ZIPPED),
        ("Content-Encoding:", EVENT),
    ],
)
def test_case_08_names_of_headers_and_encodings_are_in_any_case(
    door: Door, header: str, data: bytes
) -> None:
    assert door.post("/v1/track", data, header).verdict == OK
    assert door.only()["event"] == "e"


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/msgpack",
        "nonsense",
    ],
)
def test_case_09_a_content_type_is_ignored(door: Door, kind: str | None) -> None:
    header = "" if kind is None else f"Content-Type: {kind}"
    for data in ("ü=&%41", "\u4e16"):
        event = {"event": data, "userId": "u"}
        body = json.dumps(event, ensure_ascii=False).encode()
        assert door.post("/v1/track", body, header).verdict == OK
        assert door.only()["event"] == data


def test_case_10_the_key_of_the_header_wins_over_that_of_the_body(door: Door) -> None:
    event = {"event": "e", "userId": "u", "type": "track"}
    for in_body in ("ios-key", "nonsense", "off"):
        sent = event | {"writeKey": in_body}
        assert door.post("/v1/track", sent, key="key").verdict == OK
        batch = {"batch": [event], "writeKey": in_body}
        assert door.post("/v1/batch", batch, key="key").verdict == OK
        assert len(door.taken()) == 2
        answer = door.post("/v1/track", event | {"writeKey": "key"}, key="nonsense")
        assert answer.verdict == (401, "invalid_write_key")
    assert door.taken() == []


def test_case_10_the_key_of_an_item_authenticates_nobody(door: Door) -> None:
    item = {"event": "e", "userId": "u", "type": "track", "writeKey": "key"}
    answer = door.post("/v1/batch", {"batch": [item]}, key=None)
    assert answer.verdict == (401, "missing_write_key")
    assert door.post("/v1/batch", {"batch": [item]}, key="ios-key").verdict == OK
    assert "writeKey" not in door.only()


@pytest.mark.parametrize(
    "header",
    ["Bearer x", "Bearer a2V5Og==", "Digest username=off", "nonsense", "Basic",
     "Basic %%%", "Basic a2V", "Basic /w==", "Basic Og==", "a2V5Og==", ""],
)  # fmt: skip
def test_case_11_a_header_that_holds_no_key_leaves_it_to_the_body(
    door: Door, header: str
) -> None:
    sent = {"event": "e", "userId": "u", "writeKey": "key"}
    header = f"Authorization: {header}"
    assert door.post("/v1/track", sent, header, key=None).verdict == OK
    assert door.only()["event"] == "e"
    del sent["writeKey"]
    answer = door.post("/v1/track", sent, header, key=None)
    assert answer.verdict == (401, "missing_write_key")


SPACED, PERCENT = " two words ", "a%3Ab"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A router with keys of odd characters."""
    keys = {"spaced": SPACED, "percent": PERCENT, "a": "a"}
    more = "\n".join(f'[sources.{n}]\nwrite_key = "{key}"' for n, key in keys.items())
    with opened(tmp_path_factory.mktemp("odd"), more) as door:
        yield door


@pytest.mark.parametrize("key", ["key", SPACED, PERCENT])
@pytest.mark.parametrize("rest", ["", ":", ":password", ":a:b", "::"])
def test_case_12_a_key_is_what_stands_before_the_first_colon(
    odd: Door, key: str, rest: str
) -> None:
    header = f"Authorization: Basic {encoded(key + rest)}"
    assert odd.post("/v1/track", EVENT, header, key=None).verdict == OK
    assert odd.only()["event"] == "e"


@pytest.mark.parametrize("key", ["two words", "a:b", " key", "key ", "KEY", "%6bey"])
def test_case_12_a_key_is_neither_trimmed_nor_decoded(odd: Door, key: str) -> None:
    sent = {"event": "e", "userId": "u", "writeKey": key}
    answer = odd.post("/v1/track", sent, key=None)
    assert answer.verdict == (401, "invalid_write_key")
    if ":" not in key:
        answer = odd.post("/v1/track", EVENT, key=key)
        assert answer.verdict == (401, "invalid_write_key")


def test_case_13_a_key_may_be_the_last_member_of_a_large_body(door: Door) -> None:
    event = {"type": "track", "event": "e", "userId": "u", "pad": "x" * 30_000}
    batch: dict[str, Any] = {"batch": [event] * 16}
    body = json.dumps(batch | {"sentAt": None, "writeKey": "key"}).encode()
    assert 470_000 < len(body) < LIMIT
    for data in (body, gzip.compress(body)):
        assert door.post("/v1/batch", data, key=None).verdict == OK
        assert len(door.taken()) == 16
    body = json.dumps(batch | {"writeKey": "key"}).encode()
    body += b" " * (LIMIT + 1 - len(body))
    assert door.post("/v1/batch", body, key=None).verdict == TOO_LARGE


def item(size: int, **more: Any) -> str:
    """An event of that many bytes."""
    event = {"type": "track", "event": "é\t", "userId": "u", **more}
    text = json.dumps(event, ensure_ascii=False)[:-1]
    return text + " " * (size - len(text.encode()) - 1) + "}"


def test_case_43_an_event_may_have_32_768_bytes_as_it_was_written(door: Door) -> None:
    assert door.post("/v1/track", item(MOST).encode()).verdict == OK
    assert door.post("/v1/track", item(MOST + 1).encode()).verdict == TOO_LARGE
    aside = {"writeKey": "key", "sentAt": "2024-03-04T10:00:00Z", "_metadata": {"a": 1}}
    assert door.post("/v1/track", item(MOST + 60, **aside).encode()).verdict == OK
    items = [item(MOST), item(MOST + 1, messageId="m"), item(MOST)]
    answer = door.post("/v1/batch", f'{{"batch":[{", ".join(items)}]}}'.encode())
    assert answer.rejected == [(1, "m", "event_too_large")]
    assert len(door.taken()) == 4


def test_case_43_a_request_may_have_512_kib_whatever_their_number(door: Door) -> None:
    body = f'{{"batch":[{",".join([item(20_000)] * 26)}]}}'
    for size, verdict in ((LIMIT, OK), (LIMIT + 1, TOO_LARGE)):
        whole = body.encode() + b"\n" * (size - len(body.encode()))
        assert len(whole) == size
        for data in (whole, gzip.compress(whole)):
            assert door.post("/v1/batch", data).verdict == verdict
            assert len(door.taken()) == (26 if verdict == OK else 0)


def test_case_43_a_request_may_have_2_500_events(door: Door) -> None:
    event = {"type": "page", "anonymousId": "a"}
    assert door.track(*[event] * 2500).verdict == OK
    assert len(door.taken()) == 2500
    assert door.track(*[event] * 2501).verdict == (400, "too_many_events")
    assert door.taken() == []


def test_case_50_blanks_around_an_event_count_against_the_request_only(
    door: Door,
) -> None:
    blanks = b" \t\r\n" * 75_000
    assert door.post("/v1/track", blanks + EVENT).verdict == OK
    assert door.post("/v1/track", EVENT + blanks).verdict == OK
    assert len(door.taken()) == 2
    assert door.post("/v1/track", blanks + EVENT + blanks).verdict == TOO_LARGE


@pytest.mark.parametrize(
    "rest", [b"{}", b" {}", b"\n" + EVENT, b",", b"\0", b"]", b"0"]
)
def test_case_50_what_follows_the_object_is_no_json(door: Door, rest: bytes) -> None:
    assert door.post("/v1/track", EVENT + rest).verdict == INVALID_JSON
    assert door.post("/v1/batch", b'{"batch":[]}' + rest).verdict == INVALID_JSON
    assert door.taken() == []
