"""What a probe of a held destination finds is what `router status` tells of it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import eventually
from partners import BUG, PLUGIN, QUICK, TAKEN, Partner, Site, retry
from partners import MISCONFIGURED as WRONG_KEY

from router.gate import CIRCUIT, MISCONFIGURED, RETRY_AFTER
from router.ledger import ALL_PARTITIONS, Hold
from router.retry import Policy

# Waits of a fixed length, and of one that outlasts a test.
STEADY = Policy(first=0.3, longest=0.3, draw=lambda low, high: high)
LONG = Policy(first=600.0, longest=600.0, draw=lambda low, high: high)


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
def site(tmp_path: Path, partner: Partner) -> Iterator[Site]:
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        made.configure(partitions=2)
        yield made
        made.close()


def hold(site: Site, kind: str = MISCONFIGURED, reason: str = "answered 404") -> None:
    """Holds the destination, which may be probed at once."""
    now = time.time()
    site.ledger.hold("shop", Hold(kind, reason, now, now))


def is_held(site: Site, kind: str) -> Hold | None:
    """The hold of the whole destination, if it is of that kind."""
    holds = [one for one in site.ledger.holds("shop") if one.kind == kind]
    return next((one for one in holds if one.partition == ALL_PARTITIONS), None)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_who_asks_for_time_is_given_it_and_is_wrong_no_more(site, partner, caplog):
    partner.script = lambda r: retry(0.7) if len(partner.sent()) < 2 else TAKEN
    hold(site)
    with site.delivering(LONG):
        ids = site.accept([("ada", 0)])
        found = eventually(lambda: is_held(site, RETRY_AFTER))
        assert (found.reason, found.probes) == ("unwell", 0)
        eventually(site.is_done)
    first, second = partner.sent()
    assert 0.69 < second.began - first.began < 5
    assert partner.taken() == ids
    assert site.ledger.holds("shop") == []
    assert lines(caplog) == ["shop: no longer held (misconfigured): unwell"]


def test_a_probe_that_fails_otherwise_is_told_beside_what_is_to_be_mended(
    site, partner
):
    partner.script = lambda request: retry()
    hold(site)
    with site.delivering(QUICK):
        site.accept([("ada", 0)])
        # However many fail, only the last is told.
        eventually(lambda: site.hold().probes > 2)
        found = is_held(site, MISCONFIGURED)
        assert found.reason == "answered 404; last probe: unwell"
        partner.script = lambda request: WRONG_KEY
        eventually(lambda: site.hold().reason == "wrong key")


def test_what_was_under_way_does_not_end_a_hold_that_was_made_meanwhile(site, partner):
    users = [site.user_in(0), site.user_in(1)]

    def answer(request):
        if request.ids == (f"{users[0]}:0",):
            # Its answer comes after the other's.
            eventually(lambda: is_held(site, MISCONFIGURED))
            return retry(0.1)
        return WRONG_KEY

    partner.script = answer
    with site.delivering(LONG):
        site.accept([(users[0], 0)])
        eventually(partner.sent)
        site.accept([(users[1], 0)])
        eventually(lambda: is_held(site, MISCONFIGURED))
        time.sleep(0.5)
        assert site.hold().reason == "wrong key"
    assert len(partner.sent()) == 2


@pytest.mark.parametrize("kind", [MISCONFIGURED, CIRCUIT, RETRY_AFTER])
@pytest.mark.parametrize("batch_events", [1, 8])
def test_a_probe_that_meets_a_bug_holds_for_the_bug(
    site, partner, caplog, kind, batch_events
):
    site.configure(partitions=1, batch_events=batch_events)
    partner.script = lambda request: BUG
    hold(site, kind)
    ids = site.accept([("ada", n) for n in range(20)])
    raised = PLUGIN.splitlines().index("            raise ZeroDivisionError") + 1
    reason = f"ZeroDivisionError at {site.plugins / 'scripted.py'}:{raised}"
    with site.delivering(Policy(first=0.05, longest=0.05, least=0.01, stall_after=3)):
        found = eventually(lambda: is_held(site, "plugin_error"))
        assert found.reason == reason
        assert f"shop: held (plugin_error): {reason}" in lines(caplog)
        # A bug costs its own event, but not every event.
        eventually(lambda: len(site.ledger.holds("shop")) == 2)
        assert len(site.dead()) < len(ids)
        partner.script = lambda request: TAKEN
        eventually(site.is_done)
    assert site.ledger.holds("shop") == []
    assert site.dead() + partner.taken() == ids
    assert "shop: taken again, was held: plugin_error" in lines(caplog)
    site.check_ledger()


def test_an_event_that_meets_a_bug_does_not_hold_a_mended_destination_for_long(
    site, partner
):
    site.configure(partitions=1)
    hold(site)
    partner.script = lambda r: BUG if r.ids == ("ada:0",) else TAKEN
    ids = site.accept([("ada", n) for n in range(4)])
    with site.delivering(STEADY):
        eventually(site.is_done)
    assert site.dead() == ids[:1]
    assert partner.taken() == ids[1:]
    assert site.ledger.holds("shop") == []
