"""`router explain` on the tricky cases of docs/movable-ink.md, by their numbers there
and in the plugin's own tests."""

import json
import re
import traceback
from typing import Any

import pytest
from conftest import CONF, Router

from router.explain import raised, without

URL = "https://shop.example/p"
PRODUCT = {"product_id": "P1", "url": URL}
ITEM = {"product_id": "P1", "price": 5}
AT = 1709566376409
RECEIVED = "2024-03-05T00:53:20Z"

NORMALIZED = 'payload = "normalized"\n'


def track(event: str = "Product Viewed", /, **more: Any) -> dict[str, Any]:
    event_ = {"type": "track", "event": event, "anonymousId": "a1"}
    return event_ | {"properties": PRODUCT, "receivedAt": RECEIVED} | more


def identify(**more: Any) -> dict[str, Any]:
    return {"type": "identify", "anonymousId": "a1"} | more


def order(**properties: Any) -> dict[str, Any]:
    return track("Order Completed", properties=properties)


def at(timestamp: Any) -> dict[str, Any]:
    return track(timestamp=timestamp)


# case, settings, event, members of the request's body (None: there is no such member)
SENT: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("1 only an e-mail", NORMALIZED,
     identify(userId="", traits={"email": " kim@example.org "}),
     {"user_id": "kim@example.org", "traits": {"email": " kim@example.org "}}),
    ("2 both", NORMALIZED, identify(userId="u1", traits={"email": "k@x.org"}),
     {"user_id": "u1", "anonymous_id": "a1"}),
    ("2 e-mail first", NORMALIZED + 'identifier = "email"\n',
     identify(userId="u1", traits={"email": "k@x.org"}), {"user_id": "k@x.org"}),
    ("3 numbers", "", identify(userId=0, anonymousId=12345),
     {"userId": "0", "anonymousId": "12345"}),
    ("3 whole float", "", identify(userId=12345.0), {"userId": "12345"}),
    ("3 product id", "", track(properties={"product_id": 98765, "url": URL}),
     {"properties": {"product_id": "98765", "url": URL}}),
    ("4 sku only", NORMALIZED, track(properties={"sku": "S1", "url": URL}),
     {"properties": {"id": "S1", "url": URL}}),
    ("4 both", NORMALIZED, track(properties=PRODUCT | {"sku": "S1"}),
     {"properties": {"id": "P1", "sku": "S1", "url": URL}}),
    ("4 blank product_id", NORMALIZED,
     track(properties={"product_id": "  ", "sku": "S1", "url": URL}),
     {"properties": {"id": "S1", "url": URL}}),
    ("5 url of the page", NORMALIZED + "page_url_fallback = true\n",
     track(properties={"product_id": "P1"}, context={"page": {"url": URL}}),
     {"properties": {"id": "P1", "url": URL}}),
    *[(f"6 {given}", "", at(given), {"timestamp": AT}) for given in (
        "2024-03-04T10:32:56.409-05:00", "2024-03-04T21:02:56.409+05:30",
        "2024-03-04T15:32:56.409999Z", AT, str(AT), "2024-03-04T15:32:56.409")],
    ("6 seconds", "", at(1709566376), {"timestamp": 1709566376000}),
    ("6 +01:00", "", at("2023-12-06T19:20:45+01:00"), {"timestamp": 1701886845000}),
    ("7 originalTimestamp", "", track(originalTimestamp="2022-03-30T17:24:58Z"),
     {"timestamp": 1648661098000}),
    ("7 yesterday", "", at("yesterday"), {"timestamp": 1709600000000}),
    ("8 traits in context", NORMALIZED,
     track(context={"traits": {"email": "k@x.org"}}),
     {"user_id": "k@x.org", "anonymous_id": "a1"}),
    ("8 id in context", NORMALIZED,
     track(context={"traits": {"email": "k@x.org", "id": 7}}), {"user_id": "7"}),
    ("8 not from properties", NORMALIZED,
     track(properties=PRODUCT | {"email": "k@x.org"}),
     {"user_id": None, "anonymous_id": "a1"}),
    ("9a anonymous", "", track(), {"userId": None, "anonymousId": "a1"}),
    ("9d another user", "", track(userId="u2"), {"userId": "u2"}),
    ("11 fallback", NORMALIZED + 'total_fallback = ["revenue"]\n',
     order(revenue=50, products=[ITEM]),
     {"properties": {"total": 50, "revenue": 50,
                     "products": [{"id": "P1", "price": 5}]}}),
    ("11 free", "", order(total=0, products=[ITEM]), {"event": "Order Completed"}),
    ("11 text", NORMALIZED, order(total="58.00", products=[ITEM]),
     {"properties": {"total": 58.0, "revenue": 58.0,
                     "products": [{"id": "P1", "price": 5}]}}),
    ("12 category", NORMALIZED, track(properties=PRODUCT | {"category": "Games"}),
     {"properties": {"id": "P1", "url": URL, "categories": [{"id": "Games"}]}}),
    ("13 list", NORMALIZED, track(
        "Product List Viewed", properties={"list_id": "hot", "category": "Deals"}),
     {"properties": {"id": "hot", "title": "Deals"}}),
    ("13 category viewed", NORMALIZED,
     track("Category Viewed", properties={"category_id": 9}),
     {"properties": {"id": "9"}}),
    ("14 object query", NORMALIZED,
     track("Products Searched", properties={"query": {"b": 1, "a": 2}}),
     {"properties": {"query": '{"a":2,"b":1}'}}),
    ("14 empty query", "", track("Products Searched", properties={"query": ""}), {}),
    ("15 named", "", track(integrations={"All": False, "Movable Ink": True}), {}),
    ("15 options", "", track(integrations={"Movable Ink": {"a": 1}}), {}),
    ("16 spelling", "", track("product viewed "), {"event": "product viewed "}),
    ("16 spelling", NORMALIZED, track("product viewed "), {"event": "Product Viewed"}),
    ("16 custom", 'custom_events = ["Signed Up"]\n', track("Signed Up"), {}),
]  # fmt: skip

# case, settings, event, code, problems
NOT_SENT: list[tuple[str, str, dict[str, Any], str, list[str]]] = [
    ("4 neither", "", track(properties={"url": URL}), "requirements",
     ["properties: product_id or sku required"]),
    ("5 no url", "", track("Product Added", properties={"product_id": "P1"},
                           context={"page": {"url": URL}}), "requirements",
     ["properties.url: required"]),
    ("5 added, with the fallback", "page_url_fallback = true\n",
     track("Product Added", properties={"product_id": "P1"},
           context={"page": {"url": URL}}), "requirements",
     ["properties.url: required"]),
    ("5 both missing", "", track(properties={}), "requirements",
     ["properties: product_id or sku required", "properties.url: required"]),
    ("10 one bad item", "", order(total=8, products=[
        ITEM, {"sku": "S2"}, {"price": 3}, "oops"]), "requirements",
     ["properties.products[1].price: required",
      "properties.products[2]: product_id or sku required",
      "properties.products[3]: must be an object"]),
    *[(f"10 products {p}", "", order(total=8, products=p), "requirements",
       ["properties.products: required non-empty list"]) for p in ([], {}, None)],
    ("11 revenue only", "", order(revenue=50, products=[ITEM]), "requirements",
     ["properties.total: required"]),
    *[(f"11 {total}", "", order(total=total, products=[ITEM]), "requirements",
       ["properties.total: must be a number"]) for total in ("€58", True)],
    ("14 empty query", NORMALIZED,
     track("Products Searched", properties={"query": ""}), "requirements",
     ["properties.query: required"]),
    ("15 off", "", track(integrations={"MovableInk": False}), "integrations", []),
    ("15 the other integration", "",
     track(integrations={"All": False, "Movable Ink (Actions)": True}),
     "integrations", []),
    *[(f"16 {kind}", "", track(type=kind, userId="u", groupId="g", previousId="p"),
       "unsupported_type", []) for kind in ("page", "screen", "group", "alias")],
    ("16 another name", "", track("Signed Up"), "unsupported_event", []),
    ("16 no name", "", track(" "), "event_not_defined", []),
    ("17 nobody", "", track(anonymousId=None), "no_user_anon_id", []),
    ("18 too large", "", track(properties=PRODUCT | {"x": "é" * 1_050_000}),
     "event_too_large", []),
]  # fmt: skip


def explained(router: Router, settings: str, events: list[Any]) -> list[dict[str, Any]]:
    router.configure(CONF.split("[destinations.archive]")[0] + settings)
    file = router.directory / "events.json"
    file.write_text(json.dumps(events))
    found: list[dict[str, Any]] = router.json("explain", str(file), ok=False)
    return found


@pytest.mark.parametrize("settings", sorted({case[1] for case in SENT}))
def test_explain_shows_the_request_that_is_expected(
    router: Router, settings: str
) -> None:
    cases = [case for case in SENT if case[1] == settings]
    rows = explained(router, settings, [event for _, _, event, _ in cases])
    assert len(rows) == len(cases)
    for row, (case, _, _, expected) in zip(rows, cases, strict=True):
        assert row["outcome"] == "deliver", (case, row)
        (request,) = row["requests"]
        assert (request["method"], request["headers"]["Authorization"]) == (
            "POST", "***"
        )  # fmt: skip
        body = json.loads(request["body"])
        assert {key: body.get(key) for key in expected} == expected, case


@pytest.mark.parametrize("settings", sorted({case[1] for case in NOT_SENT}))
def test_explain_says_why_nothing_is_sent(router: Router, settings: str) -> None:
    cases = [case for case in NOT_SENT if case[1] == settings]
    rows = explained(router, settings, [event for _, _, event, _, _ in cases])
    for row, (case, _, _, code, problems) in zip(rows, cases, strict=True):
        assert "requests" not in row
        assert (row["code"], row["problems"]) == (code, problems), case
        assert row["reason"], case


def test_explain_says_that_a_plugin_cannot_connect(router: Router) -> None:
    (router.directory / "plugins").mkdir()
    (router.directory / "plugins" / "lame.py").write_text(
        "from router import hookimpl\n\n\n"
        "@hookimpl\ndef track(event):\n    return event\n\n\n"
        "@hookimpl\ndef connect():\n    raise OSError('no such host')\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n"
    )
    settings = '[destinations.lame]\n[destinations.archive]\nplugin = "jsonl"\n'
    (_, lame, archive) = explained(router, settings, [track()])
    where = f"{router.directory / 'plugins' / 'lame.py'}:11"
    assert lame["code"] == "plugin_error"
    assert lame["reason"] == f"connect raised OSError at {where}"
    assert lame["raised"] == f"OSError: no such host ({where})"
    assert archive["outcome"] == "deliver"


def test_explain_shows_no_secret(router: Router) -> None:
    router.configure(CONF.replace("sandbox-key", "canary-key"))
    file = router.directory / "event.json"
    file.write_text(json.dumps(track()))
    shown = router.run("explain", str(file))
    assert "POST http://127.0.0.1" in shown
    for secret in ("canary-key", "sandbox-secret", "behavioral"):
        assert secret not in shown


def test_explain_of_a_message_id_tells_what_became_of_it(router: Router) -> None:
    with router.running():
        router.post("/v1/track", track(messageId="m-1", properties={}))
        router.post("/v1/track", track(messageId="m-2"))
        while router.row("status", "movable_ink")["pending"]:
            pass
        dead = router.json("explain", "m-1", ok=False)
        passed = router.json("explain", "m-2")
    assert [(r["destination"], r["state"]) for r in dead] == [
        ("movable_ink", "dead"), ("archive", "passed")
    ]  # fmt: skip
    assert [r["state"] for r in passed] == ["passed", "passed"]


def test_explain_does_not_call_a_plugin_that_delivers_by_itself(router: Router) -> None:
    (router.directory / "plugins").mkdir()
    told = router.directory / "told"
    (router.directory / "plugins" / "alone.py").write_text(
        "import pathlib\n\nfrom router import hookimpl\n\n\n"
        "@hookimpl\ndef track(event):\n    return event['event']\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n"
        f"    pathlib.Path({str(told)!r}).write_text('delivered')\n"
    )
    (_, row) = explained(router, "[destinations.alone]\n", [track()])
    assert (row["outcome"], row["payload"]) == ("deliver", track()["event"])
    assert not told.exists()


def test_explain_shows_the_request_where_a_partner_says_yes_in_its_body(
    router: Router,
) -> None:
    (router.directory / "plugins").mkdir()
    (router.directory / "plugins" / "wordy.py").write_text(
        "from pydantic import BaseModel, SecretStr\n\n"
        "from router import DestinationSettings, Rejected, hookimpl\n\n\n"
        "class Auth(BaseModel):\n    token: SecretStr\n\n\n"
        "class Settings(DestinationSettings):\n    auth: Auth\n\n\n"
        "@hookimpl\ndef settings():\n    return Settings\n\n\n"
        "@hookimpl\ndef track(event):\n    return event['event']\n\n\n"
        "@hookimpl\ndef deliver(payloads, settings, client):\n"
        "    token = settings.auth.token.get_secret_value()\n"
        "    said = client.post_json('http://127.0.0.1:9/x', {'token': token})\n"
        "    if said.json().get('ok') is not True:\n"
        "        raise Rejected('no ok')\n"
    )
    conf = '[destinations.wordy]\nauth = {{token = "s3cr3t-in-a-table"}}\n'
    (_, row) = explained(router, conf, [track()])
    assert row["outcome"] == "deliver"
    assert row["requests"][0]["body"] == '{"token":"***"}'


LONG_SECRETS = [
    "a b/c+d&e=f",
    'say "no" \\ or/else',
    "schlüssel/für/alle",
    "https://h.example/a b?c",
]


@pytest.mark.parametrize("secret", LONG_SECRETS)
def test_explain_masks_a_secret_however_a_request_writes_it(
    router: Router, secret: str
) -> None:
    (router.directory / "plugins").mkdir()
    (router.directory / "plugins" / "chatty.py").write_text(
        "import json\nfrom urllib.parse import quote, quote_plus, urlencode\n\n"
        "from pydantic import SecretStr\n\n"
        "from router import DestinationSettings, hookimpl\n\n\n"
        "class Settings(DestinationSettings):\n    token: SecretStr\n\n\n"
        "@hookimpl\ndef settings():\n    return Settings\n\n\n"
        "@hookimpl\ndef track(event):\n    return event['event']\n\n\n"
        "@hookimpl\ndef deliver(payloads, settings, client):\n"
        "    token = settings.token.get_secret_value()\n"
        "    url = 'http://127.0.0.1:9/'\n"
        "    client.post_json(url + quote(token) + '?' + urlencode({'k': token}), 1)\n"
        "    client.post(url + quote(token, safe=''), params={'k': token})\n"
        "    client.post_json(url, {'k': token, 'me': [token]})\n"
        "    client.post(url, data=json.dumps({'k': token}))\n"
        "    client.post(url, data={'k': token})\n"
        "    client.post(url, data=json.dumps({'k': token}).replace('/', '\\\\/'))\n"
        "    client.post(url, headers={'X-K': quote_plus(token).lower()})\n"
    )
    router.configure(
        CONF.split("[destinations.archive]")[0]
        + f"[destinations.chatty]\ntoken = {json.dumps(secret)}\n"
    )
    file = router.directory / "events.json"
    file.write_text(json.dumps(track()))
    (row,) = router.json("explain", "-d", "chatty", str(file))
    assert len(row["requests"]) == 7
    for request in row["requests"]:
        text = json.dumps([request["url"], request["body"], request["headers"]])
        assert "***" in text
        for part in re.findall(r"\w{3,}", secret.replace("h.example", "")):
            if part != "https":
                assert part not in text, request


def test_a_secret_that_looks_like_half_an_address_is_masked() -> None:
    assert without("see //[half and more", ["//[half"]) == "see *** and more"


TALKATIVE = """
from pydantic import SecretStr

from router import DestinationSettings, Rejected, hookimpl


class Settings(DestinationSettings):
    token: SecretStr


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event, settings):
    token = settings.token.get_secret_value()
    if event["event"] == "Bug":
        raise KeyError(f"no {token}\\nat all")
    if event["event"] == "Bad":
        raise Rejected(f"bad key {token}")
    return event["event"]


@hookimpl
def deliver(payloads, settings, client):
    token = settings.token.get_secret_value()
    said = client.post_json("http://127.0.0.1:9/token", {"key": token})
    bearer = said.json()["access_token"]
    client.post_json("http://127.0.0.1:9/events", payloads, headers={"X-Key": bearer})
"""


def talkative(router: Router, secret: str) -> dict[str, dict[str, Any]]:
    """What explain says of its events, by their names."""
    (router.directory / "plugins").mkdir()
    (router.directory / "plugins" / "talkative.py").write_text(TALKATIVE)
    names = ("Bug", "Bad", "Good")
    conf = f'[destinations.talkative]\ntoken = "{secret}"\n'
    rows = explained(router, conf, [track(name) for name in names])
    return dict(zip(names, rows[1::2], strict=True))


@pytest.mark.parametrize("secret", ["k9$x", "hunter7"])
def test_a_short_secret_is_masked_in_bodies_and_sentences(
    router: Router, secret: str
) -> None:
    rows = talkative(router, secret)
    assert secret not in json.dumps(rows)
    assert rows["Bad"]["reason"] == "bad key ***"
    assert rows["Bad"]["problems"] == ["bad key ***"]
    assert rows["Good"]["requests"][0]["body"] == '{"key":"***"}'


def test_explain_says_what_a_bug_says_and_where_it_is(router: Router) -> None:
    row = talkative(router, "hunter7")["Bug"]
    line = TALKATIVE[: TALKATIVE.index("raise KeyError")].count("\n") + 1
    where = f"{router.directory / 'plugins' / 'talkative.py'}:{line}"
    said = f"the plugin raised KeyError at {where}"
    assert (row["code"], row["reason"]) == ("plugin_error", said)
    assert row["raised"] == f"KeyError: 'no ***\\nat all' ({where})"
    file = router.directory / "events.json"
    shown = router.run("explain", "-d", "talkative", str(file), ok=False)
    assert f"\n  raised: {row['raised']}\n" in shown


def test_explain_says_where_a_rehearsal_ended(router: Router) -> None:
    row = talkative(router, "hunter7")["Good"]
    (request,) = row["requests"]
    assert request["url"] == "http://127.0.0.1:9/token"
    assert row["note"].startswith("deliver raised KeyError at ")
    assert "is not shown" in row["note"]


def test_what_is_raised_is_told_with_the_last_place() -> None:
    def fails() -> None:
        try:
            json.loads("{")
        except ValueError:
            raise LookupError("two\nlines") from None

    try:
        fails()
    except LookupError as error:
        told = "".join(traceback.format_exception(error))
    line = fails.__code__.co_firstlineno + 4
    assert raised(told) == f"LookupError: two lines ({__file__}:{line})"
    assert raised("no traceback") == "no traceback"
