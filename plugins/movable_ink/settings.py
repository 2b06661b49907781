"""The settings of a Movable Ink destination."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from router import DestinationSettings, hookimpl
from router.requirements import is_absolute_url
from router.settings import Size

from .ecommerce import NAMES, canonical, plain

REGIONS = {
    "us": "https://collector.movableink-dmz.com",
    "eu": "https://collector.micpn-eu.com",
}
ANY = "*"

# What Movable Ink takes in one request, and the envelope's share of it.
MOST_EVENTS = 1000
MOST_BYTES = 1_000_000
ENVELOPE_BYTES = len(b'{"events":[]}')


class Settings(DestinationSettings):
    """The keys of `[destinations.NAME]` with `plugin = "movable_ink"`.

    `endpoint` wins over `endpoint_key`. The address holds a key, so it is as secret
    as the credentials.
    """

    integration_names: ClassVar[tuple[str, ...]] = ("Movable Ink", "MovableInk")
    payloads_as_json = True

    batch_bytes: Size = Field(
        MOST_BYTES - ENVELOPE_BYTES,
        le=MOST_BYTES,
        description="bytes of payload in one request, at most",
    )

    api_key: SecretStr = Field(description="the Access Key ID, or the one API key")
    api_secret: SecretStr = Field(
        SecretStr(""), description="the Access Secret, where there is one"
    )
    endpoint: SecretStr | None = Field(
        None, description="the Endpoint URL, whole, as Movable Ink shows it"
    )
    endpoint_key: SecretStr = Field(
        SecretStr(""),
        validate_default=True,
        description="instead of `endpoint`: the last part of its path",
    )
    region: Literal["us", "eu"] = Field(
        "us", description="where `endpoint_key` is served"
    )
    payload: Literal["entire_event", "normalized"] = Field(
        "entire_event",
        description="entire_event: as Segment and RudderStack send; "
        "normalized: one form, in snake_case",
    )
    identifier: Literal["user_id", "email", "email_sha256", "email_md5"] = Field(
        "user_id", description="which id comes first: the one that `mi_u` holds"
    )
    batch: bool = Field(
        False, description='true: many events a request, as {"events": [...]}'
    )
    timestamp_format: Literal["ms", "s", "iso"] = Field(
        "ms", description="milliseconds or seconds since 1970, or ISO 8601"
    )
    custom_events: list[str] | Literal["*"] = Field(
        [], description='more track events to send; "*": all of them'
    )
    event_names: Literal["segment", "snake"] | dict[str, str] = Field(
        "segment",
        description="how `normalized` spells names: segment, snake, "
        "or a table of those that differ",
    )
    product_id_source: Literal["product_id", "sku"] = Field(
        "product_id", description="which `normalized` prefers as a product's id"
    )
    page_url_fallback: bool = Field(
        False, description="Product Viewed without url: take the page's"
    )
    total_fallback: list[str] = Field(
        [], description="Order Completed without total: take the first of these"
    )

    @field_validator("api_key")
    @classmethod
    def _api_key_is_usable(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text.strip():
            raise ValueError("is blank, expected the Access Key ID of the endpoint")
        if ":" in text:
            raise ValueError("has a colon, which Basic authentication does not allow")
        return value

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().strip() if value else ""
        if text and not is_absolute_url(text):
            raise ValueError(f"is no full URL, expected {REGIONS['us']}/behavioral/KEY")
        return SecretStr(text) if text else None

    @field_validator("endpoint_key")
    @classmethod
    def _there_is_an_address(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text and info.data.get("endpoint", "invalid") is None:
            raise ValueError(
                "endpoint or endpoint_key: neither is given, expected the Endpoint "
                "URL or the last part of its path"
            )
        if "/" in text:
            raise ValueError(
                "has a slash, expected only the last part of the path; "
                "a whole URL goes into endpoint"
            )
        return SecretStr(text)

    @field_validator("custom_events", mode="before")
    @classmethod
    def _custom_events_are_names(cls, value: Any) -> Any:
        if value in (ANY, [ANY]):
            return ANY
        if not isinstance(value, list) or not all(map(_is_name, value)):
            raise ValueError('expected a list of event names, or "*" for all')
        return value

    @field_validator("total_fallback")
    @classmethod
    def _fallbacks_are_names(cls, value: list[str]) -> list[str]:
        if not all(map(_is_name, value)):
            raise ValueError('expected names of properties, such as "revenue"')
        return value

    @field_validator("event_names", mode="before")
    @classmethod
    def _event_names_are_known(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            if value not in ("segment", "snake"):
                raise ValueError('expected "segment", "snake" or a table of names')
            return value
        for name, sent in value.items():
            if not _is_name(sent):
                raise ValueError(f"{name}: expected the name to send, as text")
            _check_known(name, info.data.get("custom_events", ANY))
        return {plain(canonical(name) or name): sent for name, sent in value.items()}

    @model_validator(mode="after")
    def _batch_sizes_fit(self) -> Self:
        if "batch_events" not in self.model_fields_set:
            self.batch_events = MOST_EVENTS if self.batch else 1
        if not self.batch and self.batch_events > 1:
            raise ValueError(
                f"batch_events = {self.batch_events}: needs batch = true, "
                "expected 1 without it"
            )
        if self.batch_events > MOST_EVENTS:
            raise ValueError(
                f"batch_events = {self.batch_events}: too many, "
                f"expected at most {MOST_EVENTS}"
            )
        return self

    @cached_property
    def custom_names(self) -> Mapping[str, str]:
        """Those of `custom_events`: as they are compared, and as they are sent."""
        return {plain(one): one.strip() for one in self.custom_events}

    @property
    def url(self) -> str:
        """Where events are posted; secret."""
        if self.endpoint is not None:
            return self.endpoint.get_secret_value()
        key = quote(self.endpoint_key.get_secret_value(), safe="")
        return f"{REGIONS[self.region]}/behavioral/{key}"

    @property
    def credentials(self) -> tuple[bytes, bytes]:
        """User name and password of Basic authentication; secret."""
        return (
            self.api_key.get_secret_value().encode(),
            self.api_secret.get_secret_value().encode(),
        )


@hookimpl
def settings() -> type[Settings]:
    return Settings


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _check_known(name: str, custom_events: list[str] | str) -> None:
    known = {plain(one) for one in custom_events}
    if custom_events != ANY and not canonical(name) and plain(name) not in known:
        raise ValueError(
            f"{name}: is not sent, expected one of custom_events or {', '.join(NAMES)}"
        )
