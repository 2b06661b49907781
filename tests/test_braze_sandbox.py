"""The imitation of Braze: what it takes and refuses, and the way there."""

import contextlib
import re

import pytest
import requests
from conftest import ROOT, Router, eventually

from plugins import braze
from plugins.braze.settings import Settings
from router import Partial, Rejected, codec
from router.client import Session
from router.testing.serving import serve

KEY = "sandbox-key"
AT = "2024-03-04T15:32:56.409Z"
SEEN = {"name": "Seen", "time": AT}
LAMP = {"product_id": "P9", "currency": "EUR", "price": 12.5, "time": AT}
USER = {"external_id": "u1"}


class Sandbox:
    """A client of the sandbox."""

    def __init__(self, base, folder, **keys):
        self.settings = Settings(endpoint=base, api_key=KEY, **keys)
        self.settings.placed("braze", folder)
        self.base = base

    def post(self, value, key=KEY):
        data = value if isinstance(value, bytes) else codec.dumps(value)
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{self.base}/users/track"
        return requests.post(url, data=data, headers=headers, timeout=10)

    def users(self):
        return requests.get(f"{self.base}/users", timeout=10).json()["users"]

    def deliver(self, *events):
        """Maps events and delivers them in one batch."""
        payloads = [
            getattr(braze, one["type"])(event=one, settings=self.settings)
            for one in events
        ]
        with Session(timeout=5) as client:
            braze.deliver(payloads=payloads, settings=self.settings, client=client)


@contextlib.contextmanager
def opened(folder, **keys):
    settings = Settings(endpoint="http://x", api_key=KEY, **keys).placed(
        "braze", folder
    )
    with serve(braze.sandbox(settings=settings)) as base:
        yield Sandbox(base, folder, **keys)


@pytest.fixture
def sandbox(tmp_path):
    with opened(tmp_path) as made:
        yield made


def call(kind, **members):
    return {"type": kind, "userId": "u1", "timestamp": AT, **members}


@pytest.mark.parametrize("key", ["wrong", "", "sandbox-ke", "é"])
def test_the_key_comes_first(sandbox, key):
    answer = sandbox.post(b"{", key)
    assert (answer.status_code, answer.json()) == (401, {"message": "Invalid API key"})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"events": {}}'])
def test_what_is_no_request_is_refused(sandbox, body):
    answer = sandbox.post(body)
    assert (answer.status_code, answer.json()) == (400, {"message": "Bad syntax"})


def test_it_counts_what_it_takes(sandbox):
    events, purchases = [USER | SEEN] * 2, [USER | LAMP]
    answer = sandbox.post({"events": events, "purchases": purchases})
    assert answer.status_code == 201
    assert answer.json() == {
        "message": "success",
        "events_processed": 2,
        "purchases_processed": 1,
    }


@pytest.mark.parametrize("keys", [{}, {"monthly_active_users": True}])
def test_it_takes_as_many_objects_as_braze(tmp_path, keys):
    most = 50 if keys else 75
    full = [USER | SEEN] * most
    with opened(tmp_path, **keys) as sandbox:
        assert sandbox.post({"events": full}).status_code == 201
        answer = sandbox.post({"events": [*full, USER | SEEN]})
        assert answer.status_code == 400
        assert answer.json()["message"] == "Max Input Length Exceeded"
        both = sandbox.post({"events": full, "attributes": [USER]})
        assert both.status_code == 400


WRONG = [
    ("events", SEEN, "'phone' is required"),
    ("events", USER | {"name": "Seen"}, "'time' is required"),
    ("events", USER | {"time": AT}, "'name' is required"),
    ("events", "x", "'phone' is required"),
    ("attributes", {"plan": "gold"}, "'phone' is required"),
    ("attributes", USER | {"email": "no"}, "not a valid email"),
    ("purchases", USER | LAMP | {"quantity": 101}, "'quantity' is not valid"),
    ("purchases", USER | LAMP | {"quantity": 1.5}, "'quantity' is not valid"),
    ("purchases", USER | LAMP | {"price": "12"}, "'price' is not valid"),
    ("purchases", USER | LAMP | {"price": None}, "'price' is required"),
    ("purchases", USER | LAMP | {"currency": ""}, "'currency' is required"),
]


@pytest.mark.parametrize(("kind", "one", "said"), WRONG)
def test_what_is_wrong_is_named_and_the_rest_is_taken(sandbox, kind, one, said):
    right = {"events": SEEN, "attributes": {}, "purchases": LAMP}[kind] | USER
    answer = sandbox.post({kind: [right, one, right]})
    assert answer.status_code == 201
    assert answer.json()[f"{kind}_processed"] == 2
    (error,) = answer.json()["errors"]
    assert (error["input_array"], error["index"]) == (kind, 1)
    assert said in error["type"]
    alone = sandbox.post({kind: [one]})
    assert alone.status_code == 400
    assert alone.json()["message"].startswith("Valid data must be provided")
    assert alone.json()["errors"] == [error | {"index": 0}]


def test_an_alias_is_made_only_where_it_is_asked_for(sandbox):
    alias = {"user_alias": {"alias_name": "a1", "alias_label": "anonymous_id"}}
    assert sandbox.post({"events": [alias | SEEN]}).status_code == 201
    assert sandbox.users() == []
    sandbox.deliver(call("track", event="Seen", userId=None, anonymousId="a1"))
    sandbox.post({"events": [alias | SEEN]})
    (user,) = sandbox.users()
    assert user["user_alias"] == alias["user_alias"]
    assert len(user["events"]) == 2


def test_what_the_mapping_makes_is_taken_and_shown_by_profile(sandbox):
    products = [
        {"sku": "P9", "price": "12.5", "quantity": 101},
        {"sku": "P8", "price": 1},
    ]
    sandbox.deliver(
        call("identify", traits={"firstName": "Kim", "plan": "gold"}),
        call("track", event="Seen", properties={"n": 1}),
        call(
            "track",
            event="Order Completed",
            properties={"currency": "EUR", "products": products},
        ),
    )
    sandbox.deliver(call("identify", traits={"plan": None, "city": "Basel"}))
    (user,) = sandbox.users()
    bought = [(one["product_id"], one["quantity"]) for one in user["purchases"]]
    assert user["external_id"] == "u1"
    assert user["attributes"] == {"first_name": "Kim", "city": "Basel"}
    assert user["events"] == [{**SEEN, "properties": {"n": 1}}]
    assert bought == [("P9", 100), ("P9", 1), ("P8", 1)]
    assert requests.delete(f"{sandbox.base}/users", timeout=10).status_code == 204
    assert sandbox.users() == []


def test_of_a_batch_the_one_that_is_wrong_is_refused(sandbox):
    wrong = call("identify", userId="u2", traits={"email": "nobody"})
    with pytest.raises(Partial) as caught:
        sandbox.deliver(call("identify", traits={"a": 1}), wrong)
    ((position, refused),) = caught.value.rejected.items()
    assert (position, type(refused)) == (1, Rejected)
    assert "not a valid email" in refused.detail
    assert [user["external_id"] for user in sandbox.users()] == ["u1"]


DOCS = (ROOT / "docs" / "braze.md").read_text()


@pytest.fixture
def routed(router: Router, monkeypatch: pytest.MonkeyPatch) -> Router:
    """A router whose only destination is the example of the docs, to the sandbox."""
    monkeypatch.setenv("BRAZE_API_KEY", "a-key")
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    sandbox = f'"http://127.0.0.1:{router.port}/sandbox/braze"'
    written = re.sub(r'"https://rest[^"]+"', sandbox, example)
    assert written != example
    conf = (router.conf / "all.toml").read_text()
    (router.conf / "all.toml").write_text(conf.partition("[destinations")[0])
    (router.conf / "braze.toml").write_text(written)
    return router


def users_of(router):
    return requests.get(f"{router.url}/sandbox/braze/users", timeout=10).json()["users"]


def test_the_example_of_the_docs_runs_against_the_sandbox(routed: Router) -> None:
    with routed.running():
        event = {"type": "track", "userId": "u", "event": "Seen"}
        assert routed.post("/v1/batch", {"batch": [event]}).ok
        (user,) = eventually(lambda: users_of(routed))
    assert user["external_id"] == "u"
    assert [one["name"] for one in user["events"]] == ["Seen"]


def test_orders_of_any_size_arrive_once_and_whole(routed: Router) -> None:
    sizes = [3] * 60 + [80]
    batch = [
        {
            "type": "track",
            "userId": "u",
            "event": "Order Completed",
            "properties": {
                "order_id": n,
                "currency": "EUR",
                "products": [{"sku": f"{n}-{i}", "price": 1} for i in range(size)],
            },
        }
        for n, size in enumerate(sizes)
    ]
    with routed.running():
        assert routed.post("/v1/batch", {"batch": batch}).ok
        eventually(lambda: routed.row("ledger", "braze")["delivered"] == len(batch))
        (user,) = users_of(routed)
    bought = [one["product_id"] for one in user["purchases"]]
    assert bought == [f"{n}-{i}" for n, size in enumerate(sizes) for i in range(size)]
