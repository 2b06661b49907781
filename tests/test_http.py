"""What is no event: wrong paths, wrong methods, and what balancers ask for."""

from collections.abc import Iterator

import pytest
import requests
from conftest import CONF, Router


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    router = Router(tmp_path_factory.mktemp("http"), CONF)
    with router.running("--worker-class", "gthread", "--threads", "2"):
        yield router


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
    answer = requests.request(method, running.url + path, json={}, timeout=10)
    content = answer.json()
    assert (answer.status_code, content["code"]) == (status, code)
    assert content["success"] is False
    assert content["message"] == content["error"]
    assert ("Allow" in answer.headers) == (status == 405)


def test_health_and_readiness_need_no_key(running: Router) -> None:
    for path in ("/health", "/ready"):
        answer = requests.get(running.url + path, timeout=10)
        assert answer.status_code == 200
        assert answer.json()["status"]
