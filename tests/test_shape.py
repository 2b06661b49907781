"""The shape of the house: imports go one way, rooms are small, the docs name them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "router").glob("*.py"))
KIT = sorted((ROOT / "router" / "testing").glob("*.py"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
ORDER = re.findall(r"\w+", ARCHITECTURE.split("## The order of imports")[1])
ORDER = ORDER[: ORDER.index("testing") + 1]


def imports(file: Path) -> Iterator[str]:
    """The router's modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "router":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "router."
        ):
            yield str(node.module).split(".")[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_module_imports_only_from_those_before_it(file: Path) -> None:
    if file.stem in ("__init__", "__main__"):
        return
    later = [one for one in imports(file) if ORDER.index(one) >= ORDER.index(file.stem)]
    assert later == []


def test_the_order_of_imports_names_every_module() -> None:
    stems = [file.stem for file in FILES if not file.stem.startswith("__")]
    assert sorted(ORDER) == sorted([*stems, "testing"])


@pytest.mark.parametrize("file", [*FILES, *KIT], ids=lambda file: file.stem)
def test_no_file_is_over_350_lines(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 350


def test_sql_stands_only_in_the_log_and_the_ledger() -> None:
    statement = re.compile(r'"(SELECT|INSERT|UPDATE|DELETE|BEGIN|PRAGMA|CREATE)\b')
    with_sql = {file.stem for file in FILES if statement.search(file.read_text())}
    ledger = {"accounts", "arrivals", "letters", "replays", "ledger"}
    assert with_sql <= {"store", "ids", "segment", "segments", "log"} | ledger


def test_importing_the_router_reads_and_starts_nothing() -> None:
    import router

    assert "application" not in vars(router)
