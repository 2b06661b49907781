"""What lasts is said when it begins and when it ends, and not in between."""

import logging

import pytest

from router.episodes import MOST_REASONS, Episode

logger = logging.getLogger("router.test")


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(one.levelname, one.getMessage()) for one in caplog.records]


def test_it_is_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    episode = Episode(logger, "it is over")
    episode.end()
    for free in (20, 3):
        episode.begin("the disk is full: %d bytes are free", free)
    episode.end()
    episode.end()
    episode.begin("the disk is full: %d bytes are free", 1)
    assert said(caplog) == [
        ("ERROR", "the disk is full: 20 bytes are free"),
        ("WARNING", "it is over"),
        ("ERROR", "the disk is full: 1 bytes are free"),
    ]


def test_another_reason_is_said_too_once(caplog: pytest.LogCaptureFixture) -> None:
    episode = Episode(logger, "it is over")
    for reason in ("full", "read-only", "full", "read-only"):
        episode.begin("the disk is %s", reason)
    episode.end()
    assert said(caplog) == [
        ("ERROR", "the disk is full"),
        ("ERROR", "the disk is read-only"),
        ("WARNING", "it is over"),
    ]


def test_reasons_that_come_with_requests_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    episode = Episode(logger, "it is over")
    for number in range(2 * MOST_REASONS):
        episode.begin("%s: the disk is full", chr(ord("a") + number))
    assert len(caplog.records) == MOST_REASONS
