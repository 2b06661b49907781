"""The imitation of Movable Ink: its answers, whose events it takes them to be, and the
faults that it can be told to have."""

import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from plugins import movable_ink
from plugins.movable_ink.sandbox.storage import Storage
from plugins.movable_ink.settings import Settings
from router import Retry, TooLarge, codec
from router.client import Session
from router.testing.serving import serve

KEY = "the-key"
AUTH = ("k", "s")
ENDPOINT = f"http://127.0.0.1:8000/sandbox/movable_ink/behavioral/{KEY}"


def options(folder, **keys):
    found = Settings(api_key="k", api_secret="s", **{"endpoint": ENDPOINT} | keys)
    return found.placed("movable_ink", folder)


class Sandbox:
    """A client of the sandbox."""

    def __init__(self, base):
        self.base = base
        self.url = f"{base}/behavioral/{KEY}"

    def post(self, value, **more):
        data = value if isinstance(value, bytes) else codec.dumps(value)
        return requests.post(self.url, data=data, timeout=10, auth=AUTH, **more)

    def take(self, *events):
        for event in events:
            assert self.post(event).status_code == 200

    def profiles(self):
        answer = requests.get(f"{self.base}/profiles", timeout=10)
        assert answer.status_code == 200
        return answer.json()["profiles"]

    def whose(self):
        """Profile id -> the `n` of its events, in order."""
        return {one["id"]: [e["n"] for e in one["events"]] for one in self.profiles()}

    def fault(self, **members):
        return requests.post(f"{self.base}/faults", json=members, timeout=10)

    def faults(self):
        return requests.get(f"{self.base}/faults", timeout=10).json()["faults"]


@pytest.fixture
def sandbox(tmp_path):
    app = movable_ink.sandbox(settings=options(tmp_path))
    with serve(app) as base:
        yield Sandbox(base)


def track(n, **ids):
    return {"type": "track", "event": "Product Viewed", "n": n, **ids}


def identify(n, **members):
    return {"type": "identify", "n": n, **members}


# The collector.


def test_an_event_is_taken_with_200_and_a_request_id(sandbox):
    answer = sandbox.post(track(1, userId="u1"))
    assert answer.status_code == 200
    assert str(uuid.UUID(answer.headers["x-request-id"])) == answer.json()["request_id"]
    assert sandbox.whose() == {"u1": [1]}


def test_a_batch_is_taken_in_order(sandbox):
    assert sandbox.post({"events": [track(n, userId="u1") for n in range(1000)]}).ok
    assert sandbox.whose() == {"u1": list(range(1000))}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("auth", [None, AUTH])
@pytest.mark.parametrize("body", [b"", b"{"])
def test_an_unknown_key_comes_before_everything_else(sandbox, method, auth, body):
    url = f"{sandbox.base}/behavioral/wrong"
    answer = requests.request(method, url, auth=auth, data=body, timeout=10)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "message": "Behavioral endpoint key not found",
        "request_id": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    "path", ["/", "/behavioral", "/behavioral/", f"/behavioral/{KEY}/x", "/elsewhere"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_path_is_not_found_in_plain_text(sandbox, method, path):
    answer = requests.request(method, sandbox.base + path, timeout=10)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "404 page not found"


@pytest.mark.parametrize(
    "header", [None, "", "Basic", "Basic !!", "Bearer azpz", "Basic azp4", "Basic aw=="]
)
def test_credentials_come_before_the_body(sandbox, header):
    headers = {} if header is None else {"Authorization": header}
    answer = requests.post(sandbox.url, data=b"{", headers=headers, timeout=10)
    assert answer.status_code == 401
    assert answer.json()["message"] == "Invalid credentials"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"[]", "Expected a JSON object"),
        (b'"x"', "Expected a JSON object"),
        (b'{"events":[]}', "Expected events to be a non-empty list"),
        (b'{"events":{}}', "Expected events to be a non-empty list"),
        (b'{"events":[{},5]}', "Expected every event to be a JSON object"),
        (b'{"events":[' + b"{}," * 1000 + b"{}]}", "Expected at most 1000 events"),
    ],
)
def test_a_bad_body_is_refused_whole(sandbox, body, message):
    answer = sandbox.post(body)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert sandbox.profiles() == []


def test_another_method_is_not_allowed(sandbox):
    assert requests.get(sandbox.url, auth=AUTH, timeout=10).status_code == 405


@pytest.mark.parametrize(
    ("size", "status"), [(1_999_999, 200), (2_000_000, 413), (6_000_000, 413)]
)
def test_a_request_must_stay_under_two_megabytes(sandbox, size, status):
    body = b'{"pad":"' + b"x" * (size - len('{"pad":""}')) + b'"}'
    assert sandbox.post(body).status_code == status


def test_the_key_and_credentials_are_those_of_the_settings(tmp_path):
    settings = Settings(api_key="other", endpoint_key="a b").placed("mi", tmp_path)
    with serve(movable_ink.sandbox(settings=settings)) as base:
        url = f"{base}/behavioral/a%20b"
        assert requests.post(url, json={}, auth=("other", ""), timeout=10).ok
        assert requests.post(url, json={}, auth=AUTH, timeout=10).status_code == 401


@pytest.mark.parametrize("batch", [False, True])
def test_what_the_plugin_delivers_arrives(sandbox, tmp_path, batch):
    settings = options(tmp_path, endpoint=sandbox.url, batch=batch)
    event = track(1, userId="u1", properties={"sku": 5})
    payload = movable_ink.track(event=event, settings=settings)
    with Session(timeout=5) as client:
        movable_ink.deliver(payloads=[payload], settings=settings, client=client)
        with pytest.raises(TooLarge):
            movable_ink.deliver(
                payloads=[{"pad": "x" * 2_000_000}], settings=settings, client=client
            )
    ((profile),) = sandbox.profiles()
    assert profile["events"] == [{**event, "properties": {"sku": "5"}}]


# Whose events they are.


def test_anonymous_events_join_the_profile_that_an_identify_names(sandbox):
    first, second = track(1, anonymousId="a1"), track(3, anonymousId="a1")
    joining = identify(2, anonymousId="a1", userId="u1", traits={"email": "k@x.org"})
    sandbox.take(first)
    assert sandbox.profiles() == [
        {
            "id": "a1",
            "userId": None,
            "anonymousIds": ["a1"],
            "traits": {},
            "events": [first],
        }
    ]
    sandbox.take(joining, second)
    assert sandbox.profiles() == [
        {
            "id": "u1",
            "userId": "u1",
            "anonymousIds": ["a1"],
            "traits": {"email": "k@x.org"},
            "events": [first, joining, second],
        }
    ]


@pytest.mark.parametrize(
    ("events", "whose"),
    [
        # An identify without user id counts by its e-mail.
        (
            [
                track(1, anonymousId="a1"),
                identify(2, anonymousId="a1", traits={"email": " k@x.org"}),
                track(3, anonymousId="a1"),
            ],
            {"k@x.org": [1, 2, 3]},
        ),
        # The normalized payload says the same in snake_case.
        (
            [
                track(1, anonymous_id="a1"),
                identify(2, anonymous_id="a1", user_id="u1"),
                track(3, anonymous_id="a1"),
            ],
            {"u1": [1, 2, 3]},
        ),
        # A user id of the event's own wins over the known anonymous id.
        (
            [
                identify(1, anonymousId="a1", userId="u1"),
                track(2, anonymousId="a1", userId="u2"),
                track(3, anonymousId="a1"),
            ],
            {"u1": [1, 3], "u2": [2]},
        ),
        # On a shared device, only what follows goes to the next user.
        (
            [
                track(1, anonymousId="a1"),
                identify(2, anonymousId="a1", userId="u1"),
                track(3, anonymousId="a1"),
                identify(4, anonymousId="a1", userId="u2"),
                track(5, anonymousId="a1"),
            ],
            {"u1": [1, 2, 3], "u2": [4, 5]},
        ),
        # Two devices of one user, with events between each other's.
        (
            [
                track(1, anonymousId="a1"),
                track(2, anonymousId="a2"),
                track(3, anonymousId="a1"),
                identify(4, anonymousId="a2", userId="u1"),
                identify(5, anonymousId="a1", userId="u1"),
                track(6, userId="u1"),
            ],
            {"u1": [1, 2, 3, 4, 5, 6]},
        ),
        # Only identify joins.
        (
            [
                track(1, anonymousId="a1"),
                track(2, anonymousId="a1", userId="u1"),
                track(3, anonymousId="a1"),
            ],
            {"a1": [1, 3], "u1": [2]},
        ),
        # An identify of nobody names nobody.
        ([identify(1, anonymousId="a1"), track(2, anonymousId="a1")], {"a1": [1, 2]}),
        # Whoever sends without any id is not lost.
        ([track(1), track(2, userId={})], {None: [1, 2]}),
    ],
)
def test_events_are_attributed_as_movable_ink_documents_it(sandbox, events, whose):
    sandbox.take(*events)
    assert sandbox.whose() == whose


def test_an_anonymous_id_and_a_user_id_of_the_same_text_are_two_profiles(sandbox):
    sandbox.take(track(1, userId="y"), track(2, anonymousId="y"))
    assert [(one["id"], one["userId"]) for one in sandbox.profiles()] == [
        ("y", "y"),
        ("y", None),
    ]


def test_the_traits_of_a_profile_are_its_latest(sandbox):
    sandbox.take(
        identify(1, anonymousId="a1", traits={"plan": "free", "seen": 1}),
        identify(2, anonymousId="a1", userId="u1", traits={"plan": "gold"}),
        identify(3, userId="u1", traits={"size": 5}),
    )
    ((profile),) = sandbox.profiles()
    assert profile["traits"] == {"plan": "gold", "seen": 1, "size": 5}


def test_profiles_can_be_emptied(sandbox):
    sandbox.take(track(1, userId="u1"))
    assert requests.delete(f"{sandbox.base}/profiles", timeout=10).status_code == 204
    assert sandbox.profiles() == []
    sandbox.take(track(2, userId="u1"))
    assert sandbox.whose() == {"u1": [2]}


# What it remembers.


def test_nothing_is_written_before_something_is_taken(tmp_path):
    movable_ink.sandbox(settings=options(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_destinations_do_not_share_what_they_took(tmp_path):
    with serve(movable_ink.sandbox(settings=options(tmp_path))) as base:
        Sandbox(base).take(track(1, userId="u1"))
    other = options(tmp_path).placed("other", tmp_path)
    with serve(movable_ink.sandbox(settings=other)) as base:
        assert Sandbox(base).profiles() == []
    with serve(movable_ink.sandbox(settings=options(tmp_path))) as base:
        assert Sandbox(base).whose() == {"u1": [1]}


def append_many(folder, worker):
    storage = Storage(folder, "s")
    for number in range(100):
        storage.append({"worker": worker, "number": number, "pad": "x" * 9000})
        with storage.changing_faults() as faults:
            faults.append(number)


def test_processes_write_beside_each_other_without_loss(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append_many, args=(tmp_path, w)) for w in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    storage = Storage(tmp_path, "s")
    found = [(record["worker"], record["number"]) for record in storage.records()]
    assert sorted(found) == [(w, n) for w in range(3) for n in range(100)]
    assert len(storage.faults()) == 300


def test_a_line_that_a_dying_process_left_unfinished_spoils_only_itself(tmp_path):
    storage = Storage(tmp_path, "s")
    storage.append({"n": 1})
    with (tmp_path / "s.jsonl").open("ab") as file:
        file.write(b'\n{"n":2,"pad":"xx')
    storage.append({"n": 3})
    assert [record["n"] for record in storage.records()] == [1, 3]


# Faults.


def test_the_next_requests_are_answered_as_told(sandbox):
    answer = sandbox.fault(status=503, times=2, retry_after=1, message="resting")
    assert answer.json() == {"faults": sandbox.faults()}
    for left in (1, 0):
        answer = sandbox.post(track(1, userId="u1"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["message"] == "resting"
        assert [fault["times"] for fault in sandbox.faults()] == [left][:left]
    assert sandbox.post(track(2, userId="u1")).status_code == 200
    assert sandbox.whose() == {"u1": [2]}


def test_faults_wait_for_each_other(sandbox):
    sandbox.fault(status=429)
    sandbox.fault(status=500)
    statuses = [sandbox.post(track(n, userId="u1")).status_code for n in range(3)]
    assert statuses == [429, 500, 200]


def test_a_fault_may_be_only_slow_or_another_success(sandbox):
    sandbox.fault(delay=0.3)
    sandbox.fault(status=202)
    began = time.monotonic()
    assert sandbox.post(track(1, userId="u1")).status_code == 200
    assert time.monotonic() - began >= 0.3
    assert sandbox.post(track(2, userId="u1")).status_code == 202
    assert sandbox.whose() == {"u1": [1, 2]}


def test_faults_are_met_by_the_collector_alone_and_can_be_cleared(sandbox):
    sandbox.fault(status=500, times=5)
    assert sandbox.profiles() == []
    assert [fault["times"] for fault in sandbox.faults()] == [5]
    assert requests.delete(f"{sandbox.base}/faults", timeout=10).status_code == 204
    assert sandbox.faults() == []
    assert sandbox.post(track(1, userId="u1")).status_code == 200


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({}, "one of status, delay, reset is needed"),
        ({"times": 3}, "one of status, delay, reset is needed"),
        ({"status": 99}, "status: expected a status from 200 to 599"),
        ({"status": "503"}, "status: expected a status from 200 to 599"),
        ({"status": 503, "times": 0}, "times: expected a whole number from 1"),
        ({"status": 503, "times": True}, "times: expected a whole number from 1"),
        ({"status": 503, "retry_after": -1}, "retry_after: expected seconds, or a"),
        ({"status": 503, "retry_after": "\r\n"}, "retry_after: expected seconds, or a"),
        ({"delay": 60}, "delay: expected seconds from 0 to 20"),
        ({"reset": 1}, "reset: expected true or false"),
        ({"status": 503, "message": 1}, "message: expected text"),
        (
            {"staus": 503, "times": 0},
            "staus: unknown, expected one of status, times, retry_after, delay, reset, "
            "message; times: expected a whole number from 1; one of status, delay, "
            "reset is needed",
        ),
    ],
)
def test_a_fault_that_cannot_be_had_is_refused_with_all_that_is_wrong(
    sandbox, fault, message
):
    answer = sandbox.fault(**fault)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)
    assert sandbox.faults() == []


@pytest.mark.parametrize(
    ("body", "message"), [(b"{", "the body is not JSON"), (b"[]", "expected an object")]
)
def test_a_fault_is_a_json_object(sandbox, body, message):
    answer = requests.post(f"{sandbox.base}/faults", data=body, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(message)


def test_a_reset_is_a_failure_of_the_network_to_the_plugin(sandbox, tmp_path):
    settings = options(tmp_path, endpoint=sandbox.url)
    sandbox.fault(reset=True)
    with Session(timeout=5) as client:
        with pytest.raises(Retry, match="no answer"):
            movable_ink.deliver(payloads=[{}], settings=settings, client=client)
        movable_ink.deliver(payloads=[{}], settings=settings, client=client)


# Under gunicorn, whose workers are processes.

MODULE = """
from pathlib import Path
from plugins import movable_ink
from plugins.movable_ink.settings import Settings

settings = Settings(api_key="k", api_secret="s", endpoint_key={key!r})
application = movable_ink.sandbox(settings=settings.placed("movable_ink", Path("data")))
"""


@contextlib.contextmanager
def gunicorn(folder, *arguments):
    """Yields the base URL and the file with all that gunicorn writes."""
    (folder / "served.py").write_text(MODULE.format(key=KEY))
    log = folder / "log"
    with socket.socket() as listening, log.open("wb") as output:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "served:application"),
                *("--bind", f"fd://{listening.fileno()}", "--no-control-socket"),
                *arguments,
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            pass_fds=[listening.fileno()],
            stdout=output,
            stderr=output,
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", log
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(params=["sync", "gthread"])
def served(request, tmp_path):
    arguments = ("--workers", "2", "--threads", "4", "--worker-class", request.param)
    with gunicorn(tmp_path, *arguments) as (base, log):
        yield Sandbox(base), log


def raw_answer(sandbox, body=b"{}"):
    """What comes back on a plain socket, once all has been sent."""
    address = urlsplit(sandbox.base)
    head = f"POST /behavioral/{KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
    with socket.create_connection((address.hostname, address.port), 10) as client:
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        return client.recv(65536)


def test_under_gunicorn_workers_share_profiles_and_faults(served):
    sandbox, _ = served
    sandbox.fault(status=503, times=3)
    events = [track(n, userId="u1") for n in range(20)]
    statuses = [sandbox.post(event).status_code for event in events]
    assert statuses == [503] * 3 + [200] * 17
    assert sandbox.whose() == {"u1": list(range(3, 20))}


def test_under_gunicorn_a_reset_is_a_reset_and_writes_no_line(served):
    sandbox, log = served
    sandbox.fault(reset=True, times=3)
    before = log.read_text()
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            raw_answer(sandbox)
    assert raw_answer(sandbox).startswith(b"HTTP/1.1 401 ")
    assert log.read_text() == before


def test_under_gunicorn_a_client_that_sends_too_much_reads_its_answer(served):
    sandbox, _ = served
    for _ in range(3):
        assert sandbox.post(b"x" * 8_000_000).status_code == 413
        assert raw_answer(sandbox, b"x" * 15_000_000).startswith(b"HTTP/1.1 401 ")
        url = f"{sandbox.base}/behavioral/wrong"
        answer = requests.post(url, data=b"x" * 8_000_000, timeout=10)
        assert answer.status_code == 404
        chunks = (b"x" * 65536 for _ in range(40))
        answer = requests.post(sandbox.url, data=chunks, auth=AUTH, timeout=10)
        assert answer.status_code == 413
    chunked = iter([codec.dumps(track(1, userId="u1"))])
    assert requests.post(sandbox.url, data=chunked, auth=AUTH, timeout=10).ok
    assert sandbox.whose() == {"u1": [1]}
