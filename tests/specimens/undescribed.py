"""Has a setting that only its author understands."""

from specimens import good
from specimens.good import deliver, identify, track

from router import hookimpl

__all__ = ["deliver", "identify", "track"]

FAILS = {"test_settings_are_described": "where events are posted"}


class Settings(good.Settings):
    mode: int = 3


@hookimpl
def settings():
    return Settings
