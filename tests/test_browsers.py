"""What SDKs load before they send, and the ways of sending that need no script."""

import base64
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import requests
from conftest import CONF, Router, eventually

from router.browsers import GIF, pixel_body
from router.errors import Refused

ODD = "a b/c%41+ü"

MORE = f"""
[sources.odd]
write_key = "{ODD}"

[sources.off]
write_key = "off"
enabled = false
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    router = Router(tmp_path_factory.mktemp("browsers"), CONF + MORE)
    with router.running("--worker-class", "gthread", "--threads", "2"):
        yield router


def call(router: Router, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(
        method, router.url + path, timeout=10, allow_redirects=False, **options
    )


def raw(router: Router, method: str, path: str) -> http.client.HTTPResponse:
    """The answer to exactly that path; `requests` would tidy it."""
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=10)
    connection.request(method, path, "{}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def arrived(router: Router, message_id: str) -> dict[str, Any]:
    """The event with that id, as it reached the archive."""

    def found() -> list[dict[str, Any]]:
        return [e for e in router.archived() if e["messageId"] == message_id]

    (event,) = eventually(found)
    return dict(event)


# Paths (case 32) and methods (case 33).

SINGLE = ["identify", "track", "page", "screen", "group", "alias", *"itpsga"]


@pytest.mark.parametrize("name", [*SINGLE, "batch", "import", "b", "batch/b"])
@pytest.mark.parametrize("spelling", ["/v1/{}", "/v1/{}/", "//v1/{}", "/v1/{}?x=%zz&y"])
def test_case_32_each_path_is_served_at_each_spelling_and_never_redirected(
    running: Router, name: str, spelling: str
) -> None:
    assert raw(running, "POST", spelling.format(name)).status == 401


@pytest.mark.parametrize(
    "path", ["/V1/track", "/v1/Track", "/v1/BATCH", "/v1/pixel/Track", "/sourceconfig"]
)
def test_case_32_paths_are_case_sensitive(running: Router, path: str) -> None:
    assert call(running, "POST", path).json()["code"] == "not_found"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/t/", "//v1/import", "/v1/m"])
def test_case_33_another_method_is_told_which_to_use(
    running: Router, method: str, path: str
) -> None:
    answer = raw(running, method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")


def test_case_33_an_answer_to_head_has_no_body(running: Router) -> None:
    with requests.Session() as session:
        for path in ("/v1/batch", "/v1/projects/key/settings", "/health", "/ready"):
            answer = session.head(running.url + path, timeout=10)
            # What follows on the connection is not taken for a body's end.
            assert (answer.content, answer.status_code) == (
                b"",
                405 if path == "/v1/batch" else 200,
            )


# What SDKs load first.


def settings(router: Router, key: str = "key", **options: Any) -> requests.Response:
    return call(router, "GET", f"/v1/projects/{key}/settings", **options)


def segment(answer: requests.Response) -> tuple[str, str]:
    found = answer.json()["integrations"]["Segment.io"]
    return found["protocol"], found["apiHost"]


def test_settings_send_an_sdk_here_and_nothing_else_to_the_page(
    running: Router,
) -> None:
    answer = settings(running)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, max-age=60"
    assert answer.json() == {
        "integrations": {
            "Segment.io": {
                "apiKey": "key",
                "apiHost": f"127.0.0.1:{running.port}/v1",
                "protocol": "http",
                "httpConfig": {
                    "rateLimitConfig": {"enabled": True},
                    "backoffConfig": {"enabled": True},
                },
            }
        },
        "metrics": {"sampleRate": 0},
        "plan": {},
        "middlewareSettings": {},
        "edgeFunction": {},
        "consentSettings": {},
        "remotePlugins": [],
    }


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "e.shop.example"}, ("http", "e.shop.example/v1")),
        (
            {"X-Forwarded-Host": "e.shop.example", "X-Forwarded-Proto": "https"},
            ("https", "e.shop.example/v1"),
        ),
        (
            {"X-Forwarded-Host": "a.example:81, b", "X-Forwarded-Proto": "https, http"},
            ("https", "a.example:81/v1"),
        ),
        (
            {"Forwarded": "for=1.1.1.1;host=e.shop.example;proto=https, for=10.0.0.1"},
            ("https", "e.shop.example/v1"),
        ),
        ({"Forwarded": "nonsense"}, None),
    ],
)
def test_settings_name_the_host_that_the_client_asked_for(
    running: Router, headers: dict[str, str], expected: tuple[str, str] | None
) -> None:
    own = ("http", f"127.0.0.1:{running.port}/v1")
    assert segment(settings(running, headers=headers)) == (expected or own)


def test_settings_name_the_public_url_where_one_is_configured(router: Router) -> None:
    url = "https://shop.example/events/"
    router.configure(CONF + f'[ingest]\npublic_url = "{url}"')
    with router.running():
        found = settings(router, headers={"X-Forwarded-Host": "evil.example"})
    assert segment(found) == ("https", "shop.example/events/v1")


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("other", "invalid_write_key"),
        ("KEY", "invalid_write_key"),
        ("key%2520", "invalid_write_key"),
        ("%FF%00", "invalid_write_key"),
        ("off", "source_disabled"),
    ],
)
def test_case_48_settings_of_an_unknown_key_are_not_found(
    running: Router, key: str, code: str
) -> None:
    answer = settings(running, key, headers={"Origin": "https://shop.example"})
    assert (answer.status_code, answer.json()["code"]) == (404, code)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"


def test_case_48_a_key_is_decoded_once(running: Router) -> None:
    for encoded in (quote(ODD), quote(ODD, safe="")):
        answer = settings(running, encoded)
        assert answer.json()["integrations"]["Segment.io"]["apiKey"] == ODD
    assert settings(running, quote(quote(ODD))).status_code == 404


def test_settings_are_found_where_react_native_looks_behind_a_proxy(
    running: Router,
) -> None:
    assert settings(running, "projects/key").json() == settings(running).json()


@pytest.mark.parametrize("path", ["key", "key/other", "key/settings/x", "", "settings"])
def test_other_paths_below_projects_are_not_found(running: Router, path: str) -> None:
    assert call(running, "GET", f"/v1/projects/{path}").status_code == 404


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    "options", [{"auth": ("key", "")}, {"params": {"writeKey": "key", "p": "npm"}}]
)
def test_rudderstacks_source_config_is_served(
    running: Router, slash: str, options: dict[str, Any]
) -> None:
    answer = call(running, "GET", f"/sourceConfig{slash}", **options)
    assert answer.headers["Cache-Control"] == "private, max-age=60"
    source = answer.json()["source"]
    assert (source["id"], source["name"], source["enabled"]) == ("web", "web", True)
    assert (source["config"], source["destinations"]) == ({}, [])


def test_source_config_needs_the_key_of_a_source(running: Router) -> None:
    for key, code in (("off", "source_disabled"), ("other", "invalid_write_key")):
        answer = call(running, "GET", "/sourceConfig", auth=(key, ""))
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    assert call(running, "GET", "/sourceConfig").status_code == 404


def test_a_look_for_ad_blockers_needs_no_key(running: Router) -> None:
    assert call(running, "HEAD", "/sourceConfig/?view=ad").status_code == 200


@pytest.mark.parametrize("path", ["/v1/m", "/v1/m/", "/rsaMetrics"])
def test_what_sdks_measure_of_themselves_is_dropped(running: Router, path: str) -> None:
    before = len(running.archived())
    with requests.Session() as session:
        for body in (b'{"series": []}', b"no JSON", b"x" * 100_000):
            answer = session.post(running.url + path, data=body, timeout=10)
            assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert len(running.archived()) == before


# Events without a script.


def is_pixel(answer: requests.Response) -> bool:
    kind = answer.headers["Content-Type"]
    return (answer.status_code, kind, answer.content) == (200, "image/gif", GIF)


def encoded(event: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(event).encode()).decode()


OPENED = {"userId": "u", "event": "Opened", "properties": {"subject": "Grüße 🎉?>~"}}


@pytest.mark.parametrize("path", ["/v1/pixel/track", "//v1/pixel/track/"])
@pytest.mark.parametrize("padding", ["kept", "cut"])
def test_a_pixel_takes_an_event_in_base64(
    running: Router, path: str, padding: str
) -> None:
    message_id = path + padding
    data = encoded(OPENED | {"writeKey": "key", "messageId": message_id})
    data = data.rstrip("=") if padding == "cut" else data
    answer = call(running, "GET", path, params={"data": data})
    assert is_pixel(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    event = arrived(running, message_id)
    assert (event["type"], event["properties"]) == ("track", OPENED["properties"])
    assert "writeKey" not in event


def test_a_pixel_takes_an_event_in_parameters(running: Router) -> None:
    query = {
        "writeKey": "key",
        "messageId": "dotted",
        "userId": "u",
        "event": "Opened",
        "properties.subject": "Grüße & more",
        "properties.mail.id": "7",
        "context.campaign.name": "spring",
        "properties.empty": "",
        "integrations.All": "false",
        "integrations.jsonl": "true",
        "integrations.Other": "maybe",
    }
    assert is_pixel(call(running, "GET", "/v1/pixel/track?" + urlencode(query)))
    event = arrived(running, "dotted")
    assert event["properties"] == {
        "subject": "Grüße & more",
        "mail": {"id": "7"},
        "empty": "",
    }
    assert event["context"]["campaign"] == {"name": "spring"}
    switches = {"All": False, "jsonl": True, "Other": "maybe"}
    assert event["integrations"] == switches


@pytest.mark.parametrize(
    ("path", "kind", "more"),
    [
        ("/v1/pixel/identify", "identify", {}),
        ("/v1/pixel/group", "group", {"groupId": "g"}),
        ("/v1/pixel/alias", "alias", {"userId": "u", "previousId": "p"}),
        ("/v1/pixel/page", "page", {}),
        ("/v1/pixel/screen", "screen", {}),
        ("/pixel/v1/track", "track", {"event": "E"}),
        ("/pixel/v1/page/", "page", {}),
    ],
)
def test_each_type_of_event_has_its_pixel(
    running: Router, path: str, kind: str, more: dict[str, str]
) -> None:
    query = {"writeKey": "key", "anonymousId": "a", "messageId": path} | more
    assert is_pixel(call(running, "GET", path, params=query))
    assert arrived(running, path)["type"] == kind


@pytest.mark.parametrize(
    "query",
    [
        "",
        "data=",
        "data=%25%25%25",
        "data=e30",
        "data=bm8",
        "data=a",
        "writeKey=key",
        "writeKey=other&userId=u&event=E",
        "writeKey=key&userId=u&event=E&properties=text",
        "writeKey=key&" + ".".join("a" * 1500) + "=1",
        "%FF=%FF&==&;&&",
    ],
)
def test_case_47_a_pixel_is_an_image_whatever_it_carries(
    running: Router, query: str
) -> None:
    before = len(running.archived())
    assert is_pixel(call(running, "GET", "/v1/pixel/track?" + query))
    assert len(running.archived()) == before


def test_why_a_pixel_has_no_event_is_in_the_log(router: Router) -> None:
    with router.running():
        call(router, "GET", "/v1/pixel/page?writeKey=secret&userId=kim")
        eventually(
            lambda: "/v1/pixel/page: no event: invalid_write_key" in router.log()
        )
        assert "secret" not in router.log()
        assert "kim" not in router.log()


def test_later_parameters_win_and_an_object_wins_over_text() -> None:
    assert (
        pixel_body("a=1&a=2&b=x&b.c=3&d.e=1&d=2") == b'{"a":"2","b":{"c":"3"},"d":"2"}'
    )


def test_parameters_that_nest_too_deep_are_refused() -> None:
    with pytest.raises(Refused):
        pixel_body(".".join("a" * 5000) + "=1")


def test_base64_may_have_been_pasted_without_encoding_it() -> None:
    assert pixel_body("data=eyJhIjoiPz8+Pj8/In0=") == b'{"a":"??>>??"}'
    with pytest.raises(Refused, match="base64"):
        pixel_body("data=ä")


def test_case_47_a_beacon_has_its_key_in_the_query(running: Router) -> None:
    body = {"batch": [{"type": "page", "anonymousId": "a", "messageId": "beacon"}]}
    answer = call(
        running,
        "POST",
        "/beacon/v1/batch?writeKey=key",
        data=json.dumps(body),
        headers={"Content-Type": "text/plain"},
    )
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert arrived(running, "beacon")["type"] == "page"


# Where events came from.

FROM = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9"}
ORIGIN = {"Origin": "https://shop.example"}


@pytest.mark.parametrize(
    ("trusted", "headers", "more", "expected"),
    [
        ("127.0.0.1", FROM | ORIGIN, {}, "203.0.113.9"),
        ("127.0.0.0/8", FROM, {"context": {"direct": True}}, "203.0.113.9"),
        ("127.0.0.1", FROM, {}, None),
        ("127.0.0.1", ORIGIN, {}, "127.0.0.1"),
        ("10.0.0.0/8", FROM | ORIGIN, {}, "127.0.0.1"),
        ("127.0.0.1", FROM | ORIGIN, {"context": {"ip": "9.9.9.9"}}, "9.9.9.9"),
    ],
)
def test_the_address_of_a_page_is_known_behind_proxies_that_are_trusted(
    router: Router,
    trusted: str,
    headers: dict[str, str],
    more: dict[str, Any],
    expected: str | None,
) -> None:
    router.configure(CONF + f'[ingest]\ntrusted_proxies = ["{trusted}"]')
    body = {"writeKey": "key", "anonymousId": "a", "messageId": "from"} | more
    with router.running():
        assert call(router, "POST", "/v1/page", json=body, headers=headers).ok
        context = arrived(router, "from").get("context", {})
    assert context.get("ip") == expected
    assert "direct" not in context


def test_pixels_and_beacons_are_from_browsers_though_they_do_not_say_so(
    running: Router,
) -> None:
    event = {"type": "page", "anonymousId": "a", "messageId": "by-beacon"}
    path = "//beacon/v1/batch/?writeKey=key"
    assert call(running, "POST", path, json={"batch": [event]}).ok
    for path in ("v1/pixel", "/pixel/v1"):
        query = f"writeKey=key&anonymousId=a&messageId=by-{path}"
        assert is_pixel(call(running, "GET", f"/{path}/page?{query}"))
    for name in ("beacon", "v1/pixel", "/pixel/v1"):
        assert arrived(running, f"by-{name}")["context"]["ip"] == "127.0.0.1"
