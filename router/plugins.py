"""Finding plugins by name, and loading one into a manager of its own.

Plugins come from three places: the folder `plugins` beside this package and in the
working directory, the folders of `[router] plugin_dirs`, and entry points of the group
`event_router`. Finding imports none of them.
"""

import functools
import importlib.util
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import pluggy

from router import defaults, hookspecs
from router.errors import PluginError
from router.settings import DestinationSettings

ENTRY_POINT_GROUP = "event_router"
# How the paths of the router's own files begin.
ROUTER = f"{Path(__file__).parent}{os.sep}"
OUR_PLUGINS = Path(__file__).parent.parent / "plugins"

# Seconds for a plugin to load. gunicorn's `timeout` is no bound: it counts from a
# worker's first sign of life, which is later.
LOADING = 10.0

Result = TypeVar("Result")


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
        raise PluginError(unknown(name, known))
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
        raise _told(f"{where}: cannot be imported: ", error) from error
    for caller in vars(hooks.hook).values():
        if any(inspect.iscoroutinefunction(i.function) for i in caller.get_hookimpls()):
            raise PluginError(f"{where}: {caller.name} is async; hooks are not")
    if not hooks.hook.deliver.get_hookimpls():
        what = "has no hook `deliver`; is it marked with @hookimpl?"
        raise PluginError(f"{where}: {what}")
    return hooks


class Loader:
    """Loads plugins within bounds, and none again that cannot be imported or has not
    returned: it costs as much as that once, however many destinations name it.

    known: what can be loaded, by name. seconds: for each time that one is loaded.
    """

    def __init__(self, known: Mapping[str, Found], seconds: float = LOADING) -> None:
        self._known, self._seconds = known, seconds
        self._failed: dict[str, PluginError] = {}

    def load(self, name: str, use: Callable[[pluggy.PluginManager], Result]) -> Result:
        """What use makes of the plugin, in a manager of its own; as it may be left
        behind, it changes nothing of others. Raises PluginError for all that goes
        wrong in the plugin."""
        if name in self._failed:
            raise self._failed[name]
        came_to_end = threading.Event()

        def run() -> Result:
            hooks = manager(name, self._known)
            try:
                return use(hooks)
            finally:
                came_to_end.set()

        try:
            return within(self._seconds, run, "its import, settings or requirements")
        except PluginError as error:
            # What it raised later may be about the settings of one destination.
            if not came_to_end.is_set():
                self._failed[name] = error
            raise


def unknown(name: str, known: Mapping[str, Found]) -> str:
    """What there is to say of a name that no plugin has."""
    names = ", ".join(sorted(known)) or "none"
    return f"no plugin is named {name!r}; known plugins: {names}"


def settings_class(hook: Any) -> type[DestinationSettings]:
    """The class of the plugin's settings; raises PluginError where it returns none, and
    whatever it raises."""
    model = hook.settings()
    if not (isinstance(model, type) and issubclass(model, DestinationSettings)):
        expected = "expected a subclass of router.DestinationSettings"
        raise PluginError(f"its hook `settings` returned no such thing: {expected}")
    for name in DestinationSettings.__class_vars__ & model.model_fields.keys():
        expected = f"expected `{name} = ...` without a type"
        raise PluginError(f"its settings make {name} a key of conf.d: {expected}")
    return model


def within(seconds: float, call: Callable[[], Result], what: str) -> Result:
    """What call returns, which runs a plugin's code; raises PluginError where that
    raises anything, or has not returned after these seconds. what: that code.

    It runs in a thread of its own, which cannot be stopped: one that does not return is
    left behind. So a signal to this process is never taken for the plugin's fault.
    """
    returned: list[Result] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="plugin", daemon=True)
    thread.start()
    thread.join(seconds)
    if returned:
        return returned[0]
    if not raised:
        frame = sys._current_frames().get(thread.ident or 0)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "its end"
        late = f"{what} has not returned within {seconds:g} s"
        raise PluginError(f"{late}: it is at {where}")
    (error,) = raised
    if isinstance(error, PluginError):
        raise error
    raise _told(f"{what} raised ", error) from error


def place(error: BaseException) -> str:
    """The file and line where it was raised, or from where the router was called that
    raised it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    # Not those of Python's own import.
    frames = [
        one
        for one in traceback.extract_tb(error.__traceback__)
        if not one.filename.startswith("<frozen ")
    ]
    others = [one for one in frames if not one.filename.startswith(ROUTER)]
    last = (others or frames)[-1]
    return f"{last.filename}:{last.lineno}"


def describe(error: BaseException) -> str:
    """What may be told of an exception of a plugin: its class, and where it was raised,
    but not what it says, which may be a secret."""
    return f"{type(error).__name__} at {place(error)}"


def _told(start: str, error: BaseException) -> PluginError:
    """The error of a plugin, with and without what it says, which may be a secret."""
    name, where = type(error).__name__, f" ({place(error)})"
    said = ""
    with suppress(Exception):  # that, too, is the plugin's code
        said = f": {error}"
    return PluginError(f"{start}{name}{said}{where}", f"{start}{name}{where}")


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
