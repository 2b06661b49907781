"""The settings of a Braze destination."""

from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from router import DestinationSettings, hookimpl
from router.settings import BaseURL

# Braze takes so many objects of each kind in one request; of those who have bought
# "Monthly Active Users - CY 24-25", so many of all kinds together.
MOST_OF_EACH_KIND = 75
MOST_TOGETHER = 50


class Settings(DestinationSettings):
    """The keys of `[destinations.NAME]` with `plugin = "braze"`."""

    integration_names: ClassVar[tuple[str, ...]] = ("Braze", "Appboy")

    batch_events: int = Field(
        MOST_OF_EACH_KIND,
        ge=1,
        le=MOST_OF_EACH_KIND,
        description="events in one request, at most",
    )

    endpoint: BaseURL = Field(
        min_length=1,
        description="your REST endpoint, such as https://rest.iad-01.braze.com",
    )
    api_key: SecretStr = Field(
        description="a REST API key with the permission users.track"
    )
    app_id: str = Field("", description="the app that events and purchases are of")
    currency: str = Field(
        "",
        pattern="^([A-Za-z]{3})?$",
        description="of orders that name none, such as EUR; else these are refused",
    )
    anonymous_users: bool = Field(
        True, description="false: only events that have a userId"
    )
    alias_label: str = Field(
        "anonymous_id", min_length=1, description="of the aliases of anonymous users"
    )
    pages: bool = Field(False, description="true: page and screen calls are events too")
    monthly_active_users: bool = Field(
        False,
        description='true if you have bought "Monthly Active Users - CY 24-25": '
        f"{MOST_TOGETHER} objects a request, not {MOST_OF_EACH_KIND} of each kind",
    )

    @field_validator("endpoint")
    @classmethod
    def _endpoint_has_no_path_of_ours(cls, value: str) -> str:
        base = value.rstrip("/")
        if base.endswith("/users/track"):
            raise ValueError("is expected without /users/track, which is added")
        return base

    @field_validator("api_key")
    @classmethod
    def _api_key_can_be_sent(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text or not all("!" <= character <= "~" for character in text):
            raise ValueError("expected a key as Braze shows it, without blanks")
        return SecretStr(text)


@hookimpl
def settings() -> type[Settings]:
    return Settings
