"""Asks for payloads as JSON, and then treats them as objects."""

from specimens import good
from specimens.good import deliver, identify, track

from router import hookimpl

__all__ = ["deliver", "identify", "track"]

FAILS = {"test_plugin_is_usable": "as the class of the settings has payloads_as_json"}


class Settings(good.Settings):
    payloads_as_json = True


@hookimpl
def settings():
    return Settings
