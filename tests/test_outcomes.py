"""What a partner's answer leads to, from its bytes on the wire to the ledger."""

import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from conftest import eventually, held_port
from partners import Site

from router.ledger import ALL_PARTITIONS, Hold
from router.retry import LONGEST_RETRY_AFTER, Policy
from router.testing.scripted import CLOSE, RESET, answer, scripted

PLUGIN = """
from pydantic import Field

from router import DestinationSettings, hookimpl
from router.client import verdict


class Settings(DestinationSettings):
    url: str = Field(description="the scripted partner")


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event):
    return {"id": event["messageId"]}


@hookimpl
def deliver(payloads, settings, client):
    verdict(client.post_json(settings.url, payloads))
"""

# Waits are short, and as long each time, so that holds can be looked at.
STEADY = Policy(first=0.2, longest=0.2, draw=lambda low, high: high)
OK = answer()


@pytest.fixture(autouse=True)
def nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made = []

    def make(url: str, **keys: Any) -> Site:
        # Only the address counts of this partner: the scripted one is another.
        site = Site(tmp_path, None, url)  # type: ignore[arg-type]
        made.append(site)
        site.write_plugin("wired", PLUGIN)
        site.configure(plugin="wired", **keys)
        return site

    yield make
    for site in made:
        site.close()


def ids_of(partner: Any) -> list[list[str]]:
    return [[p["id"] for p in json.loads(r.body)] for r in partner.requests]


def counts(site: Site) -> dict[tuple[str, str], int]:
    return dict(site.ledger.counts("shop"))


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_taken(make_site, status):
    with scripted(answer(f"{status} Fine")) as partner:
        site = make_site(partner.url)
        with site.delivering(STEADY):
            site.accept([("ada", n) for n in range(3)])
            eventually(site.is_done)
    assert counts(site) == {("delivered", "delivered"): 3}
    assert ids_of(partner) == [["ada:0"], ["ada:1"], ["ada:2"]]


RETRIED = {
    **{f"{n}": answer(f"{n} Oops") for n in (408, 425, 429, 500, 502, 503, 504, 599)},
    "reset": (RESET,),
    "closed": (CLOSE,),
    "half an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx", CLOSE),
    "no HTTP": (b"hello\r\n\r\n", CLOSE),
    "too late": (30.0,),
}


@pytest.mark.parametrize("script", RETRIED.values(), ids=RETRIED)
def test_sent_again_until_it_is_taken_and_before_what_comes_after(make_site, script):
    with scripted(script, script, OK) as partner:
        site = make_site(partner.url, timeout="500ms")
        with site.delivering(STEADY):
            site.accept([("ada", n) for n in range(3)])
            eventually(site.is_done)
    assert counts(site) == {("delivered", "delivered"): 3}
    assert ids_of(partner) == [["ada:0"]] * 3 + [["ada:1"], ["ada:2"]]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((n, "rejected") for n in (400, 405, 406, 409, 410, 411, 415, 418, 422, 451)),
        (413, "event_too_large"),
    ],
)
def test_a_dead_letter_with_what_the_partner_said_and_its_neighbours_go_out(
    make_site, status, code
):
    def script(request):
        is_guilty = b"ada:1" in request.body
        said = answer(f"{status} No", "X-Request-Id: r-7", body=b"not that")
        yield said if is_guilty else OK

    with scripted(script) as partner:
        site = make_site(partner.url, batch_events=3)
        with site.delivering(STEADY):
            site.accept([("ada", n) for n in range(3)])
            eventually(site.is_done)
    assert counts(site) == {("delivered", "delivered"): 2, ("dead", code): 1}
    (letter,) = site.ledger.dead_letters("shop")
    assert (letter.message_id, letter.reason) == ("ada:1", f"answered {status} No")
    assert letter.detail == "x-request-id: r-7\nnot that"
    assert ids_of(partner)[-1] == ["ada:2"]


@pytest.mark.parametrize("status", [401, 403, 404, 407, 301, 302, 303, 307, 308])
def test_held_at_once_with_reason_and_goes_on_when_mended(make_site, status):
    wrong = answer(f"{status} Wrong", "Location: /elsewhere")
    with scripted(wrong, wrong, OK) as partner:
        site = make_site(partner.url)
        with site.delivering(STEADY):
            site.accept([("ada", n) for n in range(3)])
            hold = eventually(site.hold)
            assert (hold.kind, hold.partition) == ("misconfigured", ALL_PARTITIONS)
            assert hold.reason == f"answered {status} Wrong"
            eventually(site.is_done)
    assert counts(site) == {("delivered", "delivered"): 3}
    assert {request.line for request in partner.requests} == {"POST /shop HTTP/1.1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_partner_that_is_not_there_is_waited_for(make_site, host):
    with held_port() as nobody:
        site = make_site(f"http://{host}:{nobody.getsockname()[1]}", partitions=1)
        with site.delivering(STEADY):
            site.accept([("ada", 0)])
            eventually(lambda: (hold := site.hold()) and hold.probes >= 2, 60)
            hold = site.hold()
            assert (hold.kind, hold.reason) == ("retry", "no answer: ConnectionError")
        assert counts(site) == {}


def test_a_certificate_that_is_not_trusted_is_waited_for(make_site, tmp_path):
    (tmp_path / "tls").mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=elsewhere"),
        ],
        cwd=tmp_path / "tls",
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "tls/cert.pem", tmp_path / "tls/key.pem")
    with scripted(OK, tls=tls) as partner:
        site = make_site(partner.url)
        with site.delivering(STEADY):
            site.accept([("ada", 0)])
            hold = eventually(site.hold)
            assert (hold.kind, hold.reason) == ("retry", "no answer: SSLError")
    assert partner.requests == []
    assert counts(site) == {}


# How long the partner asks to wait.


def asked(make_site: Callable[..., Site], header: str) -> tuple[Hold, float]:
    """The hold that an answer with this Retry-After makes, and its seconds."""
    with scripted(answer("503 Down", f"Retry-After: {header}")) as partner:
        site = make_site(partner.url)
        slow = Policy(first=50.0, longest=50.0, draw=lambda low, high: high)
        with site.delivering(slow):
            site.accept([("ada", 0)])
            hold = eventually(site.hold)
        return hold, hold.until - hold.since


TEN_YEARS = 10 * 365 * 86400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        (lambda: formatdate(time.time() + 30, usegmt=True), 30),
        (str(TEN_YEARS), LONGEST_RETRY_AFTER),
        (lambda: formatdate(time.time() + TEN_YEARS, usegmt=True), LONGEST_RETRY_AFTER),
    ],
)
def test_the_whole_destination_waits_as_asked_within_reason(make_site, header, seconds):
    hold, waits = asked(make_site, header() if callable(header) else header)
    assert (hold.kind, hold.partition) == ("retry_after", ALL_PARTITIONS)
    assert waits == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize(
    "header",
    [
        *("-5", "0", "soon", "", "1e9", "nan", "9" * 400, "30; 40"),
        formatdate(1_000_000_000, usegmt=True),
        "Mon, 99 Foo 2024 99:99:99 GMT",
    ],
)
def test_what_asks_for_no_time_is_waited_for_as_if_it_had_not_asked(make_site, header):
    hold, waits = asked(make_site, header)
    assert hold.kind == "retry"
    assert waits == pytest.approx(50, abs=1)


def test_every_process_waits_as_asked_after_a_restart_too(make_site):
    with scripted(answer("429 Slow", "Retry-After: 6"), OK) as partner:
        site = make_site(partner.url)
        with site.process() as first:
            with site.process():
                site.accept([("ada", 0)])
                hold = eventually(site.hold, 30)
                asked_at = time.monotonic()
                site.accept([(f"u{n}", n) for n in range(12)])
            first.kill()
            first.wait()
        with site.process(), site.process():
            # A start lets other holds be probed at once.
            eventually(lambda: len(partner.requests) > 1 or time.time() > hold.until)
            assert time.monotonic() - asked_at > 5
            eventually(site.is_done, 30)
    assert hold.until - hold.since == pytest.approx(6, abs=0.1)
    assert counts(site) == {("delivered", "delivered"): 13}
    assert len(partner.requests) == 14


def test_each_stream_of_a_lane_keeps_one_connection(make_site):
    with scripted(OK) as partner:
        site = make_site(partner.url, concurrency=3)
        with site.delivering(STEADY):
            site.accept([(f"u{n % 40}", n) for n in range(200)])
            eventually(site.is_done)
    assert len(partner.requests) == 200
    assert partner.connections <= 4 * 3
