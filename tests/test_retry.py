"""When to try again."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.retry import LONGEST_RETRY_AFTER, Policy, retry_after

NOW = 1_709_566_376.0
LATER = "Mon, 04 Mar 2024 15:34:56 GMT"


def ceilings(policy):
    return [policy.delay(attempt) for attempt in range(1, 13)]


def test_the_ceiling_of_a_wait_doubles_from_one_second_to_five_minutes():
    assert ceilings(Policy(draw=lambda low, high: high)) == [
        *(1, 2, 4, 8, 16, 32, 64, 128, 256),
        *(300, 300, 300),
    ]


def test_a_wait_is_drawn_from_nothing_to_its_ceiling_but_never_under_the_least():
    drawn = []

    def draw(low, high):
        drawn.append((low, high))
        return low

    assert Policy(draw=draw).delay(3) == 0.1
    assert drawn == [(0, 4)]


@given(st.integers(1, 10**9))
def test_any_number_of_attempts_gives_a_wait_within_bounds(attempt):
    assert 0.1 <= Policy().delay(attempt) <= 300


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, 0.1), (-5, 0.1), (7, 7), (10**9, LONGEST_RETRY_AFTER), (float("nan"), 0.1)],
)
def test_what_a_partner_asks_for_is_kept_within_reason(after, expected):
    assert Policy().bounded(after) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120),
        (" 0 ", 0),
        (LATER, 120),
        ("Monday, 04-Mar-24 15:34:56 GMT", 120),
        ("Mon, 04 Mar 2024 16:34:56 +0100", 120),
        ("Mon, 04 Mar 2024 15:32:00 GMT", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header, expected):
    assert retry_after(header, NOW) == expected


@pytest.mark.parametrize(
    "header", [None, "", "soon", "-5", "1.5", "٣", "9" * 400, "Mon, 99 Foo 2024", "nan"]
)
def test_any_other_retry_after_is_as_if_absent(header):
    assert retry_after(header, NOW) is None


def test_a_date_without_a_zone_is_greenwich_time_wherever_the_router_runs(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after("Mon Mar  4 15:34:56 2024", NOW) == 120
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_any_header_gives_none_or_seconds(header):
    found = retry_after(header, NOW)
    assert found is None or found >= 0
