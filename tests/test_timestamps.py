"""Instants: every spelling that a Segment client uses, read and written exactly."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import timestamps

INSTANT = 1_709_566_376_409
ISO = "2024-03-04T15:32:56.409Z"

# What a calendar of four-digit years can hold.
FIRST = -62_135_596_800_000
LAST = 253_402_300_799_999

JSON_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.none())
    | st.dictionaries(st.text(), st.none())
)


@pytest.mark.parametrize(
    "text",
    [
        ISO,
        "2024-03-04T15:32:56.409z",
        "2024-03-04T15:32:56.409000+00:00",
        "2024-03-04T15:32:56.409+00:00",
        "2024-03-04T10:32:56.409999999-05:00",
        "2024-03-04T16:32:56.409+0100",
        "2024-03-04T21:02:56.409+05:30",
        "2024-03-04T16:32:56.409+01",
        "2024-03-04 15:32:56.409",
        "2024-3-4T15:32:56.409Z",
        "2024-03-04T15:32:56,409Z",
        "2024-03-04T15:32:56.4090",
        "2024-03-04T15:32:56.409 Z",
        "  2024-03-04T15:32:56.409Z\n",
        "1709566376409",
        "1709566376.409",
        1709566376409,
        1709566376.409,
        1709566376409.9,
    ],
)
def test_every_spelling_of_an_instant_reads_as_the_same_milliseconds(text):
    assert timestamps.parse(text) == INSTANT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-04T15:32:56+00:00", "2024-03-04T15:32:56.000Z"),
        ("2024-03-04T15:32:56.4Z", "2024-03-04T15:32:56.400Z"),
        ("2024-03-04T15:32Z", "2024-03-04T15:32:00.000Z"),
        ("2024-03-04", "2024-03-04T00:00:00.000Z"),
        ("2015-2-02T01:02:03Z", "2015-02-02T01:02:03.000Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.000Z"),
        (1_709_566_376, "2024-03-04T15:32:56.000Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        (99_999_999_999, "5138-11-16T09:46:39.000Z"),
        (100_000_000_000, "1973-03-03T09:46:40.000Z"),
    ],
)
def test_what_is_left_out_is_zero_and_seconds_end_where_milliseconds_begin(
    text, expected
):
    assert timestamps.format_iso(timestamps.parse(text)) == expected


def test_what_is_finer_than_a_millisecond_is_cut_and_never_rounded():
    assert timestamps.parse("2024-03-04T15:32:56.409999999Z") == INSTANT


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        "",
        " ",
        "yesterday",
        "2024-13-01",
        "2024-02-30T00:00:00Z",
        "2024-03-04T25:00:00Z",
        "2024-03-04T15:32:56.Z",
        "2024-03-04T15:32:56.409+01:00 and more",
        "24-03-04",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        10**400,
        10**17,
        [],
        {},
    ],
)
def test_what_is_no_instant_reads_as_none(value):
    assert timestamps.parse(value) is None


def test_the_zero_time_of_go_clients_keeps_its_four_digit_year():
    zero = timestamps.parse("0001-01-01T00:00:00Z")
    assert zero == FIRST
    assert timestamps.format_iso(zero) == "0001-01-01T00:00:00.000Z"


def test_what_no_calendar_holds_cannot_be_written():
    with pytest.raises(OverflowError):
        timestamps.format_iso(LAST + 1)


@given(st.integers(FIRST, LAST))
def test_what_was_written_reads_as_the_same_instant(milliseconds):
    assert timestamps.parse(timestamps.format_iso(milliseconds)) == milliseconds


# The parts of a time as most SDKs write it, each with others that it might have.
PARTS = (
    ("2024", "0001", "0000", "9999", "1969", "24", "٢٠٢٤"),
    ("-", "", "/"),
    ("02", "13", "3", "00", "²1", "W1"),
    ("-", "", "/"),
    ("28", "29", "30", "32", "1", "00", "٢٠"),
    ("T", "t", " ", "\n", "x", ""),
    ("15", "23", "24", "5", "99", "١٥"),
    (":", ""),
    ("32", "59", "60", "2"),
    (":", ""),
    ("56", "59", "60", "6"),
    (".409", ".4", ".4099", ".409999999", ".4099999999", ",409", ".", "", ".٤٠٩"),
    ("Z", "z", "", "+00:00", "-00:00", "+00", "+01:00", "+99:99", " Z", "Z\n", "ZZ"),
)


def test_what_is_read_the_short_way_reads_the_same_the_long_way():
    usual = [part[0] for part in PARTS]
    odd = [(place, other) for place, part in enumerate(PARTS) for other in part]
    for (first, one), (second, two) in itertools.combinations(odd, 2):
        text = "".join({**dict(enumerate(usual)), first: one, second: two}.values())
        # The short way does not know of blanks.
        assert timestamps.parse(text) == timestamps.parse(f" {text}"), text


@given(JSON_SCALARS | st.from_regex(r"[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}.{0,20}"))
def test_reading_any_json_gives_none_or_an_instant_that_can_be_written(value):
    found = timestamps.parse(value)
    assert found is None or timestamps.format_iso(found).endswith("Z")
