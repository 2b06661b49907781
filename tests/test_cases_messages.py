"""The tricky cases of the ingestion contract that are of one event and its members: 21,
22, 40 to 46 and 49."""

from typing import Any

import pytest
from conftest import eventually
from door import OK, Door, opened, request

from router.timestamps import parse

TRACK = {"type": "track", "event": "e", "userId": "u"}


def refused(door: Door, path: str, event: Any) -> str | None:
    """Why an event is refused, alone and in a batch, where its neighbours are kept."""
    alone = door.post(path, event)
    assert alone.status == 400
    item = {"type": path.removeprefix("/v1/"), **event, "messageId": "bad"}
    answer = door.track(TRACK, item, TRACK)
    assert answer.rejected == [(1, "bad", alone.code)]
    assert answer.content["accepted"] == 2
    assert [one["event"] for one in door.taken()] == ["e", "e"]
    return alone.code


ABSENT = [None, "", " ", "\t\n", "\u00a0"]


@pytest.mark.parametrize("absent", ABSENT)
def test_case_21_an_absent_id_is_no_id(door: Door, absent: str | None) -> None:
    ids = {"userId": absent, "anonymousId": absent}
    assert refused(door, "/v1/track", {"event": "e", **ids}) == "no_user_anon_id"
    assert refused(door, "/v1/identify", {"userId": absent}) == "no_user_anon_id"
    for name in ids:
        assert door.post("/v1/track", {"event": "e", **ids, name: "x"}).verdict == OK
        event = door.only()
        assert {key: event[key] for key in ids if key in event} == {name: "x"}
    group = {"userId": "u", "groupId": absent}
    assert refused(door, "/v1/group", group) == "group_id_required"
    alias = {"userId": "u", "previousId": absent}
    assert refused(door, "/v1/alias", alias) == "previous_id_required"


@pytest.mark.parametrize("name", ["userId", "anonymousId", "groupId", "previousId"])
def test_case_22_an_id_is_text_or_a_number(door: Door, name: str) -> None:
    event = {"userId": "u", "event": "e"}
    for value, kept in ((42, "42"), (0, "0"), (-1, "-1"), (1.5, "1.5"), (" x ", " x ")):
        assert door.post("/v1/track", event | {name: value}).verdict == OK
        assert door.only()[name] == kept
    for value in (True, False, {}, {"id": 1}, [], ["x"]):
        assert refused(door, "/v1/track", event | {name: value}) == "invalid_id"


def test_case_40_an_id_counts_once_in_a_request_and_in_later_ones(door: Door) -> None:
    first = TRACK | {"messageId": "case 40", "event": "first"}
    second = first | {"event": "second"}
    assert door.track(first, second, TRACK, first).verdict == OK
    assert [event["event"] for event in door.taken()] == ["first", "e"]
    assert door.track(second).verdict == OK
    assert door.post("/v1/track", second).verdict == OK
    assert door.taken() == []
    assert door.post("/v1/track", second, key="ios-key").verdict == OK
    assert door.only()["event"] == "second"


def test_case_40_an_id_counts_again_once_its_window_is_over(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    window = '[ingest]\ndedupe_window = "1s"'
    event = TRACK | {"messageId": "again"}
    with opened(tmp_path_factory.mktemp("window"), window) as door:
        assert door.track(event).verdict == OK
        before = door.only()

        def again() -> list[dict[str, Any]]:
            assert door.track(event).verdict == OK
            return door.taken()

        (after,) = eventually(again)
        times = [parse(event["receivedAt"]) or 0 for event in (before, after)]
        assert times[1] - times[0] >= 1000


def test_case_41_a_client_that_never_read_its_answer_may_send_again(door: Door) -> None:
    whole = request("POST", "/v1/track", b'{"event":"e","userId":"u","messageId":"41"}')
    with door.connect() as connection:
        connection.sendall(whole)
        # Nothing tells its client, so what comes next might overtake it.
        eventually(lambda: "41" in [e["messageId"] for e in door.router.archived()])
    door.taken()
    again = door.post(
        "/v1/track", TRACK | {"messageId": "41"}, "X-Retry-Count: 1\nIdempotency-Key: x"
    )
    assert again.verdict == OK
    assert door.taken() == []


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [(0, "0"), (7, "7"), ("0" * 101, "0" * 101), ("x" * 5000,) * 2, (" m ", " m ")],
)  # fmt: skip
def test_case_42_an_id_is_kept_and_counts_once(
    door: Door, given_id: Any, kept: str
) -> None:
    event = TRACK | {"messageId": given_id}
    assert door.track(event, event | {"messageId": kept}, event).verdict == OK
    assert door.only()["messageId"] == kept


@pytest.mark.parametrize(
    "given_id", ["", "  ", None, True, False, {}, {"a": 1}, [], ["m"]]
)
def test_case_42_what_is_no_id_is_replaced(door: Door, given_id: Any) -> None:
    event = TRACK | {"messageId": given_id}
    assert door.track(event, event, TRACK).verdict == OK
    made = {one["messageId"] for one in door.taken()}
    assert len(made) == 3
    assert all(isinstance(one, str) and len(one) == 36 for one in made)


@pytest.mark.parametrize("value", [[], "x", "", 5, True, [{}]])
def test_case_44_properties_and_traits_are_objects(door: Door, value: Any) -> None:
    event: dict[str, Any]
    for path in ("/v1/track", "/v1/page", "/v1/screen"):
        event = {"event": "e", "userId": "u", "properties": value}
        assert refused(door, path, event) == "properties_not_object"
    for path in ("/v1/identify", "/v1/group"):
        event = {"userId": "u", "groupId": "g", "traits": value}
        assert refused(door, path, event) == "traits_not_object"


@pytest.mark.parametrize("given", [{}, {"properties": None, "traits": None}])
def test_case_44_null_is_an_empty_object(door: Door, given: dict[str, Any]) -> None:
    sent = {"event": "e", "userId": "u", "groupId": "g"} | given
    for kind, name in (("track", "properties"), ("page", "properties"),
                       ("screen", "properties"), ("identify", "traits"),
                       ("group", "traits")):  # fmt: skip
        assert door.post(f"/v1/{kind}", sent).verdict == OK
        assert door.only()[name] == {}


@pytest.mark.parametrize("path", ["/v1/page", "/v1/screen"])
@pytest.mark.parametrize("name", ["name", "category"])
def test_case_45_an_empty_name_is_an_absent_one(
    door: Door, path: str, name: str
) -> None:
    for absent in (None, ""):
        assert door.post(path, {"userId": "u", name: absent}).verdict == OK
        assert name not in door.only()
    assert door.post(path, {"userId": "u", name: "Home"}).verdict == OK
    assert door.only()[name] == "Home"
    for value in (5, True, [], {}):
        event = {"userId": "u", name: value}
        assert refused(door, path, event) == f"{name}_not_string"


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, "event_not_defined"), ("", "event_not_defined"), (5, "event_not_string"),
     (False, "event_not_string"), ({}, "event_not_string"), ([], "event_not_string")],
)  # fmt: skip
def test_a_track_call_has_a_name(door: Door, value: Any, code: str) -> None:
    assert refused(door, "/v1/track", {"userId": "u", "event": value}) == code


def test_case_46_traits_in_the_context_are_those_of_an_identify_call(
    door: Door,
) -> None:
    within = {"context": {"traits": {"email": "kim@example.org"}, "a": 1}}
    for top in ({}, {"traits": None}):
        assert door.post("/v1/identify", {"userId": "u", **within, **top}).verdict == OK
        event = door.only()
        assert event["traits"] == within["context"]["traits"]
        assert event["context"] == within["context"]
    top = {"traits": {"name": "Kim"}}
    assert door.post("/v1/identify", {"userId": "u", **within, **top}).verdict == OK
    assert door.only()["traits"] == {"name": "Kim"}
    for path in ("/v1/track", "/v1/group"):
        assert door.post(path, TRACK | {"groupId": "g"} | within).verdict == OK
        assert not door.only().get("traits")


def test_case_49_what_only_a_server_may_say_is_not_believed(door: Door) -> None:
    said = {"receivedAt": "2024-03-04T12:00:00Z", "writeKey": "ios-key",
            "request_ip": "1.1.1.1", "rudderId": "r", "_metadata": {}}  # fmt: skip
    kept = {"channel": "web", "version": 2, "options": {}, "providers": {}, "x": [1]}
    assert door.post("/v1/track", TRACK | said | kept).verdict == OK
    assert door.track(TRACK | said | kept, **said).verdict == OK
    for event in door.taken():
        assert event["receivedAt"] != said["receivedAt"]
        assert said.keys() & event.keys() == {"receivedAt"}
        assert {name: event[name] for name in kept} == kept
