"""What goes over the wire to Braze, and what its answers mean."""

import json
import time

import pytest
from conftest import Router, eventually

from plugins import braze
from plugins.braze.delivery import read, split
from plugins.braze.settings import Settings
from router import Misconfigured, Partial, Rejected, Retry, TooLarge
from router.client import Session
from router.testing.scripted import answer, scripted

KEY = "s3cr3t-key"
AT = "2024-03-04T15:32:56.409Z"
NOTHING_VALID = "Valid data must be provided in the 'attributes', 'events' ... fields."


def options(url="https://rest.example", **keys):
    return Settings(endpoint=url, api_key=KEY, **keys)


def said(status="201 Created", *headers, **members):
    return answer(status, *headers, body=json.dumps(members).encode())


def error(kind, index, type_="'time' is not valid"):
    return {"type": type_, "input_array": kind, "index": index}


def attribute(n):
    return {"attributes": [{"external_id": f"u{n}", "plan": "gold"}]}


def event(n):
    return {"events": [{"external_id": f"u{n}", "name": "Seen", "time": AT}]}


def order(n, products=1):
    return {
        "purchases": [
            {"external_id": f"u{n}", "product_id": f"P{product}", "price": 1}
            for product in range(products)
        ]
    }


def deliver(partner, *payloads, **keys):
    """The outcome of delivering these, or None."""
    with Session(timeout=5) as client:
        try:
            braze.deliver(
                payloads=payloads, settings=options(partner.url, **keys), client=client
            )
        except Exception as outcome:
            return outcome
    return None


def answered(*answers, payloads=()):
    """The outcome of these answers to the payloads, by default to a lone event."""
    with scripted(*answers) as partner:
        return deliver(partner, *(payloads or [event(0)]))


def bodies(partner):
    return [json.loads(request.body) for request in partner.requests]


def lengths(partner):
    return [{k: len(v) for k, v in body.items()} for body in bodies(partner)]


# Requests.


def test_a_batch_is_one_request_with_its_objects_by_kind_in_order():
    with scripted(said(message="success")) as partner:
        payloads = [event(0), attribute(1), order(2, 2), event(3), attribute(0)]
        assert deliver(partner, *payloads) is None
    (request,) = partner.requests
    assert request.line == "POST /users/track HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    (body,) = bodies(partner)
    assert body == {
        "events": event(0)["events"] + event(3)["events"],
        "attributes": attribute(1)["attributes"] + attribute(0)["attributes"],
        "purchases": order(2, 2)["purchases"],
    }


def test_75_objects_of_all_kinds_are_one_request():
    payloads = [one(n) for n in range(25) for one in (attribute, event, order)]
    with scripted(said(message="success")) as partner:
        assert deliver(partner, *payloads) is None
    assert lengths(partner) == [{"attributes": 25, "events": 25, "purchases": 25}]


@pytest.mark.parametrize(
    ("payloads", "keys"),
    [
        ([order(0, 40), order(1, 36)], {}),
        ([attribute(0), order(0, 74), event(1)], {}),
        ([event(n) for n in range(51)], {"monthly_active_users": True}),
        ([order(0, 25), event(1), order(2, 25)], {"monthly_active_users": True}),
    ],
)
def test_a_batch_of_more_objects_than_braze_takes_is_halved_unsent(payloads, keys):
    with scripted(said()) as partner:
        assert isinstance(deliver(partner, *payloads, **keys), TooLarge)
        assert partner.requests == []
        assert deliver(partner, *payloads[:-1], **keys) is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [({}, [75, 75, 10]), ({"monthly_active_users": True}, [50] * 3)],
)
def test_an_order_of_more_products_is_several_requests(keys, expected):
    payload = order(0, sum(expected))
    with scripted(said(message="success")) as partner:
        assert deliver(partner, payload, **keys) is None
    assert [n["purchases"] for n in lengths(partner)] == expected
    sent = [one for body in bodies(partner) for one in body["purchases"]]
    assert sent == payload["purchases"]


@pytest.mark.parametrize("wrong", [0, 1])
def test_what_is_refused_in_any_of_several_requests_is_the_order_s(wrong):
    answers = [said(message="success")] * 2
    answers[wrong] = said(message="success", errors=[error("purchases", 3)])
    outcome = answered(*answers, payloads=[order(0, 80)])
    assert set(outcome.rejected) == {0}


# Answers.


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<p>", b'{"errors": null}'])
@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted"])
def test_a_success_without_errors_is_taken_whatever_it_says(status, body):
    assert answered(answer(status, body=body)) is None


def test_each_object_that_is_refused_of_a_batch_costs_its_own_event():
    payloads = [event(0), attribute(1), event(2), order(3, 2), event(4), order(5)]
    errors = [
        error("events", 1),
        error("purchases", 1, "'quantity' is not valid"),
        error("attributes", 0, "no valid email"),
        error("purchases", 0, "'price' is not valid"),
    ]
    outcome = answered(said(message="success", errors=errors), payloads=payloads)
    assert isinstance(outcome, Partial)
    found = outcome.rejected
    assert {n: one.reason for n, one in found.items()} == {
        1: "Braze refused its attributes",
        2: "Braze refused its events",
        3: "Braze refused its purchases",
    }
    assert json.loads(found[3].detail) == [errors[1], errors[3]]


STRAY = [
    "oops",
    None,
    {},
    {"type": "no", "input_array": "user_identifiers", "index": 0},
]


@pytest.mark.parametrize(
    "stray",
    [
        *STRAY,
        error("events", 2),
        error("events", -1),
        error("events", "0"),
        error([], 0),
    ],
)
def test_an_error_that_names_no_object_costs_no_event_and_is_told(caplog, stray):
    both = [event(0), event(1)]
    assert answered(said(message="success", errors=[stray]), payloads=both) is None
    (record,) = caplog.records
    assert record.getMessage().endswith("1 errors of Braze name no object")
    caplog.clear()
    errors = [stray, error("events", 1)]
    outcome = answered(said(message="success", errors=errors), payloads=both)
    assert set(outcome.rejected) == {1}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("stray", STRAY)
def test_any_error_is_a_lone_event_s(caplog, stray):
    outcome = answered(said(message="success", errors=[stray]))
    assert set(outcome.rejected) == {0}
    assert caplog.records == []


def test_a_400_that_blames_every_event_costs_them_all_at_once():
    errors = [error("events", 0), error("attributes", 0), error("events", 1)]
    bad = said("400 Bad Request", message=NOTHING_VALID, errors=errors)
    outcome = answered(bad, payloads=[event(0), attribute(1), event(2)])
    assert isinstance(outcome, Partial)
    assert set(outcome.rejected) == {0, 1, 2}


def test_a_400_that_blames_some_took_none():
    errors = [error("events", 2), error("events", 1)]
    bad = said("400 Bad Request", message="no", errors=errors)
    outcome = answered(bad, payloads=[event(0), event(1), event(2)])
    assert isinstance(outcome, Rejected)
    assert outcome.index == 1
    assert outcome.reason == "answered 400 Bad Request"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("301 Moved", Misconfigured),
        ("400 Bad Request", Rejected),
        ("401 Unauthorized", Misconfigured),
        ("403 Forbidden", Misconfigured),
        ("404 Not Found", Misconfigured),
        ("408 Request Timeout", Retry),
        ("413 Content Too Large", TooLarge),
        ("422 Unprocessable", Rejected),
        ("429 Rate Limited", Retry),
        ("500 Internal Server Error", Retry),
        ("503 Unavailable", Retry),
    ],
)
def test_other_answers_are_read_by_their_status(caplog, status, outcome):
    found = answered(said(status, message="Sorry"), payloads=[event(0), event(1)])
    assert type(found) is outcome
    assert found.reason == f"answered {status}"
    assert json.loads(found.detail) == {"message": "Sorry"}
    assert KEY not in f"{found!r}{found.detail}{caplog.text}"


def test_a_rate_limit_is_waited_for_until_it_is_reset():
    reset = int(time.time()) + 60
    found = answered(said("429 Rate Limited", f"x-ratelimit-reset: {reset}"))
    assert found.after == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("status", "headers", "after"),
    [
        (429, {"X-RateLimit-Reset": "1700000030"}, 30),
        (429, {"X-RateLimit-Reset": "1699999990"}, -10),
        (429, {"Retry-After": "7", "X-RateLimit-Reset": "1700000030"}, 7),
        (429, {"X-RateLimit-Reset": "soon"}, None),
        (429, {"X-RateLimit-Reset": "9" * 400}, None),
        (429, {}, None),
        # Every answer has it, and says nothing of when the partner is well.
        (503, {"X-RateLimit-Reset": "1700000030"}, None),
        (503, {"Retry-After": "7"}, 7),
    ],
)
def test_how_long_to_wait(status, headers, after):
    lines = [f"{name}: {value}" for name, value in headers.items()]
    with scripted(said(f"{status} No", *lines)) as partner, Session(5) as client:
        response = client.get(partner.url)
    (part,) = split([event(0)], options())
    with pytest.raises(Retry) as caught:
        read(response, part, "braze", 1_700_000_000)
    assert caught.value.after == after


# From a client to the dead letters.

CONF = """
[router]
data_dir = "{{data}}"
partitions = 1

[sources.web]
write_key = "key"

[destinations.crm]
plugin = "braze"
endpoint = "{url}"
api_key = "{key}"
start = "earliest"
"""


def track(n, name="Seen"):
    return {"type": "track", "userId": "u", "event": name, "messageId": f"m{n}"}


def test_of_a_batch_that_is_taken_in_part_the_refused_are_dead_letters(router: Router):
    def script(request):
        found = json.loads(request.body)["events"]
        bad = [n for n, one in enumerate(found) if one["name"].startswith("Bad")]
        yield said(message="success", errors=[error("events", n) for n in bad])

    with scripted(script) as partner:
        names = ["Seen", "Bad A", "Seen", "Seen", "Bad B", "Seen"]
        batch = [track(n, name) for n, name in enumerate(names)]
        router.configure(CONF.format(url=partner.url, key=KEY))
        with router.running():
            assert router.post("/v1/batch", {"batch": batch}).ok
            eventually(lambda: router.row("ledger", "crm")["pending"] == 0)
            letters = router.json("dead-letters", "list", "--all", ok=False)
            row = router.row("ledger", "crm")
    (body,) = bodies(partner)
    assert [one["name"] for one in body["events"]] == names
    assert {one["messageId"] for one in letters} == {"m1", "m4"}
    assert {one["reason"] for one in letters} == {"Braze refused its events"}
    assert (row["delivered"], row["dead"]) == (4, {"rejected": 2})
    assert KEY not in router.log()
