"""A plugin that does not return costs its own lane, and somebody is told."""

import logging

import pytest
from conftest import eventually
from partners import QUICK, Partner, Site

from router import config, reports
from router.gate import Surroundings
from router.ledger import Hold
from router.retry import Policy

PLUGIN = """
import pathlib
import time

from router import hookimpl

GATE = pathlib.Path({gate!r})


def block():
    while not GATE.exists():
        time.sleep(0.01)


@hookimpl
def track(event):
    if event["event"] == "Mapped":
        block()
    return event


@hookimpl
def deliver(payloads):
    if payloads[0]["event"] == "Sent":
        block()
"""

# Of a timeout of 10 s.
SOON = Policy(first=0.01, longest=0.05, least=0.001, late=0.05)


@pytest.fixture
def site(tmp_path):
    partner = Partner()
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        made.configure("shop", partitions=2)
        made.write_plugin("stuck", PLUGIN.format(gate=str(tmp_path / "gate")))
        with (made.conf / "all.toml").open("a") as file:
            file.write('\n[destinations.stuck]\nstart = "earliest"\n')
        yield made
        made.close()


def status(site, destination):
    shared = Surroundings(site.log, site.ledger)
    rows = reports.statuses(config.load(site.conf, {}), shared)
    return next(row for row in rows if row["destination"] == destination)


@pytest.mark.parametrize("name", ["Mapped", "Sent"])
def test_a_hook_that_blocks_holds_its_own_lane_and_says_where(site, name, caplog):
    caplog.set_level(logging.WARNING)
    one, other = site.user_in(0), site.user_in(1)
    with site.delivering(SOON):
        site.accept([(one, 1)], name)
        hold = eventually(lambda: site.hold("stuck"))
        assert (hold.kind, hold.partition) == ("plugin_blocked", 0)
        line = 1 + PLUGIN[: PLUGIN.index(f'"{name}":')].count("\n") + 1
        assert f"{site.plugins / 'stuck.py'}:{line}" in hold.reason
        assert status(site, "stuck")["state"] == "held"
        assert "mend its plugin" in status(site, "stuck")["holds"][0]["remedy"]
        site.accept([(other, 1), (one, 2)])
        eventually(lambda: site.is_done("shop"))
        eventually(lambda: site.passed("stuck") == 1)
        (site.directory / "gate").touch()
        eventually(lambda: site.is_done("stuck"))
        eventually(lambda: site.hold("stuck") is None)
    first, *_, last = [line for line in caplog.messages if line.startswith("stuck")]
    assert "stuck/0: held (plugin_blocked): has not returned for " in first
    # Whoever sees it first: the watch, or the lane as it passes the gate.
    assert "goes on, its plugin has returned" in last or "taken again" in last


def test_a_lane_that_waits_for_its_partner_is_not_blocked(site):
    answers = {"outcome": "retry", "after": 1.0}
    site.partner.script = lambda request: answers
    with site.delivering(SOON):
        site.accept([(site.user_in(0), 1)])
        hold = eventually(lambda: site.hold("shop"))
        for _ in range(20):
            eventually(lambda: site.hold("shop"))
            assert site.hold("shop").kind == hold.kind == "retry_after"
        site.partner.script = lambda request: {"outcome": "taken"}
        eventually(lambda: site.is_done("shop"))


def test_after_a_restart_the_hold_ends_with_what_is_taken(site):
    site.ledger.hold("stuck", Hold("plugin_blocked", "stuck.py:1", 1.0, 2.0, 0))
    with site.delivering(QUICK):
        site.accept([(site.user_in(0), 2)])
        eventually(lambda: site.hold("stuck") is None)
