"""What a page may ask of the router, and read of its answers, from another origin."""

import http.client
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CONF, Router

from router import config as configuration
from router.app import create_app
from router.gate import Surroundings
from router.ledger import Ledger
from router.log import Log
from router.testing.serving import serve

SHOP = "https://shop.example"
EVENT = {"userId": "u", "event": "Signed Up"}
EXPOSED = "Retry-After, X-RateLimit-Reset"

MORE = """
[sources.off]
write_key = "off"
enabled = false

[ingest]
origins = {origins}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router that takes events from any page."""
    router = Router(tmp_path_factory.mktemp("cors"), CONF + MORE.format(origins=[]))
    with router.running("--worker-class", "gthread", "--threads", "2"):
        yield router


def call(router: Router, method: str, path: str, **options: Any) -> requests.Response:
    headers = options.pop("headers", {"Origin": SHOP})
    return requests.request(
        method, router.url + path, headers=headers, timeout=10, **options
    )


def shared(answer: requests.Response) -> dict[str, str]:
    """What an answer says to browsers."""
    start = "access-control-"
    found = {name.lower(): value for name, value in answer.headers.items()}
    return {k.removeprefix(start): v for k, v in found.items() if k.startswith(start)}


READABLE = {
    "allow-credentials": "true",
    "allow-origin": SHOP,
    "expose-headers": EXPOSED,
}


@pytest.mark.parametrize("path", ["/v1/t", "/v1/batch", "/beacon/v1/batch", "/v1/m"])
def test_case_34_a_preflight_needs_no_key_and_allows_what_it_asks_for(
    running: Router, path: str
) -> None:
    asked = "authorization,content-type,x-retry-count,x-of-the-sites-own"
    headers = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    answer = call(running, "OPTIONS", path, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert shared(answer) == READABLE | {
        "allow-headers": asked,
        "allow-methods": "POST",
        "max-age": "86400",
    }
    assert answer.headers["Vary"] == "Origin"


def test_case_34_a_preflight_of_what_is_read_allows_reading(running: Router) -> None:
    headers = {"Origin": SHOP, "Access-Control-Request-Method": "GET"}
    for path in ("/v1/projects/key/settings", "/sourceConfig/"):
        answer = call(running, "OPTIONS", path, headers=headers)
        assert answer.status_code == 200
        assert shared(answer)["allow-methods"] == "GET, HEAD"


def test_case_34_options_without_an_origin_needs_no_key_either(running: Router) -> None:
    answer = call(running, "OPTIONS", "/v1/batch", headers={})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Allow"] == "POST"
    assert shared(answer) == {}


def test_a_preflight_does_not_wait_for_a_body(running: Router) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.putrequest("OPTIONS", "/v1/batch")
    connection.putheader("Content-Length", "1000")
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/v1/track", {"auth": ("key", ""), "json": EVENT}, 200),
        ("POST", "/v1/track", {"auth": ("key", ""), "data": b"{"}, 400),
        ("POST", "/v1/track", {"auth": ("key", ""), "data": b" " * 600_000}, 400),
        ("POST", "/v1/track", {"auth": ("key", ""), "json": {}}, 400),
        ("POST", "/v1/track", {"json": EVENT}, 401),
        ("POST", "/v1/track", {"auth": ("other", ""), "json": EVENT}, 401),
        ("POST", "/v1/track", {"auth": ("off", ""), "json": EVENT}, 403),
        ("POST", "/v1/nothing", {}, 404),
        ("GET", "/v1/projects/other/settings", {}, 404),
        ("PUT", "/v1/batch", {}, 405),
        ("GET", "/v1/projects/key/settings", {}, 200),
        ("GET", "//v1/pixel/track", {}, 200),
    ],
)
def test_case_34_a_page_can_read_every_answer(
    running: Router, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = call(running, method, path, **options)
    assert answer.status_code == status
    assert shared(answer) == READABLE
    assert answer.headers["Vary"] == "Origin"


class Broken(Log):
    """A log with a bug."""

    def append(self, *args: Any) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("log", "status", "after"), [(Log, 503, "5"), (Broken, 500, None)]
)
def test_case_34_a_page_can_read_of_a_lost_disk_and_of_a_bug(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    log: type[Log],
    status: int,
    after: str | None,
) -> None:
    (tmp_path / "data").write_text("a file in the place of the folder")
    (tmp_path / "all.toml").write_text('[sources.web]\nwrite_key = "key"')
    around = Surroundings(log(tmp_path / "data", 1, 10**9), Ledger(tmp_path / "data"))
    app = create_app(configuration.load(tmp_path, {}), around)
    with serve(app) as url, caplog.at_level(logging.CRITICAL, "router"):
        answer = requests.post(
            f"{url}/v1/t",
            json=EVENT,
            auth=("key", ""),
            headers={"Origin": SHOP},
            timeout=10,
        )
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, after)
    assert shared(answer) == READABLE


@pytest.mark.parametrize("origin", ["null", "http://127.0.0.1:3000", "app://shop"])
def test_every_origin_is_allowed_unless_some_are_listed(
    running: Router, origin: str
) -> None:
    answer = call(running, "POST", "/v1/batch", headers={"Origin": origin})
    assert shared(answer)["allow-origin"] == origin


def test_only_the_origins_that_are_listed_are_allowed(router: Router) -> None:
    router.configure(CONF + MORE.format(origins=["http://a.example:81", SHOP]))
    asks = {"Access-Control-Request-Method": "POST"}
    with router.running():
        for origin in ("http://a.example:81", SHOP):
            answer = call(router, "OPTIONS", "/v1/t", headers=asks | {"Origin": origin})
            assert shared(answer)["allow-origin"] == origin
        for origin in (
            "http://a.example",
            "https://a.example:81",
            "https://shop.example.evil.example",
            "https://www.shop.example",
            "null",
        ):
            headers = asks | {"Origin": origin}
            for method in ("OPTIONS", "POST"):
                answer = call(router, method, "/v1/t", headers=headers)
                assert shared(answer) == {}
                # Else a cache would give this answer to those that are allowed.
                assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/sandbox/movable_ink/x"])
def test_what_is_for_operators_is_closed_to_pages(running: Router, path: str) -> None:
    assert shared(call(running, "GET", path)) == {}
