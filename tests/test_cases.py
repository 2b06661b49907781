"""`router explain --save` writes cases, and `differences` tells what is other now."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import CONF, Router

from router.cases import differences, folder, open_settings, shown
from router.settings import DestinationSettings, Duration

URL = "https://shop.example/p"
VIEWED = {"type": "track", "event": "Product Viewed", "userId": "u1"}
VIEWED |= {"properties": {"product_id": 7, "url": URL}, "messageId": "m-1"}
SECRETS = ("sandbox-key", "sandbox-secret", "behavioral")


def saved(router: Router, *events: Any, name: str = "movable_ink") -> list[Any]:
    """What is in the files that are written for these events, by their names."""
    file = router.directory / "events.json"
    file.write_text(json.dumps(events))
    cases = router.directory / "cases"
    router.run("explain", "--save", str(cases), "-d", name, str(file), ok=False)
    return [(f.stem, json.loads(f.read_text())) for f in sorted(cases.iterdir())]


def test_a_case_holds_the_event_the_settings_and_the_request_without_secrets(
    router: Router,
) -> None:
    router.configure(
        CONF.replace('"sandbox-key"', '"sandbox-key"\nidentifier = "email"')
    )
    ((name, case),) = saved(router, VIEWED)
    assert name == "product-viewed"
    assert case["event"]["messageId"] == "m-1"
    assert case["event"]["receivedAt"]
    assert case["settings"]["identifier"] == "email"
    assert case["outcome"] == "deliver"
    (request,) = case["requests"]
    assert (request["method"], request["url"]) == ("POST", "***")
    assert request["headers"] == {
        "Authorization": "***", "Content-Type": "application/json"
    }  # fmt: skip
    assert request["body"]["properties"] == {"product_id": "7", "url": URL}
    assert not any(secret in json.dumps(case) for secret in SECRETS)


def test_an_event_that_is_not_sent_is_a_case_of_why(router: Router) -> None:
    events = [VIEWED | {"properties": {}}, VIEWED | {"event": "Née!"}]
    (first, unknown), (second, dead) = saved(router, *events)
    assert first == "n-e-unsupported-event"
    assert second == "product-viewed-requirements"
    assert (unknown["outcome"], unknown["code"]) == ("skipped", "unsupported_event")
    assert dead["problems"] == [
        "properties: product_id or sku required", "properties.url: required"
    ]  # fmt: skip
    assert "requests" not in dead


def test_no_case_is_written_over(router: Router) -> None:
    saved(router, VIEWED)
    names = {name for name, _ in saved(router, VIEWED, VIEWED)}
    assert names == {"product-viewed", "product-viewed-2", "product-viewed-3"}


def test_a_plugin_without_requests_has_its_payload_in_the_case(router: Router) -> None:
    ((_, case),) = saved(router, VIEWED, name="archive")
    assert case["payload"] == case["event"]


def test_an_event_of_the_log_is_saved_by_its_id_and_the_file_is_told(
    router: Router,
) -> None:
    with router.running():
        router.post("/v1/track", VIEWED | {"messageId": "m-77"})
    cases = router.directory / "new" / "cases"
    command = ("explain", "--save", str(cases), "-d", "movable_ink", "m-77", "--json")
    said = router.run(*command)
    rows, end = json.JSONDecoder().raw_decode(said)
    assert said[end:].strip().startswith(f"{cases}: these cases hold events in clear")
    assert [row["saved"] for row in rows] == [str(cases / "product-viewed.json")]
    case = json.loads((cases / "product-viewed.json").read_text())
    assert case["event"]["messageId"] == "m-77"


def test_headers_that_are_others_another_time_are_no_part_of_a_case(
    router: Router,
) -> None:
    key = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    hook = f'[destinations.hook]\nplugin = "webhook"\nsecrets = ["{key}"]\n'
    (router.directory / "plugins").mkdir()
    (router.directory / "plugins" / "fresh.py").write_text(
        "import uuid\n\nfrom router import hookimpl\n\n\n"
        "@hookimpl\ndef track(event):\n    return event['event']\n\n\n"
        "@hookimpl\ndef deliver(payloads, client):\n"
        "    headers = {'X-Request': uuid.uuid4().hex, 'X-Event': payloads[0]}\n"
        "    client.post_json('http://127.0.0.1:9/', payloads[0], headers=headers)\n"
    )
    url = 'url = "http://127.0.0.1:9/hook"\nheaders = {{"X-Shop" = "s1"}}\n'
    router.configure(CONF + hook + url + "[destinations.fresh]\n")
    ((_, case),) = saved(router, VIEWED, name="hook")
    assert sorted(case["requests"][0]["headers"]) == [
        "Content-Type", "X-Shop", "webhook-id"
    ]  # fmt: skip
    file = router.directory / "event.json"
    file.write_text(json.dumps(case["event"]))
    time.sleep(1.1)  # the next second has another signature
    (row,) = router.json("explain", "-d", "hook", str(file))
    assert list(differences(case["requests"], shown(row)["requests"])) == []
    ((_, fresh), _) = saved(router, VIEWED, name="fresh")
    assert fresh["requests"][0]["headers"] == {
        "Content-Type": "application/json", "X-Event": "Product Viewed"
    }  # fmt: skip


def test_cases_are_one_destinations(router: Router) -> None:
    said = router.run("explain", "--save", "cases", "m-1", ok=False)
    assert "--save needs --destination" in said


def test_settings_of_a_case_can_be_given_again() -> None:
    class Settings(DestinationSettings):
        window: Duration = 5.0
        place: Path = Path()

    given = {"window": "1.5h", "place": "/here", "batch_events": 3, "timeout": "9s"}
    named = open_settings(Settings.model_validate(given))
    assert named == {"window": "5400.0s", "place": "/here", "batch_events": 3}
    assert Settings.model_validate(named).window == 5400.0


@pytest.mark.parametrize(
    ("expected", "came", "said"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, []),
        ({"a": {"b": 2}}, {"a": {"b": "2"}}, ['a.b: expected 2; came "2"']),
        ({"a": 1}, {}, ["a: expected 1; came nothing"]),
        ({}, {"b": 1}, ["b: expected nothing; came 1"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a: expected [1]; came [1,2]"]),
        ([{"n": 1.5}], [{"n": 2}], ["[0].n: expected 1.5; came 2"]),
        ({"headers": {"X": "1"}}, {"headers": {"X": "1", "Y": "2"}}, []),
        ({"headers": {"X": 1}}, {"headers": {}},
         ["headers.X: expected 1; came nothing"]),
    ],
)  # fmt: skip
def test_differences_are_told_with_their_place(expected, came, said) -> None:
    assert list(differences(expected, came)) == said


def test_a_module_keeps_its_cases_beside_it(tmp_path: Path) -> None:
    class Module:
        __file__ = str(tmp_path / "hook.py")

    class Package:
        __file__ = str(tmp_path / "hook" / "__init__.py")

    assert folder(Module) == tmp_path / "hook_cases"
    assert folder(Package) == tmp_path / "hook" / "cases"
    assert folder(object()) is None
