"""The tricky cases of the ingestion contract that are of JSON: 14 to 20."""

import pytest
from door import OK, Door

INVALID_JSON = (400, "invalid_json")
EVENT = b'{"event":"e","userId":"u"}'


NUMBERS = ["9007199254740993", "-9007199254740993", "12345678901234567890", "1" * 400,
           "1e400", "1e-400", "-0", "1.0", "0.1", "0.10000000000000000001"]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_case_14_a_number_keeps_its_digits_from_end_to_end(
    door: Door, number: str
) -> None:
    body = f'{{"event":"e","userId":"u","properties":{{"n":[{number}]}}}}'
    assert door.post("/v1/track", body.encode()).verdict == OK
    door.taken()
    line = _lines(door)[-2]
    assert f'"n":[{number}]' in line


@pytest.mark.parametrize(
    "number", ["9007199254740993", "0", "7", "-5", "12345678901234567890", "1.5", "-0"]
)
def test_case_14_an_id_that_is_a_number_becomes_its_digits(
    door: Door, number: str
) -> None:
    names = ("userId", "anonymousId", "groupId", "previousId", "messageId")
    members = ",".join(f'"{name}":{number}' for name in names)
    assert door.post("/v1/group", f"{{{members}}}".encode()).verdict == OK
    event = door.only()
    assert [event[name] for name in names] == [number] * 5


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_case_15_what_is_no_number_is_refused_with_its_place(
    door: Door, name: str
) -> None:
    good = '{"type":"track","event":"NaN","userId":"u"}'
    start = f'{{"batch":[{good},{{"type":"track","event":"e","properties":{{"p":['
    answer = door.post("/v1/batch", f'{start}{name}]}}}},"userId":"u"]}}'.encode())
    assert answer.verdict == INVALID_JSON
    assert f"{name} is no JSON" in answer.content["message"]
    assert f"(char {len(start)})" in answer.content["message"]
    assert "no event of the request was taken" in answer.content["message"]
    assert door.taken() == []


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"\udE00", "\ufffd"),
        (r"\uD83D\uD83D\uDE00", "\ufffd😀"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\ud83dA", "\ufffdA"),
    ],
)
def test_case_16_half_an_emoji_becomes_the_replacement_character(
    door: Door, written: str, kept: str
) -> None:
    body = (
        f'{{"event":"{written}","userId":"u{written}","properties":{{"{written}":1}}}}'
    )
    assert door.post("/v1/track", body.encode()).verdict == OK
    event = door.only()
    assert (event["event"], event["userId"]) == (kept, "u" + kept)
    assert event["properties"] == {kept: 1}


@pytest.mark.parametrize("escape", [rb"\ud8zz", rb'\ud8"}', rb"\udc\u0041", rb"\ud83"])
def test_case_16_what_is_no_escape_is_no_json(door: Door, escape: bytes) -> None:
    for end in (b'"}', b'"}"}', b'","a":"b"}'):
        body = b'{"userId":"u","event":"' + escape + end
        assert door.post("/v1/track", body).verdict == INVALID_JSON


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b"\xff", "\ufffd"),
        (b"\xc3", "\ufffd"),
        (b"a\xc0\xafb", "a\ufffd\ufffdb"),
        (b"\xed\xa0\xbd", "\ufffd\ufffd\ufffd"),
        (b"\xf8\x88\x80\x80\x80", "\ufffd" * 5),
        ("ü😀".encode(), "ü😀"),
    ],
    ids=["no byte of UTF-8", "cut", "overlong", "surrogate", "five bytes", "good"],
)
def test_case_17_in_a_string_what_is_no_utf_8_costs_a_character(
    door: Door, written: bytes, kept: str
) -> None:
    body = b'{"event":"' + written + b'","userId":"u"}'
    for data in (body, b"\xef\xbb\xbf" + body):
        assert door.post("/v1/track", data).verdict == OK
        assert door.only()["event"] == kept


@pytest.mark.parametrize(
    "body",
    [
        b"\xff" + EVENT,
        EVENT + b"\xc0",
        b'{"event":\xff"e","userId":"u"}',
        b"\xef\xbb\xbf" * 2 + EVENT,
        b" \xef\xbb\xbf" + EVENT,
        EVENT.decode().encode("utf-16"),
        EVENT.decode().encode("utf-16-le"),
    ],
)
def test_case_17_elsewhere_what_is_no_utf_8_is_no_json(door: Door, body: bytes) -> None:
    assert door.post("/v1/track", body).verdict == INVALID_JSON
    assert door.taken() == []


def test_case_18_a_zero_character_is_kept(door: Door) -> None:
    body = rb'{"event":"a\u0000b","userId":"\u0000u","properties":{"\u0000":"\u0000"}}'
    assert door.post("/v1/track", body).verdict == OK
    event = door.only()
    assert (event["event"], event["userId"]) == ("a\0b", "\0u")
    assert event["properties"] == {"\0": "\0"}
    assert door.post("/v1/track", body.replace(rb"\u0000", b"\0")).status == 400


def test_case_19_the_last_of_two_members_of_one_name_wins(door: Door) -> None:
    body = (
        rb'{"writeKey":"nonsense","batch":[{"type":"track","event":"no","userId":"u"}],'
        rb'"batch":[{"type":"page","type":"track","event":"1","\u0065vent":"2",'
        rb'"userId":"u","properties":{"a":1,"a":2}}],"write\u004bey":"key"}'
    )
    assert door.post("/v1/batch", body, key=None).verdict == OK
    event = door.only()
    assert (event["type"], event["event"]) == ("track", "2")
    assert event["properties"] == {"a": 2}
    body = b'{"writeKey":"key","batch":[],"writeKey":"nonsense"}'
    answer = door.post("/v1/batch", body, key=None)
    assert answer.verdict == (401, "invalid_write_key")
    body = b'{"writeKey":"key","writeKey":null,"event":"e","userId":"u"}'
    answer = door.post("/v1/track", body, key=None)
    assert answer.verdict == (401, "missing_write_key")


def nested(depth: int, opening: str) -> str:
    closing = {"[": "]", '{"a":': "}"}[opening]
    return opening * (depth - 1) + ("[]" if closing == "]" else "{}") + (
        closing * (depth - 1)
    )  # fmt: skip


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [199, 200, 1000, 10_000, 50_000])
def test_case_20_what_is_nested_too_deep_costs_only_its_event(
    door: Door, opening: str, depth: int
) -> None:
    deep = nested(depth, opening)
    good = '{"type":"track","event":"e","userId":"u","properties":{"a":["]}"]}}'
    bad = f'{{"type":"track","event":"deep","userId":"u","x":{deep}}}'
    answer = door.post("/v1/batch", f'{{"batch":[{good},{bad},{good}]}}'.encode())
    single = door.post("/v1/track", bad.encode())
    around = f'{{"batch":[{good}],"context":{deep}}}'
    if depth == 199:
        assert answer.verdict == single.verdict == OK
        assert len(door.taken()) == 4
        assert door.post("/v1/batch", around.encode()).verdict == OK
        assert len(door.taken()) == 1
        return
    ((index, _, code),) = answer.rejected
    assert (index, code) == (1, "nesting_too_deep")
    assert answer.content["accepted"] == 2
    assert [event["event"] for event in door.taken()] == ["e", "e"]
    assert single.verdict == (400, "nesting_too_deep")
    answer = door.post("/v1/batch", around.encode())
    assert answer.verdict == (400, "nesting_too_deep")
    assert door.taken() == []


def _lines(door: Door) -> list[str]:
    files = sorted((door.router.data / "archive").glob("*.jsonl"))
    return [line for file in files for line in file.read_text().splitlines()]
