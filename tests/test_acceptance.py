"""From a request's bytes to events on disk: a real log, and requests of every kind."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router import codec
from router.acceptance import Acceptance, Caller
from router.config import IngestSettings, SourceSettings
from router.errors import Refused
from router.log import Log
from router.sources import Sources, basic_user

ROOT = Path(__file__).parent.parent

SOURCES = {
    "web": SourceSettings(write_key="web-key"),
    "ios": SourceSettings(write_key="ios-key"),
    "old": SourceSettings(write_key="old-key", enabled=False),
}
TRACK = {"event": "Added", "userId": "u"}
NOW = 1_709_553_605.25


def basic(user, password=""):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


KEY = basic("web-key")


class Router:
    """Acceptance over a log, with what came of it."""

    def __init__(self, directory, max_disk=10**9, **limits):
        self.directory = directory
        self.log = Log(directory, 4, max_disk)
        self.grown = []
        numbers = iter(range(10**6))
        self.acceptance = Acceptance(
            self.log,
            Sources(SOURCES),
            IngestSettings(**limits),
            self.grown.append,
            clock=lambda: NOW,
            new_id=lambda: f"id-{next(numbers)}",
        )

    def post(self, content, key=KEY, kind="track"):
        return self.acceptance.accept(encoded(content), caller(key), kind)

    def batch(self, content, key=KEY):
        content = {"batch": content} if isinstance(content, list) else content
        return self.acceptance.accept(encoded(content), caller(key))

    def stored(self):
        """All records, in order of acceptance within each partition."""
        return [r for p in range(4) for r in self.log.read(p, 0, 10**6, 10**9)]


def caller(header):
    return Caller(basic_user(header))


def encoded(content):
    return content if isinstance(content, bytes) else codec.dumps(content)


@pytest.fixture
def router(tmp_path):
    made = Router(tmp_path / "data")
    yield made
    made.log.close()


@pytest.fixture
def limited(tmp_path):
    made = []

    def make(**limits):
        made.append(Router(tmp_path / "data", **limits))
        return made[-1]

    yield make
    for router in made:
        router.log.close()


def refusal(call, *arguments, **options):
    with pytest.raises(Refused) as raised:
        call(*arguments, **options)
    error = raised.value
    assert str(error) == error.message
    return error.status, error.code, error.message


# One event.


def test_an_event_is_in_the_log_when_the_answer_is_there(router):
    assert router.post(TRACK) == {"success": True}
    (record,) = router.stored()
    assert record.source == "web"
    assert record.message_id == "id-0"
    assert record.received_at == 1_709_553_605_250
    assert record.event["type"] == "track"
    assert record.event["event"] == "Added"
    assert record.event["receivedAt"] == "2024-03-04T12:00:05.250Z"
    assert router.grown == [{record.partition}]


def test_what_is_in_the_log_is_there_for_another_process(router):
    router.post(TRACK)
    code = (
        "import sys; from pathlib import Path; from router.log import Log\n"
        "log = Log(Path(sys.argv[1]), 4, 10**9)\n"
        "print([r.message_id for p in range(4) for r in log.read(p, 0, 9)])\n"
    )
    command = [sys.executable, "-c", code, str(router.directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout == "['id-0']\n", done.stderr


def test_an_invalid_event_is_refused_with_its_code(router):
    assert refusal(router.post, {"userId": "u"}) == (
        400,
        "event_not_defined",
        "a track call needs an event name",
    )
    assert router.stored() == []
    assert router.grown == []


# Who may send.


def test_a_write_key_is_the_user_of_basic_authentication(router):
    router.post(TRACK, key=basic("ios-key"))
    router.post(TRACK, key=basic("ios-key", "any password"))
    router.post(TRACK, key="basic " + basic("ios-key")[6:])
    router.post(TRACK, key="Basic " + base64.b64encode(b"ios-key").decode())
    assert [record.source for record in router.stored()] == ["ios"] * 4


def test_a_write_key_may_be_in_the_body_and_is_not_kept(router):
    router.post({**TRACK, "writeKey": "ios-key"}, key=None)
    router.batch({"batch": [{**TRACK, "type": "track"}], "writeKey": "ios-key"}, None)
    records = router.stored()
    assert [record.source for record in records] == ["ios", "ios"]
    assert all(b"ios-key" not in record.body for record in records)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic /w==",
        "Bearer web-key",
        "web-key",
    ],
)
def test_a_header_that_holds_no_key_leaves_it_to_the_body(router, header):
    router.post({**TRACK, "writeKey": "ios-key"}, key=header)
    assert router.stored()[0].source == "ios"
    for key in ({}, {"writeKey": None}, {"writeKey": ""}, {"writeKey": ["ios-key"]}):
        assert refusal(router.post, {**TRACK, **key}, key=header) == (
            401,
            "missing_write_key",
            "give a write key: as the user of Basic authentication, "
            "or as writeKey in the body",
        )


@pytest.mark.parametrize(
    "key", ["nope", "web-key ", "WEB-KEY", "web-ke", "\ud83d", "é"]
)
def test_an_unknown_write_key_is_refused_and_not_repeated(router, key):
    expected = (401, "invalid_write_key", "no source has this write key")
    body = codec.dumps({**TRACK, "writeKey": "KEY"})
    body = body.replace(b'"KEY"', json.dumps(key).encode())
    assert refusal(router.post, body, key=None) == expected
    assert refusal(router.batch, {"batch": []}, key=basic("nope")) == expected
    assert router.stored() == []


def test_a_source_that_is_switched_off_is_refused(router):
    expected = (403, "source_disabled", "source old is disabled")
    assert refusal(router.post, TRACK, key=basic("old-key")) == expected
    assert refusal(router.batch, [], key=basic("old-key")) == expected


@pytest.mark.parametrize(
    ("header", "body", "code", "source"),
    [
        (KEY, b"{", "invalid_json", "web"),
        (None, b'{"writeKey":"ios-key"', "invalid_json", ""),
        (None, b'{"writeKey":"ios-key"}', "no_user_anon_id", "ios"),
        (None, b'{"writeKey":"ios-key","batch":[]}', "rate_limited", "ios"),
        (None, b'{"writeKey":"old-key"}', "source_disabled", "old"),
        (None, b'{"writeKey":"other"}', "invalid_write_key", ""),
        (None, b"{}", "missing_write_key", ""),
    ],
)
def test_a_refusal_says_whose_request_it_was(tmp_path, header, body, code, source):
    waits = {"ios": 9.0} if code == "rate_limited" else {}
    acceptance = Acceptance(
        Log(tmp_path, 4, 10**9),
        Sources(SOURCES),
        IngestSettings(),
        lambda grown: None,
        limiter=lambda name, number: waits.get(name),
    )
    with pytest.raises(Refused) as raised:
        acceptance.accept(body, caller(header), "track")
    assert (raised.value.code, raised.value.source) == (code, source)


@pytest.mark.parametrize(("wait", "told"), [(0.1, 1), (7.2, 8), (5000.0, 300)])
def test_who_sends_too_much_is_told_to_wait_no_longer_than_sdks_do(
    tmp_path, wait, told
):
    acceptance = Acceptance(
        Log(tmp_path, 4, 10**9),
        Sources(SOURCES),
        IngestSettings(),
        lambda grown: None,
        limiter=lambda name, number: wait,
    )
    with pytest.raises(Refused) as raised:
        acceptance.accept(codec.dumps(TRACK), caller(KEY), "track")
    assert (raised.value.code, raised.value.retry_after) == ("rate_limited", told)


@pytest.mark.parametrize(
    ("key", "counted"),
    [("other", ("", "invalid_write_key")), ("old-key", ("old", "source_disabled"))],
)
def test_where_unknown_keys_are_accepted_their_events_are_dropped(
    tmp_path, key, counted
):
    counts = []
    acceptance = Acceptance(
        Log(tmp_path, 4, 10**9),
        Sources(SOURCES),
        IngestSettings(unknown_key="accept"),
        lambda grown: None,
        counted=lambda *count: counts.append(count),
    )
    batch = codec.dumps({"batch": [track(1), 5], "writeKey": key})
    assert acceptance.accept(batch, Caller()) == {"success": True}
    assert acceptance.accept(b"{}", Caller(key), "track") == {"success": True}
    assert counts == [(*counted, 2), (*counted, 1)]
    assert not (tmp_path / "log").exists()
    missing = (400, "missing_write_key")
    assert refusal(acceptance.accept, b"{}", Caller(), "track")[:2] == missing


# What is no request.


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\xff\xfe", b"{} {}", b"[" * 9]
)
def test_a_body_that_is_no_json_is_refused(router, body):
    for call in (router.post, router.batch):
        status, code, message = refusal(call, body)
        assert (status, code) == (400, "invalid_json")
        assert message.startswith("the body is no JSON: ")


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"text"', b"true"])
def test_a_body_that_is_no_object_is_refused(router, body):
    expected = (400, "invalid_body", "the body must be a JSON object")
    assert refusal(router.post, body) == expected
    assert refusal(router.acceptance.accept, body, caller(KEY)) == expected


@pytest.mark.parametrize("content", [{"batch": {"0": TRACK}}, {"events": []}])
def test_a_batch_without_a_list_is_refused(router, content):
    expected = (400, "invalid_body", 'expected {"batch": [event, ...]}')
    assert refusal(router.batch, content) == expected


# Batches.


def track(number, **more):
    return {"type": "track", "event": f"e{number}", "userId": "u", **more}


def test_a_batch_is_stored_in_its_order(router):
    assert router.batch([track(n) for n in range(100)]) == {"success": True}
    assert [r.event["event"] for r in router.stored()] == [f"e{n}" for n in range(100)]
    assert len(router.grown) == 1


def test_all_events_of_a_request_are_received_at_one_instant(tmp_path):
    ticks = iter(range(100))
    log = Log(tmp_path, 4, 10**9)
    acceptance = Acceptance(
        log,
        Sources(SOURCES),
        IngestSettings(),
        lambda grown: None,
        clock=lambda: next(ticks),
    )
    acceptance.accept(codec.dumps({"batch": [track(1), track(2)]}), caller(KEY))
    received = {r.received_at for p in range(4) for r in log.read(p, 0, 9)}
    log.close()
    assert len(received) == 1


def test_an_empty_batch_is_a_success(router):
    assert router.batch([]) == {"success": True}
    assert router.grown == []


def test_a_batch_keeps_its_good_events_and_lists_the_bad(router):
    answer = router.batch(
        [
            track(0),
            {"type": "track", "userId": "u", "messageId": "m-1"},
            "no object",
            track(3),
            {"type": "charge", "userId": "u"},
            {"type": "page", "userId": {"no": "id"}, "messageId": 7},
        ]
    )
    assert answer == {
        "success": True,
        "accepted": 2,
        "rejected": [
            {
                "index": 1,
                "messageId": "m-1",
                "code": "event_not_defined",
                "message": "a track call needs an event name",
            },
            {
                "index": 2,
                "messageId": None,
                "code": "invalid_event",
                "message": "an event must be a JSON object",
            },
            {
                "index": 4,
                "messageId": None,
                "code": "unknown_type",
                "message": "type must be one of identify, track, page, screen, group, "
                "alias",
            },
            {
                "index": 5,
                "messageId": 7,
                "code": "invalid_id",
                "message": "userId must be text or a number",
            },
        ],
    }
    assert [record.event["event"] for record in router.stored()] == ["e0", "e3"]


def test_a_batch_of_only_bad_events_is_answered_and_stores_nothing(router):
    answer = router.batch([1, 2])
    assert (answer["success"], answer["accepted"]) == (True, 0)
    assert [item["index"] for item in answer["rejected"]] == [0, 1]
    assert router.stored() == []
    assert router.grown == []


@pytest.mark.parametrize("message_id", [b"5", b"true", b'"\\ud83d"', b"[]"])
def test_what_a_batch_is_answered_is_json(router, message_id):
    answer = router.batch(b'{"batch": [{"messageId": %s}]}' % message_id)
    assert codec.loads(codec.dumps(answer))["rejected"][0]["index"] == 0


# Limits.


def test_an_event_may_be_as_large_as_the_limit_and_no_larger(limited):
    size = len(codec.dumps({**TRACK, "pad": "é" * 400}))
    assert limited(max_event=size).post({**TRACK, "pad": "é" * 400})
    router = limited(max_event=size - 1)
    before = len(router.stored())
    assert refusal(router.post, {**TRACK, "pad": "é" * 400}) == (
        400,
        "payload_too_large",
        f"{size} bytes, at most {size - 1} in one event",
    )
    assert len(router.stored()) == before


def test_a_batch_may_have_as_many_events_as_the_limit_and_no_more(limited):
    router = limited(max_batch_events=3)
    assert router.batch([track(n) for n in range(3)]) == {"success": True}
    assert refusal(router.batch, [track(n) for n in range(4)]) == (
        400,
        "too_many_events",
        "4 events, at most 3: send several requests",
    )
    assert len(router.stored()) == 3


# A disk that does not take it.

UNAVAILABLE = (503, "unavailable", "events cannot be stored now; send them again")


def unavailable(call, *arguments):
    with pytest.raises(Refused) as raised:
        call(*arguments)
    assert raised.value.retry_after == 5
    error = raised.value
    assert (error.status, error.code, error.message) == UNAVAILABLE


def test_a_log_that_is_full_is_to_be_tried_again(limited):
    router = limited(max_disk=1)
    assert router.post(TRACK)
    unavailable(router.post, TRACK)
    unavailable(router.batch, [track(1)])
    assert len(router.stored()) == 1
    assert len(router.grown) == 1


def test_a_log_that_cannot_be_opened_is_to_be_tried_again_and_recovers(tmp_path):
    (tmp_path / "data").write_text("a file in the place of the folder")
    router = Router(tmp_path / "data")
    unavailable(router.post, TRACK)
    unavailable(router.batch, [track(1)])
    assert router.grown == []
    (tmp_path / "data").unlink()
    assert router.post(TRACK) == {"success": True}
    assert len(router.stored()) == 1
    router.log.close()


def test_a_log_that_is_no_database_is_to_be_tried_again(tmp_path):
    (tmp_path / "log.db").write_bytes(b"no database, " * 1000)
    router = Router(tmp_path)
    unavailable(router.post, TRACK)
    router.log.close()


def test_a_batch_of_nothing_good_does_not_need_the_disk(tmp_path):
    (tmp_path / "data").write_text("a file in the place of the folder")
    router = Router(tmp_path / "data")
    assert router.batch([])["success"]
    assert router.batch([5])["accepted"] == 0


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path

sys.path.insert(0, "tests")
from test_acceptance import TRACK, Router, track, unavailable

router = Router(Path(sys.argv[1]))
router.post(TRACK)
large = [track(n, pad="x" * 3000) for n in range(100)]
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
unavailable(router.batch, large)
assert len(router.grown) == 1, router.grown
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
assert len(router.stored()) == 1, len(router.stored())
assert router.batch(large) == {"success": True}
assert len(router.stored()) == 101, len(router.stored())
print("recovered")
"""


def test_a_disk_that_fills_up_stores_nothing_of_a_batch_and_recovers(tmp_path):
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "recovered\n", done.stderr


# Any bytes.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["batch", "type", "userId", "event", "messageId", "sentAt"])
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()),
    st.none() | st.just(KEY) | st.text(max_size=12),
)
def test_any_body_and_any_header_are_answered_or_refused(router, body, header):
    before = len(router.stored())
    for accept in (
        lambda: router.acceptance.accept(body, caller(header), "page"),
        lambda: router.acceptance.accept(body, caller(header)),
    ):
        try:
            status = 200 if codec.dumps(accept()) else None
        except Refused as error:
            status = error.status
        assert status in (200, 400, 401, 403)
    assert len(router.stored()) >= before
