"""conf.d, read and checked whole before anything starts.

`load` either returns a Config or raises one ConfigError that lists every problem
with file, table, key, value and what was expected. A plugin's own bug is no such
problem: it costs its destinations, and no other.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pluggy
import pydantic
from pydantic import ConfigDict, Field, IPvAnyNetwork, SecretStr, field_validator

from router import plugins
from router.destination import Destination
from router.errors import ConfigError, PluginError
from router.settings import BaseURL, DestinationSettings, Duration, Origin, Size, Table
from router.tables import TableSource, read_tables

DEFAULT_DIRECTORY = "conf.d"

NAMED_TABLE = re.compile(r": \[(sources|destinations)\.\w")


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
    public_url: BaseURL = Field(
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
    rate_limit: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="events a second; beyond it clients get 429",
    )

    @field_validator("write_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr) -> SecretStr:
        if ":" in key.get_secret_value():
            raise ValueError('expected no ":", where Basic authentication ends a user')
        return key


class CommonSettings(DestinationSettings):
    """`[destinations.NAME]` whose plugin is not asked (`enabled = false`) or has no
    answer (broken): only what every plugin has is checked."""

    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True)
class Broken:
    """A destination that cannot run, as its plugin has a bug: its events wait.

    problem: a line that says where and what, without what the plugin's own exception
    says.
    """

    name: str
    settings: DestinationSettings
    problem: str

    @property
    def plugin(self) -> str:
        """The plugin's name."""
        return self.settings.plugin


@dataclass(frozen=True)
class Config:
    """Everything in conf.d, checked; destinations by name, in the order of files.

    destinations: those that run; disabled, broken: those whose events wait.
    """

    directory: Path
    router: RouterSettings
    ingest: IngestSettings
    admin: AdminSettings
    sources: Mapping[str, SourceSettings]
    destinations: Mapping[str, Destination]
    disabled: Mapping[str, DestinationSettings]
    broken: Mapping[str, Broken]


def load(
    directory: Path | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Reads conf.d (or ROUTER_CONF) and loads the plugins that it enables.

    Raises ConfigError.
    """
    found, problems = load_partly(directory, environ)
    if problems:
        raise ConfigError([*problems, *(one.problem for one in found.broken.values())])
    return found


def load_partly(
    directory: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Config, list[str]]:
    """What of conf.d can be used, and what is wrong with the rest: for who has to see
    to a running router. Raises ConfigError where that leaves nothing to go by."""
    environ = os.environ if environ is None else environ
    if directory is None:
        directory = Path(environ.get("ROUTER_CONF") or DEFAULT_DIRECTORY)
    reader = _Reader(directory, environ)
    found = reader.config()
    # A mistake elsewhere may be about where the log is.
    if not all(NAMED_TABLE.search(problem) for problem in reader.problems):
        raise ConfigError(reader.problems)
    return found, reader.problems


class _Reader:
    """Collects problems while it reads, so that all are reported at once."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self.directory = directory
        self.tables, self.problems = read_tables(directory, environ)

    def config(self) -> Config:
        router = self.tables["router"].checked(RouterSettings)
        ingest = self.tables["ingest"].checked(IngestSettings)
        admin = self.tables["admin"].checked(AdminSettings)
        sources = self._sources()
        destinations = self._destinations(router)
        if not sources and not self.problems:
            self.problems.append(f"{self.directory}: needs a [sources.NAME] table")
        if router is None or ingest is None or admin is None:
            raise ConfigError(self.problems)
        return Config(self.directory, router, ingest, admin, sources, *destinations)

    def _named(self, group: str) -> dict[str, TableSource]:
        start = f"{group}."
        tables = self.tables.items()
        return {n.removeprefix(start): t for n, t in tables if n.startswith(start)}

    def _sources(self) -> dict[str, SourceSettings]:
        found: dict[str, SourceSettings] = {}
        owners: dict[str, str] = {}
        for name, table in self._named("sources").items():
            source = table.checked(SourceSettings)
            if source is None:
                continue
            found[name] = source
            owner = owners.setdefault(source.write_key.get_secret_value(), name)
            if owner != name:
                what = f"is that of [sources.{owner}] too; each source needs its own"
                table.complain(f"write_key: {what}")
        return found

    def _destinations(
        self, router: RouterSettings | None
    ) -> tuple[
        dict[str, Destination], dict[str, DestinationSettings], dict[str, Broken]
    ]:
        """Those that run, the disabled and the broken."""
        enabled: dict[str, Destination] = {}
        disabled: dict[str, DestinationSettings] = {}
        broken: dict[str, Broken] = {}
        known, are_all = self._plugins(router)
        loader = plugins.Loader(known)
        data_dir = router.data_dir if router else Path()
        for name, table in self._named("destinations").items():
            plugin = str(table.values.setdefault("plugin", name))
            if _is_off(table.values.get("enabled")):
                if settings := table.checked(CommonSettings):
                    disabled[name] = settings
                continue
            if plugin not in known:
                if are_all:
                    table.complain(f"plugin: {plugins.unknown(plugin, known)}")
                continue
            made = self._destination(name, table, data_dir, loader)
            if isinstance(made, Destination):
                enabled[name] = made
            elif made:
                broken[name] = made
            if made:
                self._check_sources(table, made.settings)
        return enabled, disabled, broken

    def _destination(
        self, name: str, table: TableSource, data_dir: Path, loader: plugins.Loader
    ) -> Destination | Broken | None:
        """None if its table is wrong, which is in the report then."""
        try:
            return destination(name, table, data_dir, loader)
        except PluginError as error:
            problem = table.line(f"plugin: {error.safe}")
        settings = table.checked(CommonSettings)
        return None if settings is None else Broken(name, settings, problem)

    def _plugins(
        self, router: RouterSettings | None
    ) -> tuple[dict[str, plugins.Found], bool]:
        """The plugins, and whether they are all: a mistake that hides some is not one
        of each destination that names them too."""
        try:
            known = plugins.find(router.plugin_dirs if router else ())
        except PluginError as error:
            self.tables["router"].complain(f"plugin_dirs: {error}")
            return {}, False
        return known, router is not None

    def _check_sources(self, table: TableSource, made: DestinationSettings) -> None:
        sources = sorted(self._named("sources"))
        for source in set(made.sources) - set(sources):
            expected = ", ".join(sources) or "none"
            table.complain(f"sources = {source!r}: expected one of {expected}")


def destination(
    name: str, table: TableSource, data_dir: Path, loader: plugins.Loader
) -> Destination | None:
    """None if its table is wrong, with a line for each thing that is; raises
    PluginError."""
    make = partial(_made, name, table, data_dir)
    found = loader.load(str(table.values["plugin"]), make)
    if isinstance(found, Destination):
        return found
    table.problems.extend(found)
    return None


def _made(
    name: str, table: TableSource, data_dir: Path, manager: pluggy.PluginManager
) -> Destination | list[str]:
    """It, or what is wrong with its table. Raises PluginError, and whatever the plugin
    does."""
    # Nobody listens to it any more when it is late.
    table = replace(table, problems=[])
    settings = table.checked(plugins.settings_class(manager.hook))
    if settings is None:
        return table.problems
    return Destination(name, settings.placed(name, data_dir), manager)


def _is_off(enabled: Any) -> bool:
    """Whether `enabled` says no, also as text from the environment."""
    try:
        return not pydantic.TypeAdapter(bool).validate_python(enabled)
    except pydantic.ValidationError:
        return False
