"""The tricky cases of the ingestion contract that are of batches and of what surrounds
an event: 1 to 4, and 26 to 31, with `integrations`."""

from typing import Any

import pytest
from door import OK, Door

TRACK = {"type": "track", "event": "e", "userId": "u"}


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b"])
def test_case_01_an_empty_batch_is_a_success(door: Door, path: str) -> None:
    assert door.post(path, {"batch": []}).verdict == OK
    assert door.post(path, b'{"sentAt":null,"batch": [ ] }').verdict == OK
    assert door.taken() == []


def test_case_02_one_bad_event_costs_the_others_nothing(door: Door) -> None:
    items = [TRACK | {"event": str(n), "messageId": f"case 2: {n}"} for n in range(5)]
    del items[3]["event"]
    answer = door.track(*items)
    assert answer.rejected == [(3, "case 2: 3", "event_not_defined")]
    assert answer.content["accepted"] == 4
    assert [event["event"] for event in door.taken()] == ["0", "1", "2", "4"]


def test_case_03_a_batch_of_only_bad_events_is_a_success_too(door: Door) -> None:
    answer = door.track({}, {"type": "track", "userId": "u"}, {"type": "page"})
    assert [code for _, _, code in answer.rejected] == [
        "unknown_type",
        "event_not_defined",
        "no_user_anon_id",
    ]
    assert answer.content["accepted"] == 0
    assert door.taken() == []


@pytest.mark.parametrize("item", [None, "text", [], [TRACK], 5, True, 1.5])
def test_case_04_an_item_that_is_no_object_is_refused_alone(
    door: Door, item: Any
) -> None:
    answer = door.track(item, TRACK, item)
    expected = [(0, None, "invalid_event"), (2, None, "invalid_event")]
    assert answer.rejected == expected
    assert answer.content["accepted"] == 1
    assert door.only()["event"] == "e"


@pytest.mark.parametrize("kind", ["Track", "record", "TRACK", "merge", "", None, 5, []])
def test_case_26_an_unknown_type_costs_its_own_event(door: Door, kind: Any) -> None:
    items = [TRACK, TRACK | {"type": kind, "messageId": "x"}, TRACK]
    answer = door.track(*items)
    assert answer.rejected == [(1, "x", "unknown_type")]
    del items[1]["type"]
    assert door.track(*items).rejected == [(1, "x", "unknown_type")]
    assert len(door.taken()) == 4


PATHS = {"identify": "i", "track": "t", "page": "p", "screen": "s", "group": "g",
         "alias": "a"}  # fmt: skip


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("said", ["identify", "Track", "nonsense", None, 5])
def test_case_27_the_type_of_the_path_wins(door: Door, kind: str, said: Any) -> None:
    sent = {"userId": "u", "event": "e", "groupId": "g", "previousId": "p"}
    for path in (f"/v1/{kind}", f"/v1/{PATHS[kind]}"):
        assert door.post(path, sent).verdict == OK
        assert door.post(path, sent | {"type": said}).verdict == OK
    assert [event["type"] for event in door.taken()] == [kind] * 4


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b"])
@pytest.mark.parametrize(
    "body", [TRACK, {}, {"batch": None}, {"batch": TRACK}, {"batch": "[]"}, [TRACK], [],
             {"Batch": [TRACK]}, {"events": [TRACK]}, None, "text", 5],
)  # fmt: skip
def test_case_28_a_batch_needs_its_list(door: Door, path: str, body: Any) -> None:
    # Without an object there is nowhere to look for a key, and none is needed.
    for key in ("key", None) if not isinstance(body, dict) else ("key",):
        assert door.post(path, body, key=key).verdict == (400, "invalid_body")
    assert door.taken() == []


def test_case_28_in_a_single_event_a_batch_is_any_member(door: Door) -> None:
    assert door.post("/v1/track", TRACK | {"batch": [{"type": 5}]}).verdict == OK
    assert door.only()["batch"] == [{"type": 5}]
    answer = door.post("/v1/track", {"batch": [TRACK], "userId": "u"})
    assert answer.verdict == (400, "event_not_defined")


def test_case_29_an_envelope_gives_no_id_no_time_and_no_type(door: Door) -> None:
    noon = "2024-03-04T12:00:00.000Z"
    outer = {"messageId": "outer", "timestamp": noon, "originalTimestamp": noon,
             "type": "page", "sequence": 7, "userId": "outer", "anonymousId": "outer",
             "channel": "outer", "event": "outer", "receivedAt": noon}  # fmt: skip
    items = [TRACK, TRACK, {"type": "identify", "userId": "u"}]
    assert door.track(*items, {"userId": "u"}, **outer).rejected == [
        (3, None, "unknown_type")
    ]
    events = door.taken()
    assert len({event["messageId"] for event in events} - {"outer"}) == 3
    assert [event["userId"] for event in events] == ["u"] * 3
    for event in events:
        assert event["timestamp"] == event["receivedAt"] != noon
        assert {"sequence", "anonymousId", "channel"}.isdisjoint(event)
    answer = door.track({"type": "page"}, **outer)
    assert answer.rejected == [(0, None, "no_user_anon_id")]


LIBRARY = {"name": "analytics-go", "version": "3.0.0"}


@pytest.mark.parametrize(
    ("own", "merged"),
    [
        ({}, {"library": LIBRARY, "ip": "::1"}),
        ({"context": None}, {"library": LIBRARY, "ip": "::1"}),
        ({"context": {}}, {"library": LIBRARY, "ip": "::1"}),
        ({"context": {"a": 1}}, {"library": LIBRARY, "ip": "::1", "a": 1}),
        ({"context": {"library": "x"}}, {"library": "x", "ip": "::1"}),
        ({"context": {"library": None}}, {"library": None, "ip": "::1"}),
    ],
)  # fmt: skip
def test_case_30_a_context_is_merged_member_by_member_and_the_events_wins(
    door: Door, own: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert (
        door.track(TRACK | own, context={"library": LIBRARY, "ip": "::1"}).status == 200
    )
    assert door.only()["context"] == merged


@pytest.mark.parametrize("outer", [None, "text", [], 5])
def test_case_30_a_context_of_the_envelope_that_is_no_object_is_none(
    door: Door, outer: Any
) -> None:
    assert door.track(TRACK | {"context": {"a": 1}}, context=outer).verdict == OK
    assert door.only()["context"] == {"a": 1}


def reached(door: Door) -> str:
    """Which destinations got the one event: `a` the archive, `w` the webhook."""
    return "".join(name[0] * len(events) for name, events in door.out().items())


def test_case_31_integrations_are_merged_and_the_events_win(door: Door) -> None:
    off = {"All": False, "archive": True}
    on = {"Webhook": True, "archive": False}
    assert door.track(TRACK | {"integrations": on}, integrations=off).verdict == OK
    out = door.out()
    assert out["archive"] == []
    (event,) = out["webhook"]
    assert event["integrations"] == {"All": False, "archive": False, "Webhook": True}
    for own in ({"integrations": {"All": True}}, {}, {"integrations": None}):
        assert door.track(TRACK | own, integrations={"All": False}).verdict == OK
        assert reached(door) == ("aw" if own.get("integrations") else "")


# Both destinations are of the plugin `jsonl`.
@pytest.mark.parametrize(
    ("integrations", "expected"),
    [
        ({}, "aw"), (None, "aw"), ("text", "aw"), ([], "aw"), (5, "aw"), (False, "aw"),
        ({"All": False}, ""), ({"all": False}, ""), ({"ALL": False}, ""),
        ({"All": True}, "aw"),
        ({"All": None}, "aw"), ({"All": "false"}, "aw"), ({"All": 0}, "aw"),
        ({"All": {}}, "aw"), ({"All": []}, "aw"),
        ({"webhook": False}, "a"), ({"Webhook": False}, "a"), ({"WEBHOOK": False}, "a"),
        ({"jsonl": False}, ""), ({"Jsonl": False}, ""),
        ({"Segment.io": False, "Other": False}, "aw"),
        ({"All": False, "webhook": True}, "w"), ({"all": False, "WebHook": True}, "w"),
        ({"All": False, "webhook": {"tag": "x"}}, "w"),
        ({"All": False, "webhook": {}}, "w"), ({"All": False, "webhook": "yes"}, "w"),
        ({"All": False, "webhook": "false"}, "w"),
        ({"All": False, "webhook": 1}, "w"), ({"All": False, "webhook": 0}, "w"),
        ({"All": False, "webhook": None}, ""), ({"All": True, "webhook": None}, "aw"),
        ({"All": False, "jsonl": True}, "aw"), ({"All": False, "JSONL": True}, "aw"),
        ({"All": True, "webhook": False}, "a"),
        ({"webhook": False, "Webhook": True}, "a"),
        ({"webhook": True, "Webhook": False}, "aw"),
        ({"webhook": None, "Webhook": False}, "a"),
    ],
)  # fmt: skip
def test_integrations_switch_destinations_on_and_off(
    door: Door, integrations: Any, expected: str
) -> None:
    assert door.track(TRACK | {"integrations": integrations}).verdict == OK
    assert reached(door) == expected
