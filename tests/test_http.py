"""The HTTP API as a client sees it: every answer is a JSON object."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CONF, Router

EVENT = {"userId": "u", "event": "Signed Up"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    directory: Path = tmp_path_factory.mktemp("http")
    router = Router(
        directory, CONF + '[sources.off]\nwrite_key = "off"\nenabled = false'
    )
    with router.running("--worker-class", "gthread", "--threads", "2"):
        yield router


def call(router: Router, method: str, path: str, **options: Any) -> requests.Response:
    options.setdefault("auth", ("key", ""))
    return requests.request(method, f"{router.url}{path}", timeout=10, **options)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/track", 405, "method_not_allowed"),
        ("PUT", "/v1/batch", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("POST", "/V1/track", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
    ],
)
def test_a_wrong_method_or_path_is_told_so(
    running: Router, method: str, path: str, status: int, code: str
) -> None:
    answer = call(running, method, path, json=EVENT)
    content = answer.json()
    assert (answer.status_code, content["code"]) == (status, code)
    assert content["success"] is False
    assert content["message"] == content["error"]
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "invalid_json"),
        (b"", {}, 400, "invalid_json"),
        (b"[]", {}, 400, "invalid_body"),
        (b'"text"', {}, 400, "invalid_body"),
        (b"{}" + b" " * 600_000, {}, 400, "payload_too_large"),
        (b"{}", {"Content-Encoding": "gzip"}, 400, "invalid_encoding"),
        (b"{}", {"Content-Encoding": "br"}, 415, "unsupported_encoding"),
        (b'{"userId": {}}', {}, 400, "invalid_id"),
        (b"{}", {}, 400, "no_user_anon_id"),
        (b'{"userId": "u"}', {}, 400, "event_not_defined"),
        (b'{"userId": "u", "event": "E", "properties": []}', {}, 400,
         "properties_not_object"),
    ],
)  # fmt: skip
def test_a_bad_event_is_refused_with_a_code(
    running: Router, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = call(running, "POST", "/v1/track", data=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("auth", "more", "status", "code"),
    [
        (None, {}, 401, "missing_write_key"),
        (("other", ""), {}, 401, "invalid_write_key"),
        (None, {"writeKey": "other"}, 401, "invalid_write_key"),
        (("off", ""), {}, 403, "source_disabled"),
        (None, {"writeKey": "key"}, 200, None),
        (("key", "anything"), {}, 200, None),
        (("key", ""), {"writeKey": "other"}, 200, None),
    ],
)
def test_the_write_key_is_taken_from_the_header_or_the_body(
    running: Router, auth: Any, more: dict[str, Any], status: int, code: str | None
) -> None:
    answer = call(running, "POST", "/v1/track", auth=auth, json=EVENT | more)
    assert (answer.status_code, answer.json().get("code")) == (status, code)


@pytest.mark.parametrize(
    "path", ["/v1/track", "/v1/track/", "/v1/t", "/v1/t/", "/v1/track?a=b"]
)
def test_an_event_is_taken_at_each_spelling_of_its_path(
    running: Router, path: str
) -> None:
    answer = call(running, "POST", path, json=EVENT, allow_redirects=False)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import/", "/v1/b"])
@pytest.mark.parametrize("kind", ["text/plain", "application/json", ""])
def test_a_batch_keeps_the_good_and_lists_the_bad(
    running: Router, path: str, kind: str
) -> None:
    batch = [{"type": "track", **EVENT}, {"type": "Track"}, None,
             {"type": "track", **EVENT}]  # fmt: skip
    answer = call(
        running, "POST", path,
        data=json.dumps({"batch": batch}), headers={"Content-Type": kind},
    )  # fmt: skip
    content = answer.json()
    assert (answer.status_code, content["success"], content["accepted"]) == (
        200, True, 2
    )  # fmt: skip
    assert [(one["index"], one["code"]) for one in content["rejected"]] == [
        (1, "unknown_type"), (2, "invalid_event")
    ]  # fmt: skip


def test_a_body_in_chunks_is_taken(running: Router) -> None:
    whole = json.dumps(EVENT).encode()
    answer = call(running, "POST", "/v1/track", data=iter([whole[:9], whole[9:]]))
    assert answer.status_code == 200


def test_a_refused_body_does_not_spoil_the_connection(running: Router) -> None:
    with requests.Session() as session:
        for body, status in ((b"{" * 600_000, 400), (json.dumps(EVENT).encode(), 200)):
            answer = session.post(
                f"{running.url}/v1/track", data=body, auth=("key", ""), timeout=10
            )
            assert answer.status_code == status


def test_health_and_readiness_need_no_key(running: Router) -> None:
    for path in ("/health", "/ready"):
        answer = call(running, "GET", path, auth=None)
        assert answer.status_code == 200
        assert answer.json()["status"]
