"""JSON in and out: one form, whatever clients send."""

import json
import math
import re
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import codec

TEXT = st.text(st.characters(codec="utf-8"))

# Whole numbers past 4,300 digits are Python's limit, not JSON's.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_what_was_written_reads_as_the_same_value(value):
    written = codec.dumps(value)
    assert codec.loads(written) == value
    assert json.loads(written) == value


@given(JSON)
def test_the_same_value_gives_the_same_bytes(value):
    assert codec.dumps(value) == codec.dumps(codec.loads(codec.dumps(value)))


@given(JSON)
def test_what_was_packed_reads_as_the_same_value(value):
    packed = codec.pack(value)
    assert codec.unpack(packed) == value
    assert json.loads(packed) == value
    # What others have written, it reads too.
    assert codec.unpack(codec.dumps(value)) == value


def test_text_is_utf_8_without_escapes_and_without_blanks():
    value = {"url": "https://x.example/a", "name": "Café ☕", "list": [1, 2.5, None]}
    assert codec.dumps(value).decode() == (
        '{"url":"https://x.example/a","name":"Café ☕","list":[1,2.5,null]}'
    )


@pytest.mark.parametrize("digits", ["9007199254740993", "123456789012345678901234567"])
def test_whole_numbers_keep_all_their_digits(digits):
    assert codec.dumps(codec.loads(digits)) == digits.encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_has_not_are_refused(number):
    with pytest.raises(ValueError):  # noqa: PT011 - ujson words it
        codec.dumps({"a": [number]})


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{} {}", b"'a'", b"\xff", b"{1:2}", b"undefined"]
)
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError):  # noqa: PT011
        codec.loads(data)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_nested_past_reason_is_a_value_error(opening):
    with pytest.raises(ValueError, match="deep"):
        codec.loads(opening * 100_000)


def test_a_value_nested_past_reason_is_a_value_error():
    value = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(ValueError, match="recursion"):
        codec.dumps(value)


def test_half_an_emoji_becomes_the_replacement_character_in_names_and_values():
    value = codec.loads(b'{"a\\ud83d": ["cut \\ud83d", {"b": "\\ude00"}]}')
    assert codec.dumps(value).decode() == '{"a\ufffd":["cut \ufffd",{"b":"\ufffd"}]}'


@pytest.mark.parametrize("cut", [rb"\ud8", rb"\ud8zz", rb"\uDC0", rb"\ud8\u0041"])
def test_half_an_escape_is_no_json_whatever_follows(cut):
    for rest in (b'"', b'"]"', b'","b"'):
        with pytest.raises(ValueError, match="escape"):
            codec.loads(b'["' + cut + rest + b"]")


def test_two_halves_of_an_emoji_are_the_emoji():
    assert codec.loads(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'"a\xffb"', "a\ufffdb"),
        (b'"\xc0\xaf"', "\ufffd\ufffd"),  # an overlong slash
        (b'"\xed\xa0\xbd"', "\ufffd" * 3),  # half an emoji in UTF-8
        (b'\xef\xbb\xbf"a"', "a"),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b'"\\u0000"', "\0"),
    ],
)
def test_what_is_no_utf_8_in_a_string_costs_a_character(data, text):
    assert codec.loads(data) == text


@pytest.mark.parametrize(
    "number",
    ["-0", "1e400", "-1E+999", "0.12345678901234567890123", "9007199254740993.0",
     "1" * 5000, f"1e{'9' * 30}", "1e-400"],
)  # fmt: skip
def test_a_number_that_nothing_can_hold_is_written_as_it_was_read(number):
    assert codec.dumps(codec.loads(number)) == number.encode()
    packed = codec.pack({"total": codec.loads(number)})
    assert codec.dumps(codec.unpack(packed)) == b'{"total":%b}' % number.encode()


@pytest.mark.parametrize(
    "digits", [f"{sign}{2**bits + more}" for sign in ("", "-") for bits in (63, 64)
               for more in (-1, 0, 1)]
)  # fmt: skip
def test_whole_numbers_around_64_bits_are_packed_with_all_their_digits(digits):
    assert codec.unpack(codec.pack({"id": int(digits), "name": None})) == {
        "id": int(digits),
        "name": None,
    }


@pytest.mark.parametrize(
    "number", ["0", "-0.0", "1.0", "19.90", "1e5", "-1.5E-7", "0.0"]
)
def test_other_numbers_are_numbers(number):
    value = codec.loads(number)
    assert isinstance(value, int | float)
    assert str(value).startswith("-") is number.startswith("-")
    assert float(codec.dumps(value)) == float(number)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_a_value_error_that_says_where(name):
    with pytest.raises(ValueError, match=rf"^{name} is no JSON, .*\(char 23\)$"):
        codec.loads(f'{{"NaN": "NaN", "a": [1,{name}]}}')


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        ({"a": {1}}, TypeError, "a: set is not JSON"),
        ({"a": [0, {"b": b""}], "c": {1}}, TypeError, "a[1].b: bytes is not JSON"),
        ([(1, 2j)], TypeError, "[0][1]: complex is not JSON"),
        ({1}, TypeError, "set is not JSON"),
        ({"a": [0.0, math.nan]}, ValueError, "a[1]: NaN and infinities are not JSON"),
        ({"a": {"b": -math.inf}}, ValueError, "a.b: NaN and infinities"),
        ({"a": {"b": "\ud83d"}}, ValueError, "a.b: "),
        ({"a": MappingProxyType({"b": {1}})}, TypeError, "a: mappingproxy is not"),
    ],
)
def test_what_json_cannot_hold_is_an_error_that_says_where(value, error, said):
    for indent in (0, 2):
        with pytest.raises(error, match=f"^{re.escape(said)}"):
            codec.dumps(value, indent=indent)


def test_what_holds_itself_is_a_value_error():
    value = {}
    value["value"] = [value]
    with pytest.raises(ValueError, match=r"^Maximum recursion level reached"):
        codec.dumps(value)


class Size(Enum):
    LARGE = "L"


@pytest.mark.parametrize("beside", [{}, {"name": None}, {"id": 2**70}])
def test_an_id_and_a_choice_are_written_whatever_is_beside_them(beside):
    value = {"uuid": UUID(int=1), "size": Size.LARGE, **beside}
    assert codec.loads(codec.dumps(value)) == {
        "uuid": "00000000-0000-0000-0000-000000000001",
        "size": "L",
        **beside,
    }


@pytest.mark.parametrize("value", [datetime(2024, 3, 4), {1, 2}, b"bytes"])
def test_what_json_has_no_form_for_is_refused_whatever_is_beside_it(value):
    for beside in ({}, {"name": None}):
        with pytest.raises(TypeError):
            codec.dumps({"value": value, **beside})


@pytest.mark.parametrize(
    "number", ["0.1234567890123456789012345", "1e400", "123456789012345678901234567890"]
)
def test_what_was_not_packed_is_unpacked_with_all_its_digits(number):
    body = b'{"total":%b}' % number.encode()
    assert codec.dumps(codec.unpack(body)) == body


def test_values_that_were_written_are_not_written_again():
    values = [{"a": 1}, b"as it was", [2]]
    assert codec.dump_each(values) == [b'{"a":1}', b"as it was", b"[2]"]
