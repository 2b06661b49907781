"""A data directory that goes away under a running router: nobody is told that an event
is stored, and nothing begins anew in its place."""

import shutil

import requests
from conftest import eventually

EVENT = {"type": "track", "event": "Product Viewed", "userId": "ann"}


def send(router):
    return router.post("/v1/track", EVENT)


def is_ready(router):
    return requests.get(f"{router.url}/ready", timeout=10).status_code


def are_both_there(router):
    """A worker that starts where nothing is begins anew, as it should."""
    return len([*(router.data / "workers").glob("[!.]*")]) == 2


def test_it_refuses_events_until_the_directory_is_back(router):
    router.start("--workers", "2", "--threads", "4")
    eventually(lambda: are_both_there(router))
    for _ in range(20):
        assert send(router).status_code == 200
    eventually(lambda: len(router.archived()) == 20)
    away = router.data.with_name("away")
    router.data.rename(away)
    assert {send(router).status_code for _ in range(20)} == {503}
    assert is_ready(router) == 503
    shutil.rmtree(router.data, ignore_errors=True)  # what pipes and claims have made
    away.rename(router.data)
    assert {send(router).status_code for _ in range(20)} == {200}
    eventually(lambda: len(router.archived()) == 40, 20)
    assert router.row("ledger", "archive")["balanced"] is True
    assert "Traceback" not in router.log()


def test_it_refuses_events_once_the_directory_is_removed(router):
    with router.running("--workers", "2", "--threads", "4"):
        eventually(lambda: are_both_there(router))
        assert send(router).status_code == 200
        # In one step, as the router makes pipes in it meanwhile.
        router.data.rename(router.data.with_name("away"))
        shutil.rmtree(router.data.with_name("away"))
        assert {send(router).status_code for _ in range(20)} == {503}
        assert is_ready(router) == 503
        assert not list(router.data.glob("log/*.db"))
    assert "Traceback" not in router.log()


def test_it_refuses_events_once_the_log_is_removed(router):
    with router.running("--workers", "2", "--threads", "4"):
        eventually(lambda: are_both_there(router))
        assert send(router).status_code == 200
        shutil.rmtree(router.data / "log", ignore_errors=True)
        assert {send(router).status_code for _ in range(20)} == {503}
        assert is_ready(router) == 503
        assert not list(router.data.glob("log/*.db"))
    assert "Traceback" not in router.log()


def test_it_refuses_events_once_the_log_is_replaced_by_a_copy(router):
    with router.running("--workers", "2", "--threads", "4"):
        eventually(lambda: are_both_there(router))
        assert {send(router).status_code for _ in range(20)} == {200}
        (router.data / "log").rename(router.data / "away")
        shutil.copytree(router.data / "away", router.data / "log")
        assert {send(router).status_code for _ in range(20)} == {503}
        assert is_ready(router) == 503
    assert "is another file than at the start; restart" in router.log()
    assert "Traceback" not in router.log()
