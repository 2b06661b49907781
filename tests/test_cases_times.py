"""The tricky cases of the ingestion contract that are of times: 23 to 25, with every
spelling of a time."""

from typing import Any

import pytest
from door import OK, Door

from router.timestamps import parse

TRACK = {"type": "track", "event": "e", "userId": "u"}


NOON = "2024-03-04T12:00:00.000Z"
LATER = "2024-03-04T12:00:05.250Z"


def times(event: dict[str, Any]) -> tuple[int, int, int, int]:
    """originalTimestamp, sentAt, receivedAt and timestamp in milliseconds."""
    names = ("originalTimestamp", "sentAt", "receivedAt", "timestamp")
    for name in names:
        assert len(event[name]) == len(NOON)
        assert event[name].endswith("Z")
    original, sent, received, happened = (parse(event[name]) or 0 for name in names)
    return original, sent, received, happened


def stamped(door: Door, event: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    """What a destination gets of an event with these times, sent in a batch."""
    assert door.track(TRACK | event, **envelope).verdict == OK
    return door.only()


@pytest.mark.parametrize(
    "when", ["2999-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z",
             "1900-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z",
             "0001-01-01T00:00:00.000Z"],
)  # fmt: skip
def test_case_23_a_time_far_away_is_kept(door: Door, when: str) -> None:
    event = stamped(door, {"timestamp": when})
    assert event["timestamp"] == event["originalTimestamp"] == when
    original, sent, received, happened = times(
        stamped(door, {"timestamp": when}, sentAt=when)
    )
    assert (original, sent) == (parse(when),) * 2
    assert happened == received


@pytest.mark.parametrize(
    "when", ["10000-01-01T00:00:00Z", "+010000-01-01T00:00:00.000Z", "yesterday", "",
             "2024-02-30T00:00:00Z", "2024-03-04T12:00:00.000Z and more", 10**30, True,
             [], {}, None],
)  # fmt: skip
def test_case_23_a_time_that_cannot_be_read_is_as_if_absent(
    door: Door, when: Any
) -> None:
    bad = {"timestamp": when, "originalTimestamp": when, "sentAt": when}
    original, sent, received, happened = times(stamped(door, bad, sentAt=when))
    assert original == sent == received == happened
    given = bad | {"timestamp": NOON}
    event = stamped(door, given, sentAt=LATER)
    original, sent, received, happened = times(event)
    assert (event["originalTimestamp"], event["sentAt"]) == (NOON, LATER)
    assert happened == received - 5250


def test_case_24_a_clock_that_jumped_gives_a_time_to_come(door: Door) -> None:
    event = stamped(door, {"timestamp": LATER}, sentAt=NOON)
    _, _, received, happened = times(event)
    assert happened == received + 5250


def test_case_25_without_a_time_of_sending_the_timestamp_counts(door: Door) -> None:
    event = stamped(door, {"timestamp": NOON})
    assert event["timestamp"] == event["originalTimestamp"] == NOON
    assert event["sentAt"] == event["receivedAt"]


@pytest.mark.parametrize("name", ["timestamp", "originalTimestamp"])
@pytest.mark.parametrize(
    ("own", "outer"), [(None, LATER), (LATER, None), (LATER, NOON), ("soon", LATER)]
)
def test_case_25_the_time_of_sending_is_the_events_else_the_envelopes(
    door: Door, name: str, own: str | None, outer: str | None
) -> None:
    event = stamped(door, {name: NOON, "sentAt": own}, sentAt=outer)
    _, _, received, happened = times(event)
    assert (event["originalTimestamp"], event["sentAt"]) == (NOON, LATER)
    assert happened == received - 5250


def test_case_25_a_single_event_says_itself_when_it_was_sent(door: Door) -> None:
    sent = TRACK | {"timestamp": NOON, "sentAt": LATER}
    assert door.post("/v1/track", sent).verdict == OK
    _, _, received, happened = times(door.only())
    assert happened == received - 5250


def test_case_25_what_was_corrected_before_is_kept(door: Door) -> None:
    given = {"originalTimestamp": NOON, "timestamp": LATER}
    event = stamped(door, given, sentAt="2024-03-04T13:00:00Z")
    assert (event["originalTimestamp"], event["timestamp"]) == (NOON, LATER)


def test_case_25_a_time_of_sending_alone_shows_how_wrong_the_clock_is(
    door: Door,
) -> None:
    original, sent, received, happened = times(stamped(door, {}, sentAt=NOON))
    assert (original, sent) == (received, parse(NOON))
    assert happened == received - (sent - received)


INSTANT = "2024-03-04T15:32:56.409Z"

SPELLINGS: dict[Any, str] = {
    # JavaScript, Java, Kotlin, Swift; Python's two; Go; PHP; Ruby's two
    "2024-03-04T15:32:56.409Z": INSTANT,
    "2024-03-04T15:32:56.409123+00:00": INSTANT,
    "2024-03-04T15:32:56.409+00:00": INSTANT,
    "2024-03-04T21:02:56.409999999+05:30": INSTANT,
    "2024-03-04T10:32:56-05:00": "2024-03-04T15:32:56.000Z",
    "2024-03-04T16:32:56.409+01:00": INSTANT,
    # what documents show, and other writers use
    "2015-2-02T00:30:12.984Z": "2015-02-02T00:30:12.984Z",
    "2015-12-2T00:30:12.984Z": "2015-12-02T00:30:12.984Z",
    "2024-03-04T15:32:56.409z": INSTANT,
    "2024-03-04T16:32:56.409+0100": INSTANT,
    "2024-03-04T10:32:56.409-0500": INSTANT,
    "2024-03-04 15:32:56.409": INSTANT,
    "2024-03-04 15:32:56.409+00:00": INSTANT,
    "2024-03-04T15:32:56.409": INSTANT,
    "2024-03-04": "2024-03-04T00:00:00.000Z",
    "2024-03-04T15:32:56Z": "2024-03-04T15:32:56.000Z",
    **{
        f"2024-03-04T15:32:56.{'409876543'[:digits]}Z": (
            f"2024-03-04T15:32:56.{'409'[:digits]:0<3}Z"
        )
        for digits in range(1, 10)
    },
    1709566376409: INSTANT,
    1709566376: "2024-03-04T15:32:56.000Z",
    10**11: "1973-03-03T09:46:40.000Z",
    10**11 - 1: "5138-11-16T09:46:39.000Z",
}


@pytest.mark.parametrize("name", ["timestamp", "originalTimestamp"])
def test_every_spelling_of_a_time_is_read_to_the_millisecond(
    door: Door, name: str
) -> None:
    items = [TRACK | {name: spelling} for spelling in SPELLINGS]
    assert door.track(*items).verdict == OK
    found = [event["timestamp"] for event in door.taken()]
    assert dict(zip(SPELLINGS, found, strict=True)) == SPELLINGS


def test_what_is_finer_than_a_millisecond_is_cut_before_it_is_subtracted(
    door: Door,
) -> None:
    given = {"timestamp": "2024-03-04T11:59:59.999999999Z"}
    event = stamped(door, given, sentAt="2024-03-04T12:00:05.000999Z")
    _, _, received, happened = times(event)
    assert received - happened == 5001


def test_all_events_of_a_request_are_received_at_one_instant(door: Door) -> None:
    assert door.track(*[TRACK] * 100, sentAt=NOON).verdict == OK
    assert len({event["receivedAt"] for event in door.taken()}) == 1
