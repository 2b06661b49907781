"""The plugin webhook: what a receiver is sent, and that public verifiers take it."""

import base64
import json
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime

import pydantic
import pytest
import requests
from conftest import ROOT, Router, eventually
from standardwebhooks import Webhook, WebhookVerificationError

from plugins import webhook
from router import Misconfigured, Rejected, Retry, TooLarge, codec
from router.client import Session
from router.testing.scripted import RESET, answer, scripted
from router.testing.serving import serve

SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + base64.b64encode(b"k" * 64).decode()
OK = answer("204 No Content")
NODE_MODULES = ROOT / "tests" / "sdk" / "node_modules"
VERIFIER = NODE_MODULES / "standardwebhooks-1.1.1"

# Prints what the verifier makes of the body on stdin.
VERIFY = """
const { Webhook } = require(process.argv[1]);
const body = require("fs").readFileSync(0);
const verified = new Webhook(process.argv[2]).verify(body, JSON.parse(process.argv[3]));
console.log(JSON.stringify(verified));
"""


def event(n=1, **more):
    fields = {"type": "track", "event": "Café ☕\u2028 𝄞", "messageId": f"m.{n}"}
    return fields | {"receivedAt": "2024-03-04T00:00:00.000Z", "userId": "u"} | more


def settings(url="http://127.0.0.1:1/hook", **keys):
    made = webhook.settings()(**{"url": url, "secrets": [SECRET]} | keys)
    return made.placed("hooks", ROOT)


def deliver(made, *payloads):
    with Session(made.timeout) as client:
        webhook.deliver(payloads=list(payloads), settings=made, client=client)


def sent(*payloads, **keys):
    """The request that a receiver gets."""
    with scripted(OK) as partner:
        deliver(settings(f"{partner.url}/hook?token=t", **keys), *payloads)
    (request,) = partner.requests
    return request


def verified(request, secret=SECRET):
    return Webhook(secret).verify(request.body, request.headers)


@pytest.mark.parametrize(
    "kind", ["identify", "track", "page", "screen", "group", "alias"]
)
def test_each_call_is_posted_as_it_is_and_a_public_verifier_takes_it(kind):
    made = event(type=kind)
    payload = getattr(webhook, kind)(event=made)
    request = sent(payload)
    assert request.line == "POST /hook?token=t HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.body == codec.dumps(made)
    assert verified(request) == made


def test_a_batch_is_a_list_also_when_it_is_of_one():
    three = [event(n) for n in range(3)]
    assert verified(sent(*three, batch_events=3)) == three
    assert verified(sent(three[0], batch_events=3)) == three[:1]


@pytest.mark.skipif(
    not (shutil.which("node") and VERIFIER.exists()), reason="not installed: make sdks"
)
def test_the_verifier_for_node_takes_it_too():
    request = sent(event(), secrets=[OTHER, SECRET])
    arguments = [str(VERIFIER), SECRET, json.dumps(request.headers)]
    done = subprocess.run(
        ["node", "-e", VERIFY, *arguments],
        input=request.body, capture_output=True, timeout=30, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == event()


def test_each_secret_signs_while_one_is_being_replaced():
    request = sent(event(), secrets=[OTHER, SECRET])
    assert verified(request, SECRET) == verified(request, OTHER) == event()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("body", lambda body: body.replace(b"track", b"trick")),
        ("webhook-id", lambda name: f"{name}0"),
        ("webhook-timestamp", lambda at: str(int(at) + 1)),
        ("webhook-signature", lambda given: given[:3] + given[3:].swapcase()),
    ],
)
def test_what_was_changed_on_its_way_is_not_verified(name, change):
    request = sent(event())
    got = {**request.headers, "body": request.body}
    got[name] = change(got[name])
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(SECRET).verify(got.pop("body"), got)


def test_another_secret_does_not_verify():
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verified(sent(event()), OTHER)


def test_the_signature_is_that_of_the_public_library():
    at = datetime(2024, 3, 4, tzinfo=UTC)
    secrets = [pydantic.SecretStr(SECRET)]
    made = webhook.signed("msg_1", int(at.timestamp()), b'{"a":1}', secrets)
    assert made["webhook-signature"] == Webhook(SECRET).sign("msg_1", at, '{"a":1}')


def test_without_a_secret_there_is_an_id_and_no_signature():
    headers = sent(event(), secrets=[]).headers
    assert "webhook-signature" not in headers
    assert headers["webhook-id"] == webhook.webhook_id([event()])
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_the_id_is_that_of_the_events_whatever_they_hold():
    ids = [
        webhook.webhook_id(batch)
        for batch in (
            [event(1)],
            [event(2)],
            [event(1), event(2)],
            [event(2), event(1)],
            [event(1, receivedAt="2024-03-06T00:00:00.000Z")],
            [event(messageId="a.1700000000.{}\r\nx: y")],
            [{}],
        )
    ]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("msg_[0-9a-f]{32}", one) for one in ids)
    # Of another run of the tests: after a restart it is the same.
    assert ids[0] == "msg_efc8c5a67b5fe5f93e24c0b97d904d29"
    assert webhook.webhook_id([event(1, event="Renamed")]) == ids[0]


def test_attempts_share_the_id_and_have_timestamps_of_their_own(router: Router):
    unwell = answer("503 Service Unavailable", "Retry-After: 2")
    with scripted(unwell, OK) as partner:
        router.configure(f"""
[router]
data_dir = "{{data}}"
[sources.web]
write_key = "key"
[destinations.webhook]
url = "{partner.url}/hook"
secrets = ["{OTHER}", "{SECRET}"]
""")
        with router.running():
            assert router.post("/v1/track", {"userId": "u", "event": "e"}).ok
            eventually(lambda: len(partner.requests) == 2)
    first, second = partner.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    times = [int(one.headers["webhook-timestamp"]) for one in (first, second)]
    assert times[1] > times[0]
    assert verified(first) == verified(second)
    assert verified(second)["event"] == "e"


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        ("400 Bad Request", Rejected, "answered 400 Bad Request"),
        ("401 Unauthorized", Misconfigured, "answered 401 Unauthorized"),
        ("404 Not Found", Misconfigured, "answered 404 Not Found"),
        ("410 Gone", Misconfigured, "answered 410 Gone"),
        ("413 Content Too Large", TooLarge, "answered 413 Content Too Large"),
        ("422 Unprocessable Content", Rejected, "answered 422 Unprocessable Content"),
        ("429 Too Many Requests", Retry, "answered 429 Too Many Requests"),
        ("502 Bad Gateway", Retry, "answered 502 Bad Gateway"),
        ("302 Found", Misconfigured, "answered 302 Found"),
    ],
)
def test_an_answer_is_read_as_the_specification_says(status, outcome, reason):
    headers = ("Retry-After: 7", "Location: /elsewhere")
    with scripted(answer(status, *headers, body=b"no more")) as partner:
        with pytest.raises(outcome) as raised:
            deliver(settings(partner.url), event())
        assert (raised.value.reason, raised.value.detail) == (reason, "no more")
        assert getattr(raised.value, "after", 7) == 7
        assert len(partner.requests) == 1


def test_no_answer_is_to_be_tried_again_and_names_no_address():
    with scripted((RESET,)) as partner, pytest.raises(Retry) as raised:
        deliver(settings(f"{partner.url}/hook/t0ken"), event())
    assert raised.value.reason == "no answer: ConnectionError"


def test_headers_go_along():
    keys = {"Authorization": "Bearer t0ken", "X-Team": "é"}
    headers = sent(event(), headers=keys).headers
    assert headers["authorization"] == "Bearer t0ken"
    assert headers["x-team"] == "é"


def test_another_content_type_replaces_ours():
    keys = {"content-type": "application/vnd.shop+json"}
    request = sent(event(), headers=keys)
    assert request.headers["content-type"] == "application/vnd.shop+json"


def test_a_user_in_the_address_is_sent_as_basic_authentication():
    with scripted(OK) as partner:
        deliver(settings(partner.url.replace("//", "//kim:p%40ss@")), event())
    (request,) = partner.requests
    kim = base64.b64encode(b"kim:p@ss").decode()
    assert request.headers["authorization"] == f"Basic {kim}"
    assert "kim" not in request.headers["host"]


SHORT = base64.b64encode(b"x" * 23).decode()
LONG = base64.b64encode(b"x" * 65).decode()
NO_SECRET = "expected whsec_ and then 24 to 64 bytes in base64"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"url": "hooks.example/canary"}, "is no full URL"),
        ({"url": "http://[canary/"}, "is no full URL"),
        ({"url": "http://h:canary/"}, "is no full URL"),
        ({"secrets": [SHORT]}, NO_SECRET),
        ({"secrets": [f"whsec_{SHORT}"]}, NO_SECRET),
        ({"secrets": [SECRET, f"whsec_{LONG}"]}, NO_SECRET),
        ({"secrets": [SECRET.removeprefix("whsec_")]}, NO_SECRET),
        ({"secrets": ["whsec_canary!"]}, NO_SECRET),
        ({"secrets": ["whsec_é"]}, NO_SECRET),
        ({"headers": {"X Team": "canary"}}, "'X Team' is no name of a header"),
        ({"headers": {"Webhook-Id": "canary"}}, "Webhook-Id is set by the router"),
        ({"headers": {"content-length": "9"}}, "content-length is set by the router"),
        ({"headers": {"X-Team": " "}}, "X-Team is blank, or no header can hold it"),
        ({"headers": {"X-Team": "canary\r\nX: 1"}}, "X-Team is blank, or no header"),
        ({"headers": {"X-Team": "canary ☕"}}, "X-Team is blank, or no header"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_without_a_secret(keys, said):
    with pytest.raises(pydantic.ValidationError) as raised:
        settings(**keys)
    assert said in str(raised.value)
    assert not re.search("canary|eHh4|AAEC", str(raised.value))


def test_nothing_that_an_operator_sees_holds_a_secret(router: Router):
    router.configure(f"""
[router]
data_dir = "{{data}}"
[sources.web]
write_key = "key"
[destinations.webhook]
url = "HTTP://kim:canary@Hooks.Example?canary=|"
secrets = ["{SECRET}"]
headers = {{{{ X-Token = "canary" }}}}
[destinations.tokens]
plugin = "webhook"
url = "http://hooks.example/canary"
headers = {{{{ Authorization = "canary" }}}}
""")
    (router.directory / "one.json").write_text(json.dumps(event()))
    shown = router.run("explain", "one.json", "--json")
    assert "webhook-signature" in shown
    for row in json.loads(shown):
        (request,) = row["requests"]
        assert request["url"].lower() == "http://hooks.example/***"
        assert json.loads(request["body"])["messageId"] == "m.1"
    shown += router.run("check") + router.run("plugins", "webhook")
    assert not re.search(f"canary|{SECRET[6:]}", shown)
    made = settings(url="http://canary", headers={"X": "canary"})
    assert not re.search(f"canary|{SECRET[6:]}", repr(made) + str(made))


def test_the_sandbox_takes_what_is_sent(router: Router):
    router.configure(f"""
[router]
data_dir = "{{data}}"
sandbox = true
[sources.web]
write_key = "key"
[destinations.webhook]
url = "http://127.0.0.1:${{{{PORT}}}}/sandbox/webhook/hooks"
secrets = ["{SECRET}"]
headers = {{{{ Authorization = "Bearer t0ken" }}}}
batch_events = 10
""")
    with router.running():
        batch = [event(n) for n in range(25)]
        assert router.post("/v1/batch", {"batch": batch}).ok
        eventually(lambda: router.row("ledger", "webhook")["delivered"] == 25)


@pytest.mark.parametrize(
    ("change", "status", "title"),
    [
        ({}, 204, None),
        ({"body": b"{}"}, 401, "webhook-signature is of another key"),
        ({"webhook-id": "msg_another"}, 401, "webhook-signature is of another key"),
        ({"webhook-signature": None}, 401, "webhook-signature is of another key"),
        ({"webhook-timestamp": None}, 401, "webhook-timestamp is missing"),
        ({"webhook-timestamp": "-1"}, 401, "webhook-timestamp is missing"),
        ({"webhook-timestamp": "1700000000"}, 401, "webhook-timestamp is 300 seconds"),
        ({"X-Team": "red"}, 401, "the header X-Team is missing or another"),
        ({"X-Team": None}, 401, "the header X-Team is missing or another"),
        ({"method": "GET"}, 405, "405 Method Not Allowed"),
    ],
    ids=str,
)
def test_the_sandbox_refuses_what_a_receiver_should(change, status, title):
    made = settings(headers={"X-Team": "blue"}, secrets=[OTHER, SECRET])
    request = sent(event(), headers={"X-Team": "blue"})
    names = ("webhook-id", "webhook-timestamp", "webhook-signature", "X-Team")
    headers = {name: request.headers[name.lower()] for name in names} | change
    method, body = headers.pop("method", "POST"), headers.pop("body", request.body)
    with serve(webhook.sandbox(settings=made)) as url:
        said = requests.request(
            method, f"{url}/any", data=body, headers=headers, timeout=5
        )
    assert said.status_code == status
    if title:
        assert said.json()["title"].startswith(title)
