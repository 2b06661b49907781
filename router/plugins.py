"""Finding plugins by name, and loading one into a manager of its own.

Plugins come from three places: the folder `plugins` beside this package and in the
working directory, the folders of `[router] plugin_dirs`, and entry points of the group
`event_router`. Finding imports none of them.
"""

import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from router import defaults, hookspecs
from router.errors import PluginError

ENTRY_POINT_GROUP = "event_router"
OUR_PLUGINS = Path(__file__).parent.parent / "plugins"


@dataclass(frozen=True)
class Found:
    """A plugin that could be loaded: its name, where it is, and how to import it."""

    name: str
    origin: str
    load: Callable[[], Any]


def find(plugin_dirs: Sequence[Path] = ()) -> dict[str, Found]:
    """Every plugin that is installed, by name; raises PluginError for a name twice."""
    known: dict[str, Found] = {}
    for found in _all(plugin_dirs):
        if found.name in known:
            raise PluginError(
                f"plugin {found.name!r} is there twice: {known[found.name].origin} "
                f"and {found.origin}; rename or remove one"
            )
        known[found.name] = found
    return known


def manager(name: str, known: Mapping[str, Found]) -> pluggy.PluginManager:
    """A plugin manager with the router's default hooks and the named plugin.

    Raises PluginError for an unknown name, a failing import, a hook that does not
    exist or takes an argument that does not, and a plugin that cannot deliver.
    """
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise PluginError(f"no plugin is named {name!r}; known plugins: {names}")
    found = known[name]
    where = f"plugin {name!r} ({found.origin})"
    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    hooks.add_hookspecs(hookspecs)
    hooks.register(defaults)
    try:
        hooks.register(found.load(), name)
        hooks.check_pending()
    except pluggy.PluginValidationError as error:
        said, there_are = " ".join(str(error).split()), ", ".join(_signatures(hooks))
        raise PluginError(f"{where}: {said}; hooks: {there_are}") from None
    except BaseException as error:
        said = f"{type(error).__name__}: {error} ({place(error)})"
        raise PluginError(f"{where}: cannot be imported: {said}") from error
    for caller in vars(hooks.hook).values():
        if any(inspect.iscoroutinefunction(i.function) for i in caller.get_hookimpls()):
            raise PluginError(f"{where}: {caller.name} is async; hooks are not")
    if not hooks.hook.deliver.get_hookimpls():
        what = "has no hook `deliver`; is it marked with @hookimpl?"
        raise PluginError(f"{where}: {what}")
    return hooks


def place(error: BaseException) -> str:
    """The file and line where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}"


def _all(plugin_dirs: Sequence[Path]) -> Iterator[Found]:
    # Paths, not packages: which package is called `plugins` depends on who asks.
    here = [one for one in (OUR_PLUGINS, Path("plugins")) if one.is_dir()]
    for directory in dict.fromkeys(one.resolve() for one in [*here, *plugin_dirs]):
        yield from _in_directory(directory)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        yield Found(point.name, _described(point), point.load)


def _in_directory(directory: Path) -> Iterator[Found]:
    if not directory.is_dir():
        raise PluginError(f"{directory} is not a directory")
    for path in sorted(directory.iterdir()):
        init = path / "__init__.py"
        file = init if init.is_file() else path
        if file.suffix == ".py" and not path.name.startswith("_"):
            yield Found(
                path.stem, str(path), functools.partial(_load_file, path.stem, file)
            )


@functools.cache
def _load_file(name: str, file: Path) -> Any:
    """Imports a file under a module name of its own, so that no other is shadowed."""
    module_name = f"{ENTRY_POINT_GROUP}_plugin_{name}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _described(point: EntryPoint) -> str:
    dist = point.dist
    owner = f" of {dist.name} {dist.version}" if dist else ""
    return f"entry point {point.value}{owner}"


def _signatures(hooks: pluggy.PluginManager) -> Iterator[str]:
    """Each hook that there is, with its arguments."""
    for name, caller in sorted(vars(hooks.hook).items()):
        if caller.spec is not None:
            yield f"{name}({', '.join(caller.spec.argnames)})"
