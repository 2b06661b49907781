"""Shows a password in every message about its settings."""

from pydantic import Field
from specimens import good
from specimens.good import deliver, identify, track

from router import hookimpl

__all__ = ["deliver", "identify", "track"]

FAILS = {"test_secrets_are_secret": "SecretStr"}


class Settings(good.Settings):
    proxy_password: str = Field("", description="of the proxy")


@hookimpl
def settings():
    return Settings
