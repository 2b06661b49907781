"""What came in and what became of it, as Prometheus and `router status` are told."""

import base64
import json
import os
import re
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CONF, ROOT, Router, eventually
from prometheus_client.parser import text_string_to_metric_families

from router import config
from router.app import at_log, create_app
from router.counts import Counts
from router.ledger import Ledger
from router.testing.serving import serve

EVENT = {"type": "track", "userId": "u", "event": "Signed Up"}


def scraped(router: Router) -> dict[tuple[str, ...], float]:
    """Every sample of one scrape by its name and labels."""
    answer = requests.get(f"{router.url}/metrics", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples]
    order = ("source", "destination", "state", "code")
    return {
        (one.name, *(one.labels[name] for name in order if name in one.labels)): (
            one.value
        )
        for one in samples
    }


def source(router: Router, name: str) -> dict[str, Any]:
    rows = router.json("status", ok=False)
    return next(row for row in rows if row.get("source") == name)


def has_accepted(router: Router, number: int) -> bool:
    return source(router, "web")["accepted"] == number


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
def test_what_came_in_is_counted_by_source_and_code_over_all_workers(
    router: Router, options: list[str]
) -> None:
    gthread = ["--worker-class", "gthread", "--threads", "2"]
    with router.running("--workers", "3", *gthread, *options):
        for _ in range(20):
            router.post("/v1/batch", {"batch": [EVENT, {**EVENT, "userId": ""}, 5]})
        router.post("/v1/batch", {"batch": []})
        router.post("/v1/track", {**EVENT, "timestamp": "soon"})
        router.post("/v1/track", {**EVENT, "userId": None})
        for number in (1, 2, 2):
            router.post("/v1/batch", {"batch": [{**EVENT, "messageId": number}] * 2})
        router.post("/v1/track", EVENT, key="other")
        router.post("/v1/track", {**EVENT, "writeKey": "another"})
        router.post("/v1/track?writeKey=another", EVENT)
        requests.post(f"{router.url}/v1/track", data=b"{", auth=("key", ""), timeout=9)
        data = base64.b64encode(b'{"userId": "u", "writeKey": "key"}').decode()
        requests.get(f"{router.url}/v1/pixel/track?data={data}", timeout=9)
        expected = {
            ("web", "accepted"): 25, ("web", "duplicate"): 4,
            ("web", "no_user_anon_id"): 21,
            ("web", "invalid_event"): 20, ("web", "empty_batch"): 1,
            ("web", "invalid_timestamp"): 1, ("", "invalid_write_key"): 1,
            ("web", "key_mismatch"): 2, ("web", "invalid_json"): 1,
            ("web", "event_not_defined"): 1,
        }  # fmt: skip

        def arrivals() -> dict[tuple[str, ...], float]:
            found = scraped(router)
            return {
                k[1:]: n for k, n in found.items() if k[0] == "router_arrivals_total"
            }

        eventually(lambda: arrivals() == expected)
        eventually(lambda: scraped(router)["router_pending_events", "archive"] == 0)
        found = scraped(router)
        assert found["router_deliveries_total", "archive", "delivered", ""] == 25
        assert found["router_held", "movable_ink"] == 0
        assert found["router_oldest_pending_seconds", "archive"] == 0
        assert 0 < found["router_log_bytes",] < found["router_log_max_bytes",]
    row = source(router, "web")
    assert (row["accepted"], row["duplicate"]) == (25, 4)
    assert row["codes"]["no_user_anon_id"] == 21
    printed = router.run("status").splitlines()
    assert "no source: invalid_write_key: 1" in printed
    assert [line.split()[0] for line in printed[:3]] == ["source", "web", "web:"]


def test_counts_outlive_a_restart_and_a_second_before_kill_9(router: Router) -> None:
    for number in (1, 2):
        with router.running():
            router.post("/v1/track", EVENT)
            eventually(partial(has_accepted, router, number))
            os.kill(router.workers()[0], signal.SIGKILL)
            eventually(router.is_ready)
    assert source(router, "web")["accepted"] == 2


def test_counts_outlive_a_stop_in_order_and_a_reload(router: Router) -> None:
    with router.running("--workers", "2", "--worker-class", "gthread"):
        for _ in range(20):
            router.post("/v1/track", EVENT)
        before = set(router.workers())
        assert router.process is not None
        router.process.send_signal(signal.SIGHUP)
        eventually(lambda: not before & set(router.workers()))
        eventually(router.is_ready)
        for _ in range(20):
            router.post("/v1/track", EVENT)
    assert source(router, "web")["accepted"] == 40


def test_a_disk_that_is_out_of_order_is_said_and_probes_are_no_arrivals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conf, data = tmp_path / "conf.d", tmp_path / "data"
    conf.mkdir()
    (conf / "all.toml").write_text(CONF.replace("${{PORT}}", "1").format(data=data))
    data.write_text("a file in the place of the folder")
    loaded = config.load(conf, {})
    with serve(create_app(loaded, at_log(loaded))) as url:
        for path in ("/ready", "/metrics"):
            answer = requests.get(f"{url}{path}", timeout=10)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["X-RateLimit-Reset"] == answer.headers["Retry-After"]
        for _ in range(3):
            event = {**EVENT, "writeKey": "key"}
            answer = requests.post(f"{url}/v1/track", json=event, timeout=10)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["X-RateLimit-Reset"] == answer.headers["Retry-After"]
        data.unlink()
        for path in ("/ready", "/ready"):
            assert requests.get(f"{url}{path}", timeout=10).ok
        text = requests.get(f"{url}/metrics", timeout=10).text
    counted = [line for line in text.splitlines() if "arrivals_total{" in line]
    assert counted == ['router_arrivals_total{code="unavailable",source="web"} 3.0']
    http = [one.getMessage() for one in caplog.records if one.name == "router.http"]
    *reasons, end = [one for one in http if not one.startswith("counts ")]
    assert end == "events are stored again"
    # Each of the system's words for it once, however many requests met it.
    assert {one.split(":")[0] for one in reasons} == {"clients get 503"}
    assert len(set(reasons)) == len(reasons)


def test_what_cannot_be_written_is_kept_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("a file in the place of the folder")
    ledger = Ledger(tmp_path / "data")
    counts = Counts(ledger)
    counts.add("web", "accepted", 2)
    counts.write()
    counts.write()
    (said,) = caplog.messages
    assert said.startswith("counts wait for the disk: ")
    caplog.clear()
    (tmp_path / "data").unlink()
    counts.add("web", "accepted")
    counts.write()
    counts.write()
    assert caplog.messages == ["counts are stored again"]
    assert ledger.arrivals.counts() == Counter({("web", "accepted"): 3})
    ledger.close()


def test_no_text_of_a_client_is_in_the_metrics(router: Router) -> None:
    with router.running():
        canary = "canary-7f"
        for body in ({**EVENT, "userId": canary}, {"type": canary}, {canary: canary}):
            router.post("/v1/batch", {"batch": [body]})
            router.post("/v1/track", body, key=canary)
        metrics = requests.get(f"{router.url}/metrics", timeout=10).text
        assert canary not in metrics
        assert canary not in json.dumps(router.json("status", ok=False))


def test_the_alerts_of_the_docs_are_for_metrics_that_there_are(router: Router) -> None:
    with router.running():
        router.post("/v1/track", EVENT)
        answer = requests.get(f"{router.url}/metrics", timeout=10).text
    told = set(re.findall(r"^# TYPE (\w+)", answer, re.MULTILINE))
    docs = (ROOT / "docs" / "operations.md").read_text()
    rules = docs.partition("```yaml")[2].partition("```")[0]
    expressions = " ".join(re.findall("expr: (.*)", rules))
    named = set(re.findall(r"\brouter_\w+", expressions))
    assert len(named) == 7
    assert named <= told
