"""`router new-plugin`: a plugin to start from, with its configuration and its tests.

The templates are whole files, in which NAME stands for the plugin's name.
"""

import keyword
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from router.errors import RouterError

TEMPLATES = resources.files("router") / "templates"

# By template, where its file goes: in the working directory, and in a package's.
HERE = {
    "plugin.py.txt": "plugins/NAME.py",
    "conf.toml.txt": "conf.d/NAME.toml",
    "test.py.txt": "tests/test_NAME.py",
}
PACKAGE = {
    "plugin.py.txt": "event_router_NAME.py",
    "conf.toml.txt": "conf.d/NAME.toml",
    "test.py.txt": "tests/test_NAME.py",
    "pyproject.toml.txt": "pyproject.toml",
    "readme.md.txt": "README.md",
}


class CannotWrite(RouterError):
    """Nothing was written; the message says why."""


def write(name: str, directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Writes these files of a plugin, and returns where they are.

    files: templates, with where they go in the directory. Raises CannotWrite.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise CannotWrite(f"{name!r}: a name has lower-case letters, digits and _")
    written = {
        directory / where.replace("NAME", name): _filled(template, name)
        for template, where in files.items()
    }
    if there := [str(path) for path in written if path.exists()]:
        raise CannotWrite(f"{', '.join(there)}: exists already")
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(written)


def _filled(template: str, name: str) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    words = {"UPPER": name.upper(), "DASHED": name.replace("_", "-"), "NAME": name}
    for word, value in words.items():
        text = re.sub(rf"(?<![A-Z]){word}(?![A-Z])", value, text)
    return text
