"""Letters that were put back to work, beside the events of the log."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import eventually
from partners import TAKEN, Partner, Site, rejected

NOW = 1_700_000_001_000


@pytest.fixture
def partner() -> Partner:
    return Partner()


@pytest.fixture
def site(tmp_path: Path, partner: Partner) -> Iterator[Site]:
    with partner.served() as url:
        made = Site(tmp_path, partner, url)
        yield made
        made.close()


def die(site: Site, partner: Partner, events: list[tuple[str, int]]) -> list[str]:
    """The partner refuses these; then it takes everything. Returns their ids."""
    partner.script = lambda request: rejected(0)
    ids = site.accept(events)
    with site.delivering():
        eventually(site.is_done, 30)
    assert sorted(site.dead()) == sorted(ids)
    partner.script = lambda request: TAKEN
    return ids


def put_back(site: Site) -> None:
    letters = site.ledger.letters
    wanted = [letter_id for letter_id, _ in letters.dead("shop")]
    assert letters.put_back(wanted, NOW) == wanted


def is_all_sent(site: Site) -> bool:
    return site.is_done() and not site.ledger.counts("shop")["retrying", "retrying"]


def check_adds_up(site: Site) -> None:
    counts = +site.ledger.counts("shop")
    assert counts == {("delivered", "delivered"): site.passed()}


@pytest.mark.parametrize("many", [1, 5])
def test_letters_delay_the_log_by_a_window_of_them_for_each_of_its_own(
    site: Site, partner: Partner, many: int
) -> None:
    site.configure(partitions=1, batch_events=many)
    dead = die(site, partner, [(f"u{n}", n) for n in range(20 * many)])
    put_back(site)
    live = site.accept([(f"v{n}", n) for n in range(10 * many)])
    with site.delivering():
        eventually(lambda: is_all_sent(site))
    by_turns = partner.taken()[: 20 * many]
    assert [n for n, one in enumerate(by_turns) if one in live] == [
        n for n in range(20 * many) if n // many % 2
    ]
    assert [one for one in partner.taken() if one in live] == live
    assert [one for one in partner.taken() if one in dead] == dead
    check_adds_up(site)


def test_all_letters_of_a_user_go_before_his_next_event_and_those_of_others_do_not(
    site: Site, partner: Partner
) -> None:
    site.configure(partitions=1)
    others = [(f"u{n}", n) for n in range(20)]
    die(site, partner, [*others, *(("ada", n) for n in range(10))])
    put_back(site)
    live = site.accept([("eve", 0), ("ada", 10), ("eve", 1)])
    with site.delivering():
        eventually(lambda: is_all_sent(site))
    taken = partner.taken()
    assert taken[:2] == ["u0:0", "eve:0"]
    assert taken[2:14] == ["u1:1", *(f"ada:{n}" for n in range(11))]
    assert taken[14:16] == ["u2:2", "eve:1"]
    assert taken[16:] == [f"u{n}:{n}" for n in range(3, 20)]
    assert live[1] == "ada:10"


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("batch_events", [1, 4])
def test_a_user_is_in_order_whatever_is_put_back_beside_his_events(
    site: Site, partner: Partner, batch_events: int, concurrency: int
) -> None:
    site.configure(batch_events=batch_events, concurrency=concurrency)
    draw = random.Random(7)
    events = [(f"u{draw.randrange(30)}", n) for n in range(300)]
    die(site, partner, events[:200])
    put_back(site)
    site.accept(events[200:])
    with site.delivering():
        eventually(lambda: is_all_sent(site), 30)
    found: dict[str, list[int]] = {}
    for taken in partner.taken():
        user, number = taken.split(":")
        found.setdefault(user, []).append(int(number))
    assert sum(map(len, found.values())) == 300
    assert all(numbers == sorted(numbers) for numbers in found.values())
    check_adds_up(site)


def test_letters_go_out_while_the_log_is_quiet(site: Site, partner: Partner) -> None:
    site.configure(partitions=1)
    dead = die(site, partner, [("ada", n) for n in range(30)])
    with site.delivering():
        put_back(site)
        eventually(lambda: is_all_sent(site))
    assert partner.taken() == dead
