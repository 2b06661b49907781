"""docs/hooks.md: it says what the code has, no more and no less."""

import inspect
import re

import pytest
from conftest import ROOT

import router
from router import errors, hookspecs, requirements
from router.settings import DestinationSettings

HOOKS = (ROOT / "docs" / "hooks.md").read_text()
OUTCOMES = {one.__name__: one for one in errors.Outcome.__subclasses__()}


def specs():
    """The hooks that there are, with their arguments."""
    for name, one in vars(hookspecs).items():
        if getattr(one, f"{hookspecs.PROJECT}_spec", None):
            yield f"{name}({', '.join(inspect.signature(one).parameters)})"


def section(title):
    return HOOKS.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title):
    """The first cells of a section's tables."""
    return re.findall(r"^\| (.*?) \|", section(title), re.MULTILINE)


def test_each_hook_has_a_heading_with_its_arguments():
    assert sorted(re.findall(r"^## `(\w+\(.*\))`$", HOOKS, re.MULTILINE)) == sorted(
        specs()
    )


def test_each_setting_of_all_destinations_has_a_row():
    cells = " ".join(rows("Settings that every destination has")[1:])
    assert re.findall(r"`(\w+)`", cells) == list(DestinationSettings.model_fields)


def test_each_outcome_has_a_row_with_its_arguments():
    told = re.findall(r"raises `(\w+)\((.*?)\)`", " ".join(rows("Outcomes")))
    assert sorted(name for name, _ in told) == sorted(OUTCOMES)
    for name, arguments in told:
        signature = inspect.signature(OUTCOMES[name]).parameters.values()
        named = [one for one in signature if one.kind is not one.KEYWORD_ONLY]
        if name != "Partial":  # which is shown with what it is given
            shown = [str(one).split(":")[0].split(" =")[0] for one in named]
            given = [one.split("=")[0].strip() for one in arguments.split(",")]
            assert given == shown


def test_each_requirement_has_a_row():
    made = {
        name
        for name, one in vars(requirements).items()
        if inspect.isfunction(one)
        and inspect.signature(one).return_annotation is requirements.Requirement
        and not name.startswith("_")
    }
    assert {re.match(r"`(\w+)", cell)[1] for cell in rows("Requirements")[1:]} == made


def test_what_a_plugin_imports_is_there():
    (block,) = re.findall(r"from router import \((.*?)\)", HOOKS, re.DOTALL)
    assert sorted(re.findall(r"\w+", block)) == sorted(router.__all__)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", HOOKS, re.DOTALL))
def test_its_snippets_run(code):
    exec(compile("from router import hookimpl\n" + code, "hooks.md", "exec"), {})
