"""What lasts is said when it begins and when it ends, and not in between."""

import logging

import pytest

from router.episodes import Episode

logger = logging.getLogger("router.test")


def test_it_is_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    episode = Episode(logger, "it is over")
    episode.end()
    for disk in ("first", "second"):
        episode.begin("the %s disk is full", disk)
    episode.end()
    episode.end()
    episode.begin("the %s disk is full", "third")
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("ERROR", "the first disk is full"),
        ("WARNING", "it is over"),
        ("ERROR", "the third disk is full"),
    ]
