"""`router dead-letters` over a real gunicorn, with a partner that refuses at first."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import Router, eventually

from router.testing.serving import serve
from router.triage import fold, masked

CONF = """
[router]
data_dir = "{{data}}"
plugin_dirs = ["{plugins}"]

[sources.web]
write_key = "key"

[destinations.shop]
plugin = "shop"
url = "{url}"
token = "hush-hush-secret"
"""

PLUGIN = """
from pydantic import Field, SecretStr

from router import DestinationSettings, hookimpl
from router.client import verdict


class Settings(DestinationSettings):
    url: str = Field(description="the partner")
    token: SecretStr = Field(description="its password")


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event):
    return {{"id": event["messageId"], "who": event["anonymousId"], "cup": {cup}}}


@hookimpl
def deliver(payloads, settings, client):
    headers = {{"X-Token": settings.token.get_secret_value()}}
    verdict(client.post_json(settings.url, payloads[0], headers=headers))
"""

# What the partner wants is a cup of tea.
BROKEN = PLUGIN.format(cup='event["properties"].get("tea", "")')
MENDED = PLUGIN.format(cup='event["properties"].get("tea") or "Earl Grey"')
CANARY = "kim@canary.example"


class Shop:
    """A partner that takes payloads with a cup, slowly if it is told to, and quotes
    what it refuses."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.seconds = 0.0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        payload = json.loads(body)
        time.sleep(self.seconds)
        if payload["cup"]:
            self.taken.append((payload["who"], payload["id"]))
            start_response("200 OK", [])
            return [b"{}"]
        headers = [("X-Request-Id", f"req-{payload['id']}")]
        start_response("422 Unprocessable Entity", headers)
        return [environ["HTTP_X_TOKEN"].encode() + b" sent " + body]


@contextmanager
def broken(router: Router) -> Iterator[Shop]:
    """Gives the router a broken plugin; yields its partner."""
    plugins = router.directory / "plugins"
    plugins.mkdir()
    (plugins / "shop.py").write_text(BROKEN)
    made = Shop()
    with serve(made) as url:
        router.configure(CONF.format(plugins=plugins, url=url))
        yield made


@pytest.fixture
def shop(router: Router) -> Iterator[Shop]:
    """The partner of a router whose plugin is broken."""
    with broken(router) as made:
        yield made


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Router:
    """A router that does not run any more. Its dead letter 1 stays as it is."""
    router = Router(tmp_path_factory.mktemp("ended"))
    with broken(router), router.running():
        send(router, range(1))
    return router


def mend(router: Router) -> None:
    (router.directory / "plugins" / "shop.py").write_text(MENDED)


def wish(number: int, users: int = 7, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Wish", "anonymousId": f"u{number % users}",
            "messageId": f"m{number}", "context": {"traits": {"email": CANARY}},
            "properties": {"wish": CANARY} | properties}  # fmt: skip


def send(router: Router, numbers: range, **properties: Any) -> None:
    """Sends events, and waits until nothing is pending."""
    batch = [wish(number, **properties) for number in numbers]
    for start in range(0, len(batch), 100):
        answer = router.post("/v1/batch", {"batch": batch[start : start + 100]})
        assert answer.ok, answer.text
    eventually(lambda: not router.row("status", "shop")["pending"], 60, every=0.2)


def is_tried(router: Router) -> bool:
    row = router.row("ledger", "shop")
    assert row["balanced"]
    dead, skipped = (sum(row[name].values()) for name in ("dead", "skipped"))
    assert row["accepted"] == row["delivered"] + skipped + dead + row["pending"]
    return not row["pending"]


def check_order(taken: list[tuple[str, str]], many: int) -> None:
    """All came, and each user's in the order in which they were accepted."""
    found: dict[str, list[int]] = {}
    for who, message_id in dict.fromkeys(taken):
        found.setdefault(who, []).append(int(message_id[1:]))
    assert sum(map(len, found.values())) == many
    assert all(numbers == sorted(numbers) for numbers in found.values())


def letters(router: Router, *options: str) -> list[dict[str, Any]]:
    return list(router.json("dead-letters", "list", *options))


def status_of(router: Router, *command: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "router", "dead-letters", *command],
        cwd=router.directory, env=router.environ(), capture_output=True, timeout=60,
    ).returncode  # fmt: skip


def test_a_thousand_letters_of_a_broken_mapping_are_retried_in_order(
    router: Router, shop: Shop
) -> None:
    with router.running("--workers", "2"):
        send(router, range(1000))
        (group,) = letters(router)
        assert (group["destination"], group["code"], group["reason"]) == (
            "shop", "rejected", "answered 422 Unprocessable Entity"
        )  # fmt: skip
        assert (group["count"], group["messageId"]) == (1000, f"m{_last(router)}")
        assert group["first"] <= group["last"]
        assert "dead letters: 1000: router dead-letters list shop" in router.run(
            "status", ok=False
        )
        assert metric(router, "router_dead_letters") == 1000
        assert metric(router, "router_given_up_events") == 1000
    mend(router)
    with router.running("--workers", "2"):
        done = router.json("dead-letters", "retry", "--destination", "shop")
        assert done == {"retrying": 1000, "notOpen": []}
        eventually(lambda: is_tried(router), 60, every=0.2)
        row = router.row("status", "shop")
        assert metric(router, "router_dead_letters") == 0
    assert (row["delivered"], row["dead"], row["deadLetters"]) == (1000, {}, 0)
    assert len(shop.taken) == 1000
    check_order(shop.taken, 1000)
    assert letters(router) == []
    assert {one["state"] for one in letters(router, "--all")} == {"delivered"}
    assert CANARY not in router.log()


def metric(router: Router, name: str) -> float:
    lines = requests.get(f"{router.url}/metrics", timeout=10).text.splitlines()
    (line,) = (one for one in lines if one.startswith(name + "{"))
    return float(line.split()[-1])


def _last(router: Router) -> int:
    newest = letters(router, "--all", "--limit", "1")[0]
    return int(newest["messageId"][1:])


def test_letters_are_retried_through_kill_9_of_the_workers(
    router: Router, shop: Shop
) -> None:
    with router.running():
        send(router, range(300))
    mend(router)
    shop.seconds = 1.0
    assert router.json("dead-letters", "retry", "-d", "shop")["retrying"] == 300
    with router.running("--workers", "2"):
        for kill in range(3):
            many = len(shop.taken)
            eventually(lambda many=many: len(shop.taken) > many)
            eventually(lambda: len(router.workers()) == 2)
            assert not is_tried(router)
            os.kill(router.workers()[kill % 2], signal.SIGKILL)
        shop.seconds = 0.0
        eventually(lambda: is_tried(router), 30, every=0.2)
    check_order(shop.taken, 300)
    # Of each lane of a worker that was killed, the request that was under way.
    assert len(shop.taken) <= 300 + 8 * 3
    assert router.row("ledger", "shop")["delivered"] == 300
    assert Counter(one["state"] for one in letters(router, "--all", "--limit", "999"))[
        "delivered"
    ] == len({*shop.taken})


def test_one_that_fails_again_comes_back_as_the_same_letter(
    router: Router, shop: Shop
) -> None:
    with router.running():
        send(router, range(1))
        (before,) = letters(router, "--all")
        number = str(before["id"])
        assert router.json("dead-letters", "retry", number)["retrying"] == 1
        eventually(lambda: is_tried(router), every=0.2)
        (after,) = letters(router, "--all")
        shown = router.json("dead-letters", "show", number)
    assert {**after, "diedAt": None} == {**before, "diedAt": None, "attempts": 2}
    assert after["diedAt"] > before["diedAt"]
    assert [line["state"] for line in shown["history"]] == ["dead", "retrying", "dead"]


def test_show_masks_bodies_unless_asked_and_secrets_always(
    router: Router, shop: Shop
) -> None:
    with router.running():
        send(router, range(1))
        (letter,) = letters(router, "--code", "rejected")
        number = str(letter["id"])
        shown = router.json("dead-letters", "show", number)
        printed = [router.run("dead-letters", "show", number)]
        unmasked = router.json("dead-letters", "show", number, "--unmask")
        printed.append(router.run("dead-letters", "show", number, "--unmask"))
    assert (shown["requestId"], shown["detail"]) == ("req-m0", "***")
    assert shown["now"]["payload"] == {"id": "***", "who": "***", "cup": ""}
    assert shown["event"]["properties"] == {"wish": "***"}
    assert (shown["event"]["type"], shown["event"]["messageId"]) == ("track", "***")
    assert (shown["now"]["destination"], shown["now"]["messageId"]) == ("shop", "m0")
    assert "req-m0" in printed[0]
    assert CANARY not in printed[0] + json.dumps(shown)
    (request,) = unmasked["now"]["requests"]
    assert json.loads(request["body"]) == {"id": "m0", "who": "u0", "cup": ""}
    assert unmasked["event"]["properties"] == {"wish": CANARY}
    assert unmasked["detail"].endswith('*** sent {"id":"m0","who":"u0","cup":""}')
    assert CANARY in printed[1]
    assert "hush-hush" not in "".join(printed) + json.dumps([shown, unmasked])


def test_what_is_removed_shows_no_answer_as_its_secrets_are_not_known(
    router: Router, shop: Shop
) -> None:
    with router.running():
        send(router, range(1))
    conf = (router.conf / "all.toml").read_text()
    disabled = conf + "enabled = false\n"
    for text in (disabled, conf[: conf.index("[destinations")]):
        (router.conf / "all.toml").write_text(text)
        shown = router.json("dead-letters", "show", "1", "--unmask")
        assert (shown["detail"], shown["now"]) == ("***", None)
        assert shown["event"]["properties"] == {"wish": CANARY}


def test_dropped_letters_keep_their_note_and_are_not_sent(
    router: Router, shop: Shop
) -> None:
    with router.running():
        send(router, range(3))
        ids = sorted(one["id"] for one in letters(router, "--all"))
        assert router.json("dead-letters", "drop", str(ids[0]), "--note", "a test") == {
            "dropped": 1, "notOpen": []
        }  # fmt: skip
        again = router.json("dead-letters", "retry", str(ids[0]), "77", ok=False)
        assert again == {"retrying": 0, "notOpen": [ids[0], 77]}
        assert status_of(router, "retry", str(ids[0])) == 1
        shown = router.json("dead-letters", "show", str(ids[0]))
        row = router.row("status", "shop")
    assert (shown["state"], shown["code"], shown["reason"]) == (
        "dropped", "dropped", "a test"
    )  # fmt: skip
    assert shown["history"][0]["code"] == "rejected"
    assert shown["history"][1]["reason"] == "a test"
    assert (row["dead"], row["deadLetters"]) == ({"rejected": 2, "dropped": 1}, 2)
    assert is_tried(router)
    (explained,) = router.json("explain", shown["messageId"])
    assert explained["state"] == "dropped"
    # Also what waits to be tried again, while no lane runs.
    assert router.row("status", "shop")["oldestPendingSeconds"] is None
    router.json("dead-letters", "retry", str(ids[1]))
    assert router.row("ledger", "shop")["pending"] == 1
    assert router.row("status", "shop")["oldestPendingSeconds"] > 0
    assert [one["id"] for one in letters(router, "--code", "rejected")] == [ids[2]]
    router.json("dead-letters", "drop", str(ids[1]), "--note", "no")
    assert is_tried(router)
    mend(router)
    with router.running():
        send(router, range(3, 4))
    assert [message_id for _, message_id in shop.taken] == ["m3"]


def test_an_edited_event_is_sent_instead(router: Router, shop: Shop) -> None:
    file = router.directory / "event.json"
    with router.running():
        send(router, range(2))
        ids = {one["messageId"]: str(one["id"]) for one in letters(router, "--all")}
        event = router.json("dead-letters", "show", ids["m1"], "--unmask")["event"]
        event["properties"]["tea"] = "Assam"
        file.write_text(json.dumps(event))
        edit = ("dead-letters", "retry", ids["m1"], "--edit", str(file))
        assert router.json(*edit)["retrying"] == 1
        eventually(lambda: is_tried(router), every=0.2)
        shown = router.json("dead-letters", "show", ids["m1"], "--unmask")
    assert shop.taken == [("u1", "m1")]
    assert shown["state"] == "delivered"
    assert [line["reason"] for line in shown["history"][1:]] == [
        "with another event", ""
    ]  # fmt: skip
    # Not a time, nor anything else, has changed on the way.
    assert shown["event"] == event


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"anonymousId": "u2"}, "anonymousId, or userId where there is none,"),
        ({"messageId": "other"}, "messageId must stay as it was"),
        ({"messageId": None}, "messageId must stay as it was"),
        ({"type": "wish"}, "type must be one of"),
        ({"event": 5}, "event must be text"),
        (None, "is no JSON"),
    ],
)
def test_an_edit_that_cannot_be_accepted_is_refused(
    ended: Router, tmp_path: Path, changes: dict[str, Any] | None, complaint: str
) -> None:
    file = tmp_path / "event.json"
    event = ended.json("dead-letters", "show", "1", "--unmask")["event"]
    text = "{oops" if changes is None else json.dumps(event | changes)
    file.write_text(text)
    printed = ended.run("dead-letters", "retry", "1", "--edit", str(file), ok=False)
    assert complaint in printed
    assert "Traceback" not in printed
    (letter,) = letters(ended, "--all")
    assert letter["state"] == "dead"


def test_a_group_is_retried_by_one_of_its_letters(router: Router, shop: Shop) -> None:
    (router.directory / "plugins" / "shop.py").write_text(
        BROKEN.replace("def track(event):", "def track(event):\n    complain(event)")
        + "\n\ndef complain(event):\n"
        "    from router import Rejected\n"
        "    if event['properties'].get('hot'):\n"
        "        raise Rejected(f\"cup {event['messageId'][1:]} of '9' is too hot\")\n"
    )
    with router.running():
        send(router, range(4))
        send(router, range(4, 7), hot="yes")
    groups = letters(router, "shop")
    assert [(one["count"], one["reason"]) for one in groups] == [
        (4, "answered 422 Unprocessable Entity"), (3, "cup * of * is too hot")
    ]  # fmt: skip
    assert groups[1]["problems"] == [
        f"cup {groups[1]['messageId'][1:]} of '9' is too hot"
    ]
    assert "cup * of * is too hot" in router.run("dead-letters", "list")
    assert letters(router, "mail") == []
    like = ("--like", str(groups[1]["id"]))
    assert router.json("dead-letters", "retry", *like)["retrying"] == 3
    assert [one["count"] for one in letters(router)] == [4]
    done = router.json("dead-letters", "drop", "--code", "rejected", "--note", "all")
    assert done["dropped"] == 4


def test_retry_and_drop_want_to_be_told_which(ended: Router) -> None:
    file = str(ended.conf / "all.toml")
    for command in (
        ["retry"],
        ["drop", "--note", "x"],
        ["drop", "1"],
        ["retry", "1", "--code", "rejected"],
        ["retry", "--like", "1", "--code", "rejected"],
        ["retry", "--code", "rejected", "--edit", file],
        ["retry", "one"],
    ):
        assert status_of(ended, *command) == 2, command
    for command in (["show", "9"], ["retry", "--like", "9"]):
        assert status_of(ended, *command) == 1, command
    (letter,) = letters(ended, "--all")
    assert letter["state"] == "dead"


@pytest.mark.parametrize(
    ("reason", "folded"),
    [
        ("answered 422 Unprocessable Entity", "answered 422 Unprocessable Entity"),
        (
            "properties.products[12].sku: required",
            "properties.products[*].sku: required",
        ),
        ("properties.address1: required", "properties.address1: required"),
        ("it's not 'x y', but \"z\"", "it's not *, but *"),
        ("weighs 12.5 of 3", "weighs * of *"),
        ("at 2023-11-14T22:13:20.000Z", "at *"),
        ("no 5f0c2d9e-8d4c-4b8e-9a39-0a4f2b8f1c11 here", "no * here"),
        ("order ord_9912887 is closed", "order * is closed"),
        (
            "the plugin raised KeyError at /a/b.py:12",
            "the plugin raised KeyError at /a/b.py:12",
        ),
    ],
)
def test_messages_of_one_kind_are_one(reason: str, folded: str) -> None:
    assert fold(reason) == folded


def test_a_masked_payload_keeps_its_shape() -> None:
    value = {"a": [1, "x", None, ""], "b": {"c": 0.5, "d": {}}, "e": True}
    assert masked(value) == {
        "a": ["***", "***", None, ""], "b": {"c": "***", "d": {}}, "e": "***"
    }  # fmt: skip


TELLTALE = BROKEN.replace(
    "    verdict(", '    raise Rejected("bad key " + headers["X-Token"])\n    verdict('
).replace("hookimpl\nfrom", "Rejected, hookimpl\nfrom")


def test_a_secret_that_the_plugin_told_is_shown_nowhere(
    router: Router, shop: Shop
) -> None:
    (router.directory / "plugins" / "shop.py").write_text(TELLTALE)
    with router.running():
        send(router, range(1))
    for command in (
        ("show", "1"), ("show", "1", "--unmask"), ("list",), ("list", "--all")
    ):  # fmt: skip
        for more in ((), ("--json",)):
            said = router.run("dead-letters", *command, *more)
            assert "bad key ***" in said
            assert "hush-hush-secret" not in said
