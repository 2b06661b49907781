"""From a request to two destinations, through real gunicorns."""

import os
import re
import resource
import signal
import threading
import time
from collections import defaultdict
from typing import Any

import pytest
import requests
from conftest import CONF, Router, eventually

VIEWED = {
    "type": "track",
    "event": "Product Viewed",
    "properties": {"sku": "S1", "url": "https://shop.example/p/1"},
}


def viewed(user: str, number: int) -> dict[str, Any]:
    return VIEWED | {"anonymousId": user, "messageId": f"{user}:{number}"}


def batch(router: Router, events: list[dict[str, Any]]) -> bool:
    """Whether the router has answered 200; it may be dying."""
    try:
        return router.post("/v1/batch", {"batch": events}).status_code == 200
    except requests.RequestException:
        return False


def first_seen(events: list[dict[str, Any]]) -> dict[str, list[int]]:
    """For each user the numbers of his events, in the order of their first arrival."""
    seen: dict[str, list[int]] = defaultdict(list)
    for event in events:
        user, number = event["messageId"].split(":")
        if int(number) not in seen[user]:
            seen[user].append(int(number))
    return dict(seen)


def test_each_kind_of_call_reaches_the_archive_and_marketing_calls_movable_ink(
    router: Router,
) -> None:
    calls: dict[str, dict[str, Any]] = {
        "identify": {"traits": {"email": "kim@example.org"}},
        "track": VIEWED,
        "page": {"name": "Home"},
        "screen": {"name": "Home"},
        "group": {"groupId": "g"},
        "alias": {"previousId": "a"},
    }
    with router.running():
        for kind, content in calls.items():
            answer = router.post(f"/v1/{kind}", {"userId": "u", **content})
            assert (answer.status_code, answer.json()) == (200, {"success": True})
        eventually(lambda: len(router.archived()) == 6)
        eventually(lambda: len(router.received()) == 2)
        ink = router.row("ledger", "movable_ink")
    assert [event["type"] for event in router.archived()] == list(calls)
    assert (ink["delivered"], ink["skipped"]) == (2, {"unsupported_type": 4})


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--workers", "3"),
        ("--worker-class", "gthread", "--threads", "4", "--workers", "2"),
        ("--preload",),
        ("--preload", "--workers", "2", "--worker-class", "gthread"),
    ],
)
def test_gunicorn_router_works_with_these_workers(
    router: Router, options: tuple[str, ...]
) -> None:
    with router.running(*options):
        assert batch(router, [viewed(f"u{n % 10}", n) for n in range(50)])
        eventually(lambda: len(router.received()) == 50)
        eventually(lambda: len(router.archived()) == 50)
    assert router.stop() == 0
    assert "Traceback" not in router.log()


def test_an_event_is_on_its_way_within_milliseconds_from_any_worker(
    router: Router,
) -> None:
    delays = []
    with router.running("--workers", "4"):
        for number in range(20):
            began = time.monotonic()
            router.post("/v1/track", viewed(f"user{number}", number))
            eventually(lambda n=number: len(router.archived()) > n, every=0.001)
            delays.append(time.monotonic() - began)
    # The poll that catches what no one rang for comes once a second.
    assert sorted(delays)[10] < 0.2


def test_kill_9_of_workers_under_load_loses_nothing_and_keeps_order(
    router: Router,
) -> None:
    acknowledged: dict[str, list[int]] = {f"user{n}": [] for n in range(8)}
    stopping = threading.Event()

    def send(user: str) -> None:
        number = 0
        while not stopping.is_set():
            if batch(router, [viewed(user, number + i) for i in range(3)]):
                acknowledged[user] += range(number, number + 3)
            number += 3

    threads = [threading.Thread(target=send, args=(user,)) for user in acknowledged]
    with router.running("--workers", "3", "--worker-class", "gthread"):
        for thread in threads:
            thread.start()
        for round_ in range(4):
            time.sleep(0.7)
            workers = router.workers()
            os.kill(workers[round_ % len(workers)], signal.SIGKILL)
        stopping.set()
        for thread in threads:
            thread.join()
        eventually(router.is_ready)

        def settled() -> bool:
            return all(row["pending"] == 0 for row in router.json("ledger"))

        eventually(settled, 60, every=0.2)
        ledger = router.json("ledger")
        seen = {"archive": router.archived(), "movable_ink": router.received()}
    sent = sum(map(len, acknowledged.values()))
    assert sent > 100
    for destination, events in seen.items():
        by_user = first_seen(events)
        for user, numbers in acknowledged.items():
            got = by_user.get(user, [])
            assert set(numbers) <= set(got), f"{destination} lost events of {user}"
            assert got == sorted(got), f"{destination}: {user} out of order"
    assert all(row["balanced"] and row["pending"] == 0 for row in ledger)


def test_a_destination_that_was_disabled_gets_what_waited_in_order(
    router: Router,
) -> None:
    with router.running():
        assert batch(router, [viewed("u", 0)])
        eventually(lambda: len(router.received()) == 1)
    router.configure(
        CONF.replace("[destinations.movable_ink]", "[destinations.movable_ink]\n"
                     "enabled = false")
    )  # fmt: skip
    with router.running():
        assert batch(router, [viewed("u", n) for n in range(1, 30)])
        eventually(lambda: len(router.archived()) == 30)
        row = router.row("status", "movable_ink")
        assert (row["state"], row["pending"]) == ("disabled", 29)
    router.configure(CONF)
    with router.running():
        eventually(lambda: len(router.received()) == 30)
        received = router.received()
    assert first_seen(received) == {"u": list(range(30))}
    assert len(received) == 30


def test_sigterm_ends_the_batch_commits_and_repeats_nothing(router: Router) -> None:
    with router.running():
        assert batch(router, [viewed(f"u{n % 5}", n) for n in range(300)])
    with router.running():
        eventually(lambda: len(router.archived()) == 300)
        eventually(lambda: len(router.received()) == 300)
        assert all(row["balanced"] for row in router.json("ledger"))


def test_a_full_disk_is_answered_with_503_and_recovery_needs_no_restart(
    router: Router,
) -> None:
    with router.running("--workers", "2", "--worker-class", "gthread"):
        assert batch(router, [viewed("u", 0)])
        eventually(lambda: all(not row["pending"] for row in router.json("ledger")))
        limits = resource.prlimit(router.workers()[0], resource.RLIMIT_FSIZE)
        for pid in router.workers():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        answer = router.post("/v1/track", viewed("u", 1))
        assert answer.status_code == 503
        assert answer.json()["code"] == "unavailable"
        assert int(answer.headers["Retry-After"]) > 0
        assert requests.get(f"{router.url}/ready", timeout=5).status_code == 503
        for pid in router.workers():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert batch(router, [viewed("u", 2)])
        eventually(lambda: len(router.received()) == 2)
        numbers = first_seen(router.received())["u"]
    assert numbers == [0, 2]


def test_a_partner_that_fails_for_a_while_gets_everything_later(router: Router) -> None:
    faults = "/sandbox/movable_ink/faults"
    with router.running("--workers", "2"):
        requests.post(
            f"{router.url}{faults}", json={"status": 503, "times": 2}, timeout=5
        )
        assert batch(router, [viewed("u", n) for n in range(10)])
        eventually(lambda: len(router.received()) == 10, 20)
        assert first_seen(router.received()) == {"u": list(range(10))}


def test_wrong_credentials_hold_the_destination_and_no_secret_is_logged(
    router: Router,
) -> None:
    router.configure(
        CONF.replace("http://127.0.0.1:${{PORT}}/sandbox/movable_ink/behavioral/"
                     "sandbox", "http://127.0.0.1:${{PORT}}/nowhere/canary-path-key")
        .replace('"sandbox-secret"', '"canary-secret"')
    )  # fmt: skip
    with router.running():
        secret_event = VIEWED | {"userId": "u", "properties": {
            "sku": "canary-sku", "url": "https://shop.example/"}}  # fmt: skip
        assert router.post("/v1/track", secret_event).ok

        def held() -> bool:
            return router.row("status", "movable_ink")["state"] == "held"

        eventually(held, every=0.2)
        row = router.row("status", "movable_ink")
        assert (row["pending"], row["dead"]) == (1, {})
        assert row["holds"][0]["kind"] == "misconfigured"
        assert "404" in row["holds"][0]["reason"]
        assert row["holds"][0]["remedy"].startswith("mend its address or credentials")
        assert len(router.archived()) == 1
    assert "held (misconfigured)" in router.log()
    assert not re.search("canary", router.log())


def test_a_plugin_of_twenty_lines_receives_events_with_no_other_change(
    router: Router,
) -> None:
    plugins = router.directory / "more"
    plugins.mkdir()
    (plugins / "hook.py").write_text(
        "from pydantic import Field\n"
        "from router import DestinationSettings, hookimpl\n"
        "from router.client import verdict\n\n"
        "class Settings(DestinationSettings):\n"
        "    url: str = Field(description='where events go')\n\n"
        "@hookimpl\n"
        "def settings():\n    return Settings\n\n"
        "@hookimpl\n"
        "def track(event):\n    return {'name': event['event']}\n\n"
        "@hookimpl\n"
        "def deliver(payloads, settings, client):\n"
        "    verdict(client.post_json(settings.url, payloads[0]))\n"
    )
    router.configure(
        CONF.replace("sandbox = true", 'sandbox = true\nplugin_dirs = ["more"]')
        + '[destinations.hook]\nurl = "http://127.0.0.1:${{PORT}}/v1/track"\n'
    )
    with router.running():
        assert batch(router, [viewed("u", 0)])
        # It posts to a path that wants a write key, so it is held: it was called.
        eventually(lambda: router.row("status", "hook")["holds"], every=0.2)


def test_a_sandbox_that_raises_costs_only_itself(router: Router) -> None:
    (router.directory / "plugins").mkdir()
    (router.directory / "plugins" / "sandless.py").write_text(
        "from router import hookimpl\n\n\n"
        "@hookimpl\ndef sandbox():\n    raise OSError('no sand')\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n"
    )
    router.configure(CONF + "\n[destinations.sandless]\n")
    with router.running():
        event = {"type": "track", "event": "Product Viewed", "userId": "ann"}
        assert router.post("/v1/track", event).ok
        eventually(lambda: len(router.archived()) == 1)
    said = "sandless: has no sandbox: its hook `sandbox` raised OSError ("
    assert said in router.log()
