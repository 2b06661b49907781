"""The tables of conf.d: TOML files read in name order, merged, the environment put in,
and pydantic's complaints turned into lines that say where to look."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydantic

# A variable, or the beginning of something that is none.
VARIABLE = re.compile(r"\$\{(?:(\w+)(?::-([^}]*))?\})?")
NAME = re.compile(r"[A-Za-z0-9_-]+")

PLAIN = ("router", "ingest", "admin")
NAMED = ("sources", "destinations")
KNOWN = ", ".join([f"[{one}]" for one in PLAIN] + [f"[{one}.NAME]" for one in NAMED])

LONGEST_SHOWN = 60


@dataclass(frozen=True)
class TableSource:
    """One table, such as `destinations.movable_ink`, and the file that it is in."""

    name: str
    file: str
    values: dict[str, Any]
    # The keys that the environment had a part in: their values are never shown.
    substituted: frozenset[str] = frozenset()

    def problem(self, what: str) -> str:
        """A line that says where the problem is, and what."""
        return f"{self.file}: [{self.name}] {what}"

    def problems(
        self, error: pydantic.ValidationError, model: type[pydantic.BaseModel]
    ) -> Iterator[str]:
        """A line for each thing that is wrong with the table."""
        for found in error.errors():
            key = ".".join(map(str, found["loc"]))
            field = model.model_fields.get(key.partition(".")[0])
            if found["type"] == "missing":
                words = (field and field.description) or "it has no default"
                yield self.problem(f"{key}: required: {words}")
            elif found["type"] == "extra_forbidden":
                known = ", ".join(model.model_fields)
                yield self.problem(f"{key}: unknown key; known keys: {known}")
            else:
                message = found["msg"].removeprefix("Value error, ")
                message = message.replace("Input should be", "expected")
                message = message[:1].lower() + message[1:]
                value = _shortened(found["input"])
                if self._may_be_secret(found["loc"], field):
                    value = "(hidden)"
                yield self.problem(f"{key} = {value}: {message}" if key else message)

    def _may_be_secret(self, loc: tuple[Any, ...], field: Any) -> bool:
        """Of what is deeper than a list's items not even the kind is known."""
        is_deep = len(loc) > 2 or (len(loc) == 2 and not isinstance(loc[1], int))
        is_secret = field is None or "SecretStr" in str(field.annotation)
        return is_deep or is_secret or loc[0] in self.substituted


def read_tables(
    directory: Path, environ: Mapping[str, str]
) -> tuple[dict[str, TableSource], list[str]]:
    """All tables by name, and the problems met on the way."""
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
            tables[table.name] = _substituted(table, environ, problems)
    return tables, problems


def _tables(file: Path, problems: list[str]) -> Iterator[TableSource]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        problems.append(f"{file}: cannot be read as TOML: {error}")
        return
    for name, value in content.items():
        if name in PLAIN and isinstance(value, dict):
            yield TableSource(name, str(file), value)
        elif name in NAMED and isinstance(value, dict):
            for key, table in value.items():
                if not isinstance(table, dict):
                    problems.append(f"{file}: [{name}] {key}: expected [{name}.NAME]")
                elif not NAME.fullmatch(key):
                    problems.append(
                        f"{file}: [{name}.{key!r}]: a name has only letters, digits, "
                        "_ and -"
                    )
                else:
                    yield TableSource(f"{name}.{key}", str(file), table)
        else:
            problems.append(f"{file}: {name}: unknown table; known: {KNOWN}")


def _substituted(
    table: TableSource, environ: Mapping[str, str], problems: list[str]
) -> TableSource:
    """The table with ${NAME} and ${NAME:-default} replaced, however deep they are."""
    keys: set[str] = set()

    def variable(match: re.Match[str], path: Sequence[Any]) -> str:
        name, default = match.groups()
        key = ".".join(map(str, path))
        if name is None:
            problems.append(table.problem(f"{key}: expected ${{NAME}} after the $"))
        elif name not in environ and default is None:
            how = f"set it, or write ${{{name}:-default}}"
            problems.append(
                table.problem(f"{key}: the environment has no {name}; {how}")
            )
        return environ.get(name) or (match[0] if default is None else default)

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
