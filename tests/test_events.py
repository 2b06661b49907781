"""One event, as a client sent it, made into what the log keeps. The rules are those of
sections 2b and 2c of the reference on ingestion."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import codec, events
from router.errors import InvalidEvent

RECEIVED = "2024-03-04T12:00:05.250Z"
RECEIVED_MS = 1_709_553_605_250

TRACK = {"type": "track", "event": "Added", "userId": "u"}


def accept(raw, **how):
    ids = iter(["made-up"])
    how = {key: value for key, value in how.items() if value is not None}
    arrival = events.Arrival(RECEIVED_MS, **how)
    return events.accept(raw, "web", arrival, new_id=lambda: next(ids))


def body(raw=None, **how):
    """The event as the log keeps it; `how` beside kind and envelope are its members."""
    options = {key: how.pop(key) for key in ("kind", "envelope") if key in how}
    return codec.loads(accept({**TRACK, **(raw or {}), **how}, **options).body)


def refusal(raw, **how):
    with pytest.raises(InvalidEvent) as raised:
        accept(raw, **how)
    return raised.value.code, raised.value.reason


def test_an_event_is_kept_with_its_ids_and_its_four_times():
    accepted = accept({**TRACK, "messageId": "m", "properties": {"n": 1}})
    assert accepted.source == "web"
    assert accepted.message_id == "m"
    assert accepted.user_key == "u"
    assert accepted.received_at == RECEIVED_MS
    assert codec.loads(accepted.body) == {
        "type": "track",
        "event": "Added",
        "userId": "u",
        "messageId": "m",
        "properties": {"n": 1},
        "originalTimestamp": RECEIVED,
        "timestamp": RECEIVED,
        "sentAt": RECEIVED,
        "receivedAt": RECEIVED,
    }


def test_accepting_does_not_change_what_it_was_given():
    raw = {**TRACK, "writeKey": "k", "name": None, "context": {"a": {"b": 1}}}
    envelope = {"context": {"a": 1, "c": 2}, "sentAt": RECEIVED}
    before = json.dumps([raw, envelope])
    accept(raw, envelope=envelope)
    assert json.dumps([raw, envelope]) == before


def test_accepting_does_not_change_the_context_it_was_given():
    raw = {**TRACK, "context": {"direct": True}}
    accepted = accept(raw, address="10.0.0.1", is_browser=True)
    assert codec.loads(accepted.body)["context"] == {"ip": "10.0.0.1"}
    assert raw["context"] == {"direct": True}


@pytest.mark.parametrize("raw", [None, 1, "text", [], [TRACK], True])
def test_an_event_must_be_an_object(raw):
    assert refusal(raw) == ("invalid_event", "an event must be a JSON object")


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("identify", {}),
        ("track", {"event": "e"}),
        ("page", {}),
        ("screen", {}),
        ("group", {"groupId": "g"}),
        ("alias", {"previousId": "p"}),
    ],
)
def test_each_of_the_six_calls_is_accepted(kind, more):
    assert codec.loads(accept({"type": kind, "userId": "u", **more}).body)["type"] == (
        kind
    )


@pytest.mark.parametrize("kind", [None, "", "Track", "charge", 5, ["track"], {}])
def test_another_type_is_refused_with_the_known_ones(kind):
    assert refusal({**TRACK, "type": kind}) == (
        "unknown_type",
        "type must be one of identify, track, page, screen, group, alias",
    )


def test_the_type_of_the_path_wins_over_that_of_the_body():
    assert body(type="nonsense", kind="identify")["type"] == "identify"


@pytest.mark.parametrize("absent", [{}, {"userId": None}, {"anonymousId": " \t"}])
def test_an_event_of_nobody_is_refused(absent):
    assert refusal({"type": "identify", **absent}) == (
        "no_user_anon_id",
        "missing identity: give userId or anonymousId",
    )


@pytest.mark.parametrize("name", ["userId", "anonymousId", "groupId", "previousId"])
@pytest.mark.parametrize("value", [True, False, [], {}, ["a"]])
def test_what_cannot_be_an_id_is_refused(name, value):
    assert refusal({**TRACK, name: value}) == (
        "invalid_id",
        f"{name} must be text or a number",
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (42, "42"),
        (7.0, "7"),
        (9007199254740993, "9007199254740993"),
        (1.5, "1.5"),
        (codec.Numeral("1e400"), "1e400"),
    ],
)
def test_a_number_as_id_becomes_its_digits(value, expected):
    assert body(userId=value)["userId"] == expected
    assert accept({**TRACK, "userId": value}).user_key == expected


def test_an_id_is_kept_as_it_was_written():
    assert body(userId=" u ")["userId"] == " u "


def test_a_blank_id_is_as_if_absent():
    assert "userId" not in body(userId="  ", anonymousId="a")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"userId": "u", "anonymousId": "a"}, "a"),
        ({"userId": "u", "anonymousId": " "}, "u"),
        ({"userId": "u"}, "u"),
        ({"anonymousId": 0}, "0"),
    ],
)
def test_events_are_ordered_by_anonymous_id_else_by_user_id(ids, expected):
    assert accept({"type": "page", **ids}).user_key == expected


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_track_call_needs_an_event_name(name):
    assert refusal({**TRACK, "event": name}) == (
        "event_not_defined",
        "a track call needs an event name",
    )


@pytest.mark.parametrize("name", [5, True, [], {}])
def test_an_event_name_must_be_text(name):
    assert refusal({**TRACK, "event": name}) == (
        "event_not_string",
        "event must be text",
    )


def test_a_group_call_needs_a_group():
    assert refusal({"type": "group", "userId": "u", "groupId": ""}) == (
        "group_id_required",
        "a group call needs groupId",
    )


def test_an_alias_call_needs_the_previous_id():
    assert refusal({"type": "alias", "userId": "u"}) == (
        "previous_id_required",
        "an alias call needs previousId",
    )


@pytest.mark.parametrize("name", ["properties", "traits", "context"])
@pytest.mark.parametrize("value", [[], "text", 5, True])
def test_what_must_be_an_object_is_refused_as_anything_else(name, value):
    raw = {"type": "page", "userId": "u", name: value}
    assert refusal(raw) == (f"{name}_not_object", f"{name} must be an object")


@pytest.mark.parametrize("name", ["properties", "traits", "context"])
def test_null_in_place_of_an_object_is_as_if_absent(name):
    assert body({name: None}) == body()


@pytest.mark.parametrize("kind", ["page", "screen"])
@pytest.mark.parametrize("name", ["name", "category"])
def test_the_name_and_category_of_a_page_must_be_text(kind, name):
    raw = {"type": kind, "userId": "u", name: 5}
    assert refusal(raw) == (f"{name}_not_string", f"{name} must be text")


@pytest.mark.parametrize("value", [None, "", " "])
def test_an_empty_name_or_category_is_as_if_absent(value):
    kept = body({"type": "page", "name": value, "category": value})
    assert "name" not in kept
    assert "category" not in kept


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [("m", "m"), (5, "5"), (0, "0"), ("x" * 500, "x" * 500), (" m ", " m ")],
)
def test_a_message_id_is_kept(given_id, expected):
    accepted = accept({**TRACK, "messageId": given_id})
    assert accepted.message_id == expected
    assert codec.loads(accepted.body)["messageId"] == expected


@pytest.mark.parametrize("given_id", [None, "", "  ", True, [], {}])
def test_an_event_without_a_message_id_gets_one(given_id):
    accepted = accept({**TRACK, "messageId": given_id})
    assert accepted.message_id == "made-up"
    assert codec.loads(accepted.body)["messageId"] == "made-up"


def test_credentials_and_what_a_client_says_of_itself_are_not_kept():
    kept = body(writeKey="k", _metadata={"bundled": []}, receivedAt="1999-01-01")
    assert "writeKey" not in kept
    assert "_metadata" not in kept
    assert kept["receivedAt"] == RECEIVED


def test_members_that_the_router_does_not_know_are_kept():
    assert body(channel="web", version="1.1")["channel"] == "web"


# Segment's correction of clocks: timestamp = R - (S - O).


def times(envelope=None, **given_times):
    kept = body(given_times, envelope=envelope)
    return kept["originalTimestamp"], kept["timestamp"], kept["sentAt"]


HAPPENED, SENT, CORRECTED = (
    "2024-03-04T10:00:00.000Z",
    "2024-03-04T10:00:05.000Z",
    "2024-03-04T12:00:00.250Z",
)


def test_a_clock_that_is_wrong_is_corrected_by_what_passed_until_it_was_sent():
    assert times(timestamp=HAPPENED, sentAt=SENT) == (HAPPENED, CORRECTED, SENT)


def test_the_original_timestamp_of_a_client_counts_as_its_time():
    assert times(originalTimestamp=HAPPENED, sentAt=SENT) == (HAPPENED, CORRECTED, SENT)


def test_the_envelope_says_when_it_was_sent_where_the_event_does_not():
    assert times({"sentAt": SENT}, timestamp=HAPPENED) == (HAPPENED, CORRECTED, SENT)
    assert times({"sentAt": SENT}, timestamp=HAPPENED, sentAt="soon") == (
        HAPPENED,
        CORRECTED,
        SENT,
    )
    assert times({"sentAt": HAPPENED}, timestamp=HAPPENED, sentAt=SENT) == (
        HAPPENED,
        CORRECTED,
        SENT,
    )


def test_without_a_time_of_sending_a_timestamp_is_believed():
    assert times(timestamp=HAPPENED) == (HAPPENED, HAPPENED, RECEIVED)


def test_without_a_timestamp_an_event_happened_when_it_was_sent():
    assert times(sentAt=SENT) == (RECEIVED, "2024-03-04T14:00:05.500Z", SENT)


def test_an_event_that_was_corrected_before_keeps_both_its_times():
    earlier = "2020-01-01T00:00:00.000Z"
    assert times(originalTimestamp=HAPPENED, timestamp=earlier, sentAt=SENT) == (
        HAPPENED,
        earlier,
        SENT,
    )


@pytest.mark.parametrize("bad", ["yesterday", True, {}, [], "", None, 10**30])
def test_a_time_that_cannot_be_read_is_as_if_absent(bad):
    assert times(timestamp=bad, sentAt=bad) == (RECEIVED, RECEIVED, RECEIVED)
    assert times(originalTimestamp=bad, timestamp=HAPPENED, sentAt=SENT) == (
        HAPPENED,
        CORRECTED,
        SENT,
    )
    assert times(originalTimestamp=HAPPENED, timestamp=bad, sentAt=SENT) == (
        HAPPENED,
        CORRECTED,
        SENT,
    )


def test_what_is_finer_than_a_millisecond_is_cut_before_it_is_subtracted():
    sent = "2024-03-04T10:00:05.000999+00:00"
    assert times(timestamp="2024-03-04T09:59:59.999999999Z", sentAt=sent) == (
        "2024-03-04T09:59:59.999Z",
        "2024-03-04T12:00:00.249Z",
        "2024-03-04T10:00:05.000Z",
    )


def test_a_correction_may_lead_into_the_future():
    assert times(timestamp=SENT, sentAt=HAPPENED)[1] == "2024-03-04T12:00:10.250Z"


def test_a_correction_that_leaves_the_calendar_is_not_made():
    assert times(timestamp="9999-01-01", sentAt="0002-01-01")[1] == RECEIVED


def test_times_are_kept_with_a_year_of_four_digits():
    assert times(timestamp="0001-01-01T00:00:00Z") == (
        "0001-01-01T00:00:00.000Z",
        "0001-01-01T00:00:00.000Z",
        RECEIVED,
    )


# What a batch says for all its events.


def test_context_and_integrations_of_a_batch_are_inherited_member_by_member():
    envelope = {
        "context": {"ip": "::1", "library": {"name": "batch", "version": "1"}},
        "integrations": {"All": False, "A": True},
    }
    kept = body(
        context={"library": {"name": "event"}},
        integrations={"A": False},
        envelope=envelope,
    )
    assert kept["context"] == {"ip": "::1", "library": {"name": "event"}}
    assert kept["integrations"] == {"All": False, "A": False}
    assert body(envelope=envelope)["context"] == envelope["context"]
    assert body(envelope=envelope, context=None)["context"] == envelope["context"]


@pytest.mark.parametrize("outer", [None, "text", 5, []])
def test_a_batch_whose_context_is_no_object_has_none(outer):
    kept = body(context={"a": 1}, envelope={"context": outer, "integrations": outer})
    assert kept["context"] == {"a": 1}
    assert "integrations" not in kept


def test_a_batch_does_not_hide_that_an_event_has_a_context_that_is_no_object():
    raw = {**TRACK, "context": "text"}
    assert refusal(raw, envelope={"context": {"a": 1}})[0] == "context_not_object"


def test_nothing_else_of_a_batch_is_inherited():
    envelope = {"writeKey": "k", "batch": [], "userId": "x", "type": "page"}
    assert body(envelope=envelope) == body()


def test_events_of_a_batch_share_what_it_says_and_nothing_of_each_other():
    envelope = {"context": {"a": 1}, "integrations": 5, "sentAt": SENT}
    arrival = events.Arrival(RECEIVED_MS, None, envelope, "10.0.0.1", is_browser=True)
    more = {"context": {"a": 2, "b": 3}, "sentAt": "soon", "integrations": {"All": 1}}
    own, bare, again = (
        events.accept({**TRACK, "timestamp": HAPPENED, **raw}, "web", arrival, str)
        for raw in (more | {"messageId": "1"}, {"messageId": "2"}, {"messageId": "2"})
    )
    assert bare == again
    assert len(own.notes) == 3
    assert own.notes[1:] == ("all_not_boolean", "invalid_timestamp")
    assert bare.notes == ("integrations_not_object",)
    own, bare = codec.loads(own.body), codec.loads(bare.body)
    assert own["context"] == {"a": 2, "b": 3, "ip": "10.0.0.1"}
    assert bare["context"] == {"a": 1, "ip": "10.0.0.1"}
    for kept in (own, bare):
        assert (kept["timestamp"], kept["sentAt"]) == (CORRECTED, SENT)


# What is wrong and can be left out.


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ({"integrations": {"All": True}, "timestamp": HAPPENED, "sentAt": ""}, ()),
        ({"integrations": []}, ("integrations_not_object",)),
        ({"integrations": {"All": "false"}}, ("all_not_boolean",)),
        ({"integrations": {"all": 0}}, ("all_not_boolean",)),
        ({"integrations": {"All": None}}, ()),
        ({"timestamp": "soon", "sentAt": {}}, ("invalid_timestamp",) * 2),
        ({"originalTimestamp": 10**30}, ("invalid_timestamp",)),
    ],
)
def test_what_is_wrong_and_left_out_is_noted(more, notes):
    assert accept({**TRACK, **more}).notes == notes


@pytest.mark.parametrize(
    ("envelope", "notes"),
    [
        ({"sentAt": "yesterday"}, ("invalid_timestamp",)),
        ({"sentAt": {"n": 1}}, ("invalid_timestamp",)),
        ({"integrations": "none"}, ("integrations_not_object",)),
        ({"context": []}, ("context_not_object",)),
        ({"sentAt": None, "integrations": None, "context": None}, ()),
    ],
)
def test_what_is_wrong_with_a_batch_is_noted_of_each_event(envelope, notes):
    bare = {name: TRACK[name] for name in ("type", "userId", "event")}
    assert accept(bare, envelope=envelope).notes == notes
    assert body(bare, envelope=envelope)["sentAt"] == RECEIVED


# Text and numbers at the edges of JSON.


ANY_TEXT = st.text(max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.sampled_from(["track", "alias", "u", HAPPENED, "0001-01-01"])
)
NAMES = st.sampled_from(
    [
        *("type", "event", "userId", "anonymousId", "groupId", "previousId"),
        *("messageId", "properties", "traits", "context", "integrations", "name"),
        *("timestamp", "originalTimestamp", "sentAt", "receivedAt", "writeKey"),
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | ANY_TEXT, inner, max_size=5)
    ),
    max_leaves=12,
)
EVENTS = st.dictionaries(NAMES, SCALARS | JSON, max_size=14)


@given(
    raw=JSON | EVENTS | EVENTS.map(lambda raw: {**TRACK, **raw}),
    envelope=st.none() | EVENTS,
    kind=st.none() | st.sampled_from(events.TYPES),
)
def test_any_json_is_accepted_in_a_form_that_reads_back_or_is_refused(
    raw, envelope, kind
):
    try:
        accepted = accept(raw, envelope=envelope, kind=kind)
    except InvalidEvent:
        return
    kept = codec.loads(accepted.body)
    assert kept["type"] in events.TYPES
    assert kept["messageId"] == accepted.message_id
    assert accepted.user_key == (kept.get("anonymousId") or kept.get("userId"))
    again = events.accept(
        kept, "web", events.Arrival(RECEIVED_MS), new_id=lambda: "another"
    )
    assert again.columns() == accepted.columns()
