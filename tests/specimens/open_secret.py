"""Shows passwords and keys in every message about its settings."""

from pydantic import Field, SecretStr
from specimens import good
from specimens.good import deliver, identify, track

from router import hookimpl

__all__ = ["deliver", "identify", "track"]

FAILS = {
    "test_secrets_are_secret": "the settings proxy_password, key, access_key, apikey, "
    "my_write_key, passphrase, credential, credentials: expected SecretStr"
}


class Settings(good.Settings):
    proxy_password: str = Field("", description="of the proxy")
    key: str = Field("", description="of the account")
    access_key: str = Field("", description="of the bucket")
    apikey: str = Field("", description="of the API")
    my_write_key: str = Field("", description="of a source there")
    passphrase: str = Field("", description="of the key")
    credential: str = Field("", description="of the account")
    credentials: list[str] = Field([], description="of the accounts")
    # And what is none.
    signing_keys: list[SecretStr] = Field([], description="what requests are signed by")
    sort_key: str = Field("", description="what rows are sorted by")
    keyspace: str = Field("", description="where rows go")
    access_key_id: str = Field("", description="which key it is")


@hookimpl
def settings():
    return Settings
