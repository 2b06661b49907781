"""The settings of a Braze destination."""

from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from router import DestinationSettings, hookimpl
from router.settings import BaseURL

# Braze takes so many objects in one request, of all kinds together; and so many from
# those whose contract counts monthly active users.
MOST_OBJECTS = 75
MOST_OBJECTS_BY_USERS = 50


class Settings(DestinationSettings):
    """The keys of `[destinations.NAME]` with `plugin = "braze"`."""

    integration_names: ClassVar[tuple[str, ...]] = ("Braze", "Appboy")

    batch_events: int = Field(
        MOST_OBJECTS,
        ge=1,
        le=MOST_OBJECTS,
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
        description="true if your contract counts monthly active users (CY 24-25, "
        f"Universal, Web, Mobile): {MOST_OBJECTS_BY_USERS} objects a request, "
        f"not {MOST_OBJECTS}",
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

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        # A longer one would be halved each time.
        if self.batch_events > self.most_objects:
            if "batch_events" in self.model_fields_set:
                raise ValueError(
                    f"batch_events = {self.batch_events}: too many with "
                    f"monthly_active_users, expected at most {self.most_objects}"
                )
            self.batch_events = self.most_objects
        return self

    @property
    def most_objects(self) -> int:
        """What Braze takes in one request, of all kinds together."""
        return MOST_OBJECTS_BY_USERS if self.monthly_active_users else MOST_OBJECTS


@hookimpl
def settings() -> type[Settings]:
    return Settings
