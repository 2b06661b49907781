"""conf.d, read and checked whole before anything starts.

`load` either returns a Config or raises one ConfigError that lists every problem
with file, table, key, value and what was expected.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pydantic
from pydantic import Field, IPvAnyNetwork, SecretStr

from router import plugins
from router.destination import Destination
from router.errors import ConfigError, PluginError
from router.settings import Base, DestinationSettings, Duration, Origin, Size, Table
from router.tables import TableSource, read_tables

DEFAULT_DIRECTORY = "conf.d"

Model = TypeVar("Model", bound=pydantic.BaseModel)


class RouterSettings(Table):
    """`[router]`."""

    data_dir: Path = Field(Path("data"), description="where the log is kept")
    plugin_dirs: list[Path] = Field([], description="folders with more plugins")
    partitions: int = Field(8, ge=1, le=256, description="fixed when a log is made")
    retention: Duration = Field(7 * 86400.0, description="how long events are kept")
    max_disk: Size = Field(10 * 1024**3, description="beyond it clients get 503")
    deliver: bool = Field(True, description="false: workers only accept")
    sandbox: bool = Field(False, description="serve the plugins' imitation partners")


class IngestSettings(Table):
    """`[ingest]`."""

    max_event: Size = Field(32 * 1024, description="bytes of one event")
    max_batch: Size = Field(512 * 1024, description="bytes of one request")
    max_batch_events: int = Field(2500, ge=1, description="events in one request")
    dedupe_window: Duration = Field(86400.0, description="how long ids are remembered")
    read_timeout: Duration = Field(60.0, description="for a client to send a request")
    unknown_key: Literal["reject", "accept"] = Field(
        "reject", description="accept: answer 200 and drop the events, as Segment does"
    )
    origins: list[Origin] = Field([], description="pages that may send; none: any")
    public_url: Base = Field(
        "", description="where clients reach the router; else as each request says"
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        [], description="addresses or networks whose X-Forwarded-For is believed"
    )


class AdminSettings(Table):
    """`[admin]`."""

    token: SecretStr | None = Field(None, description="opens the dashboard")


class SourceSettings(Table):
    """`[sources.NAME]`."""

    write_key: SecretStr = Field(min_length=1, description="what its clients send")
    enabled: bool = True


@dataclass(frozen=True)
class Config:
    """Everything in conf.d, checked; destinations by name, in the order of files."""

    directory: Path
    router: RouterSettings
    ingest: IngestSettings
    admin: AdminSettings
    sources: Mapping[str, SourceSettings]
    destinations: Mapping[str, Destination]
    disabled: Mapping[str, DestinationSettings]


def load(
    directory: Path | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Reads conf.d (or ROUTER_CONF) and loads the plugins that it enables.

    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    if directory is None:
        directory = Path(environ.get("ROUTER_CONF") or DEFAULT_DIRECTORY)
    return _Reader(directory, environ).config()


class _Reader:
    """Collects problems while it reads, so that all are reported at once."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self.directory = directory
        self.tables, self.problems = read_tables(directory, environ)

    def config(self) -> Config:
        router = self._one("router", RouterSettings)
        ingest = self._one("ingest", IngestSettings)
        admin = self._one("admin", AdminSettings)
        sources = self._sources()
        enabled, disabled = self._destinations(router)
        if not sources and not self.problems:
            self.problems.append(f"{self.directory}: needs a [sources.NAME] table")
        if self.problems or router is None or ingest is None or admin is None:
            raise ConfigError(self.problems)
        return Config(self.directory, router, ingest, admin, sources, enabled, disabled)

    def _one(self, name: str, model: type[Model]) -> Model | None:
        table = self.tables.get(name) or TableSource(name, "", {})
        return self._checked(table, table.values, model)

    def _named(self, group: str) -> Iterator[tuple[str, TableSource]]:
        for name, table in self.tables.items():
            if name.startswith(f"{group}."):
                yield name.partition(".")[2], table

    def _sources(self) -> dict[str, SourceSettings]:
        found: dict[str, SourceSettings] = {}
        owners: dict[str, str] = {}
        for name, table in self._named("sources"):
            source = self._checked(table, table.values, SourceSettings)
            if source is None:
                continue
            found[name] = source
            owner = owners.setdefault(source.write_key.get_secret_value(), name)
            if owner != name:
                what = f"is that of [sources.{owner}] too; each source needs its own"
                self.problems.append(table.problem(f"write_key: {what}"))
        return found

    def _destinations(
        self, router: RouterSettings | None
    ) -> tuple[dict[str, Destination], dict[str, DestinationSettings]]:
        enabled: dict[str, Destination] = {}
        disabled: dict[str, DestinationSettings] = {}
        known = self._plugins(router)
        sources = [name for name, _ in self._named("sources")]
        for name, table in self._named("destinations"):
            values = {"plugin": name, **table.values}
            values["plugin"] = str(values["plugin"])
            if _is_off(values.get("enabled")):
                # Its plugin is not asked, so only what every plugin has is checked.
                fields = DestinationSettings.model_fields
                values = {key: v for key, v in values.items() if key in fields}
                settings = self._checked(table, values, DestinationSettings)
                if settings is not None:
                    disabled[name] = settings
                continue
            if values["plugin"] not in known and not self._knows_all:
                continue  # a mistake there is not one of every destination too
            data_dir = router.data_dir if router else Path()
            made = self._destination(name, table, values, known, data_dir)
            if made is None:
                continue
            enabled[name] = made
            for source in set(made.settings.sources) - set(sources):
                expected = ", ".join(sorted(sources)) or "none"
                what = f"sources = {source!r}: expected one of {expected}"
                self.problems.append(table.problem(what))
        return enabled, disabled

    def _plugins(self, router: RouterSettings | None) -> dict[str, plugins.Found]:
        self._knows_all = router is not None
        try:
            return plugins.find(router.plugin_dirs if router else ())
        except PluginError as error:
            table = self.tables.get("router") or TableSource("router", "", {})
            self.problems.append(table.problem(f"plugin_dirs: {error}"))
            self._knows_all = False
            return {}

    def _destination(
        self,
        name: str,
        table: TableSource,
        values: dict[str, Any],
        known: Mapping[str, plugins.Found],
        data_dir: Path,
    ) -> Destination | None:
        try:
            manager = plugins.manager(str(values["plugin"]), known)
            settings = self._checked(table, values, manager.hook.settings())
            if settings is not None:
                return Destination(name, settings.placed(name, data_dir), manager)
        except PluginError as error:
            self.problems.append(table.problem(f"plugin: {error}"))
        except Exception as error:
            # Not what the error says: a plugin's own may hold a secret.
            what = f"{type(error).__name__} ({plugins.place(error)})"
            self.problems.append(
                table.problem(f"plugin: its settings or requirements raised {what}")
            )
        return None

    def _checked(
        self, table: TableSource, values: dict[str, Any], model: type[Model]
    ) -> Model | None:
        try:
            return model.model_validate(values)
        except pydantic.ValidationError as error:
            self.problems.extend(table.problems(error, model))
            return None


def _is_off(enabled: Any) -> bool:
    """Whether `enabled` says no, also as text from the environment."""
    try:
        return not pydantic.TypeAdapter(bool).validate_python(enabled)
    except pydantic.ValidationError:
        return False
