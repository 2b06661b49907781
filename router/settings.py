"""The settings that every destination has, and the kinds of value they use."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    WithJsonSchema,
)

from router.transforms import check_kept, check_path

EventType = Literal["identify", "track", "page", "screen", "group", "alias"]

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BINARY = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
DECIMAL = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTES = BINARY | DECIMAL


def _measure(value: Any, units: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", str(value))
    if isinstance(value, bool) or not match or match[2] not in units:
        raise ValueError(f"expected {example} (units: {', '.join(units)})")
    return float(match[1]) * units[match[2]]


def _duration(value: Any) -> float:
    return _measure(value, SECONDS, 'a time such as "30s" or "24h"')


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(_measure(value, BYTES, 'a size such as "512KiB" or "10GiB"'))


def _origin(value: str) -> str:
    usual_port = re.match(r"http://.*:80$|https://.*:443$", value)
    if usual_port or not re.fullmatch(r"[a-z][a-z-]*://[a-z0-9._:[\]-]+", value):
        raise ValueError('expected what browsers send, as "https://shop.example"')
    return value


def _base_url(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", value):
        raise ValueError('expected a URL such as "https://events.shop.example"')
    return value


# Seconds, written as "24h"; bytes, written as "512KiB" or as a bare number.
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(gt=0),
    PlainSerializer(lambda seconds: f"{seconds}s", str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0),
    WithJsonSchema({"type": "string", "format": "size"}),
]

# Where a page comes from: scheme, host, and port where it is not the usual one; and
# a URL to which paths are added, or "".
Origin = Annotated[str, AfterValidator(_origin)]
BaseURL = Annotated[str, AfterValidator(_base_url)]


# What a rule is about, as "properties.products.sku".
Dropped = Annotated[str, AfterValidator(check_path)]
Kept = Annotated[str, AfterValidator(check_kept)]


class Table(BaseModel):
    """A table of conf.d: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class DestinationSettings(Table):
    """The keys of a `[destinations.NAME]` table; a plugin adds its own by subclassing.

    A plugin may also change a default here, such as the size of its batches, and
    names in `integration_names` the spellings by which an event's `integrations`
    object switches it on and off (the destination's and plugin's own names always
    work). With `payloads_as_json` its `deliver` gets each payload as JSON, in bytes,
    as it was written to be measured.
    """

    integration_names: ClassVar[tuple[str, ...]] = ()
    payloads_as_json: ClassVar[bool] = False

    plugin: str = Field("", description="the plugin; by default the table's name")
    enabled: bool = Field(True, description="false: its events wait in the log")
    sources: list[str] = Field([], description="only events of these sources")
    types: list[EventType] = Field([], description="only these types of call")
    events: list[str] = Field([], description='only these names, as "Product *"')
    keep: list[Kept] = Field(
        [], description="of properties, traits and context only these paths"
    )
    drop: list[Dropped] = Field([], description="not these paths")
    hash: list[Dropped] = Field([], description="of these paths only the SHA-256")
    batch_events: int = Field(1, ge=1, description="events in one request, at most")
    batch_bytes: Size = Field(
        1_000_000, description="payload bytes in one request, at most"
    )
    concurrency: int = Field(1, ge=1, le=64, description="requests under way in a lane")
    timeout: Duration = Field(10.0, description="for one whole request and its answer")
    give_up_after: Duration = Field(
        4 * 3600.0, description="how long an event is tried while others are taken"
    )
    start: Literal["latest", "earliest"] = Field(
        "latest", description="where a new destination begins in the log"
    )

    _name: str = PrivateAttr("")
    _data_dir: Path = PrivateAttr(Path("data"))

    @property
    def name(self) -> str:
        """The destination's name in conf.d."""
        return self._name

    @property
    def data_dir(self) -> Path:
        """`[router] data_dir`; a plugin keeps what it must in a folder of it."""
        return self._data_dir

    def placed(self, name: str, data_dir: Path) -> Self:
        """Says which destination these settings are of, and returns them."""
        self._name, self._data_dir = name, data_dir
        return self
