"""Windows of a real log: what may be under way at once."""

from functools import partial

import pytest
from partners import PLUGIN, Partner, Site

from router import config
from router.window import PAGE_RECORDS, windows

LEAN = f"{PLUGIN}\n\nSettings.payloads_as_json = True\n"


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path, Partner(), "http://127.0.0.1:1")
    made.configure(partitions=1)
    yield made
    made.close()


def read(site, offset=0, **keys):
    """The windows from an offset on, for a destination with these keys."""
    site.configure(partitions=1, **keys)
    destination = config.load(site.conf, {}).destinations["shop"]
    page = partial(site.log.read, 0, limit=PAGE_RECORDS)
    return list(windows(page, destination, offset))


def batches(window):
    """The ids in each batch of a window."""
    return [
        [one.payload["id"] for one in batch.deliveries]
        for batch in window.batches
        if batch.deliveries
    ]


def test_a_window_keeps_of_an_event_only_what_is_sent(site):
    site.accept([("ada", 0)])
    (whole,) = read(site)[0].deliveries
    assert whole.payload == {"id": "ada:0"}
    assert "event" not in vars(whole.record)
    site.write_plugin("lean", LEAN)
    (lean,) = read(site, plugin="lean")[0].deliveries
    assert (lean.payload, lean.json) == (None, b'{"id":"ada:0"}')


def test_a_log_without_news_has_no_window(site):
    site.accept([("ada", 0)])
    assert read(site, offset=1) == []


def test_a_window_is_a_batch_where_there_is_one_stream(site):
    site.accept([("ada", n) for n in range(8)])
    found = [len(one.deliveries) for one in read(site, offset=1, batch_events=3)]
    assert found == [3, 3, 1]


def test_a_batch_keeps_to_its_bytes_with_the_commas_but_takes_one_that_is_larger(site):
    site.accept([("ada", n) for n in range(8)])
    size = len('{"id":"ada:0"}')
    for limit, expected in [
        (3 * (size + 1), [3, 3, 2]),
        (3 * (size + 1) - 1, [2] * 4),
        (1, [1] * 8),
    ]:
        found = read(site, batch_events=8, batch_bytes=limit)
        assert [len(one.deliveries) for one in found] == expected


def test_each_user_has_one_batch_and_a_new_one_gets_the_emptiest(site):
    users = ["a", "b", "a", "c", "a", "b", "d"]
    ids = site.accept([(user, n) for n, user in enumerate(users)])
    (first, second) = read(site, batch_events=3, concurrency=2)
    assert batches(first) == [["a:0", "a:2", "a:4"], ["b:1", "c:3", "b:5"]]
    assert batches(second) == [[ids[6]]]


def test_a_window_ends_at_an_event_that_its_users_batch_has_no_room_for(site):
    site.accept([("a", 0), ("a", 1), ("b", 2)])
    found = [batches(one) for one in read(site, concurrency=2)]
    assert found == [[["a:0"]], [["a:1"], ["b:2"]]]


def test_what_is_not_sent_is_in_the_window_without_ending_it(site):
    site.accept([("a", 0)])
    site.accept([("a", 1)], name="Unknown")
    site.accept([("a", 2)])
    (window,) = read(site, batch_events=2)
    assert [one.state for one in window.deliveries] == [None, "skipped", None]


def test_however_much_is_skipped_a_window_has_an_end(site):
    many = 2 * PAGE_RECORDS + 5
    site.accept([("a", n) for n in range(many)], name="Unknown")
    found = [len(one.deliveries) for one in read(site)]
    assert found == [PAGE_RECORDS, PAGE_RECORDS, 5]


def test_a_bug_in_the_mapping_begins_a_window(site):
    site.accept([("a", 0)])
    site.accept([("a", 1)], name="Bug")
    site.accept([("a", 2)])
    found = read(site, batch_events=9)
    assert [[one.code for one in window.deliveries] for window in found] == [
        [""],
        ["plugin_error", ""],
    ]
