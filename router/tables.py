"""The tables of conf.d: TOML files read in name order, merged, the environment put in,
and pydantic's complaints turned into lines that say where to look."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pydantic

# A variable, or the beginning of something that is none.
VARIABLE = re.compile(r"\$\{(?:(\w+)(?::-([^}]*))?\})?")
NAME = re.compile(r"[A-Za-z0-9_-]+")

PLAIN = ("router", "ingest", "admin")
NAMED = ("sources", "destinations")
KNOWN = ", ".join([f"[{one}]" for one in PLAIN] + [f"[{one}.NAME]" for one in NAMED])

LONGEST_SHOWN = 60

Model = TypeVar("Model", bound=pydantic.BaseModel)


@dataclass(frozen=True)
class TableSource:
    """One table, such as `destinations.movable_ink`, and the file that it is in.

    problems: where everything that is wrong with it is added. substituted: the keys
    that the environment had a part in; their values are never shown.
    """

    name: str
    file: Path
    values: dict[str, Any]
    problems: list[str]
    substituted: frozenset[str] = frozenset()

    def complain(self, what: str) -> None:
        """Adds a line that says where the problem is, and what."""
        self.problems.append(self.line(what))

    def line(self, what: str) -> str:
        """What there is to say, with the place that it is said of."""
        return f"{self.file}: [{self.name}] {what}"

    def checked(self, model: type[Model]) -> Model | None:
        """What the model makes of the values; None if they are wrong, with a line for
        each thing that is."""
        try:
            return model.model_validate(self.values)
        except pydantic.ValidationError as error:
            for found in error.errors():
                self.complain(self._words(found, model))
            return None

    def _words(self, found: Any, model: type[pydantic.BaseModel]) -> str:
        key = ".".join(map(str, found["loc"]))
        field = model.model_fields.get(key.partition(".")[0])
        if found["type"] == "missing":
            words = (field and field.description) or "it has no default"
            return f"{key}: required: {words}"
        if found["type"] == "extra_forbidden":
            return f"{key}: unknown key; known keys: {', '.join(model.model_fields)}"
        message = found["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be", "expected")
        message = message[:1].lower() + message[1:]
        if not key:
            return str(message)
        may_show = not self._may_be_secret(found["loc"], field)
        value = _shortened(found["input"]) if may_show else "(hidden)"
        return f"{key} = {value}: {message}"

    def _may_be_secret(self, loc: tuple[Any, ...], field: Any) -> bool:
        """Of what is deeper than a list's items not even the kind is known."""
        is_deep = len(loc) > 2 or (len(loc) == 2 and not isinstance(loc[1], int))
        is_secret = field is None or "SecretStr" in str(field.annotation)
        return is_deep or is_secret or loc[0] in self.substituted


def read_tables(
    directory: Path, environ: Mapping[str, str]
) -> tuple[dict[str, TableSource], list[str]]:
    """All tables by name, the plain ones even if they are in no file; and the problems
    met on the way, to which checking a table adds."""
    problems: list[str] = []
    tables: dict[str, TableSource] = {}
    files = sorted(directory.glob("*.toml")) if directory.is_dir() else []
    if not files:
        problems.append(f"{directory}: expected a directory with *.toml files")
    for file in files:
        for table in _tables(file, problems):
            if table.name in tables:
                problems.append(
                    f"{file}: [{table.name}]: already in {tables[table.name].file}; "
                    "a table must be in one file"
                )
            tables[table.name] = _substituted(table, environ)
    for name in PLAIN:
        tables.setdefault(name, TableSource(name, directory, {}, problems))
    return tables, problems


def _tables(file: Path, problems: list[str]) -> Iterator[TableSource]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        problems.append(f"{file}: cannot be read as TOML: {error}")
        return
    for name, value in content.items():
        if name not in (*PLAIN, *NAMED) or not isinstance(value, dict):
            problems.append(f"{file}: {name}: unknown table; known: {KNOWN}")
        elif name in PLAIN:
            yield TableSource(name, file, value, problems)
        else:
            for key, table in value.items():
                if not isinstance(table, dict):
                    problems.append(f"{file}: [{name}] {key}: expected [{name}.NAME]")
                elif not NAME.fullmatch(key):
                    rule = "a name has only letters, digits, _ and -"
                    problems.append(f"{file}: [{name}.{key!r}]: {rule}")
                else:
                    yield TableSource(f"{name}.{key}", file, table, problems)


def _substituted(table: TableSource, environ: Mapping[str, str]) -> TableSource:
    """The table with ${NAME} and ${NAME:-default} replaced, however deep they are."""
    keys: set[str] = set()

    def variable(match: re.Match[str], path: Sequence[Any]) -> str:
        name, default = match.groups()
        if name is not None and (name in environ or default is not None):
            return environ.get(name) or default or ""
        what = "expected ${NAME} after the $"
        if name is not None:
            how = f"set it, or write ${{{name}:-default}}"
            what = f"the environment has no {name}; {how}"
        table.complain(f"{'.'.join(map(str, path))}: {what}")
        return match[0]

    def replaced(value: Any, path: Sequence[Any]) -> Any:
        if isinstance(value, dict):
            return {key: replaced(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item, (*path, n)) for n, item in enumerate(value)]
        if not isinstance(value, str) or not VARIABLE.search(value):
            return value
        keys.add(path[0])
        return VARIABLE.sub(lambda match: variable(match, path), value)

    values = replaced(table.values, ())
    return replace(table, values=values, substituted=frozenset(keys))


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
