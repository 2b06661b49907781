"""Each bad plugin in `specimens` fails the rules that it breaks, and no other; and what
it is told says how to mend it."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT

from router.testing import Conformance
from router.testing.kit import Kit

SPECIMENS = ROOT / "tests" / "specimens"
NAMES = sorted(file.stem for file in SPECIMENS.glob("*.py"))
# They wait more than they work.
AT_ONCE = 8

TESTS = """
class Test_{name}(Conformance):
    plugin = "{name}"
    plugin_dirs = [{directory!r}]
    settings = {{"url": "{{partner}}/hook", "token": "s3cr3t-token"}}
    batch = {{"batch_events": 5}}

    def partial_answer(self, index, payloads):
        return 422, {{"bad": index}}

    def retry_answer(self, seconds):
        headers = {{"Retry-After": str(seconds), "X-Wait-Ms": str(1000 * seconds)}}
        return 429, {{}}, headers

    def other_answer(self, request):
        if request.line == "POST /hook/token HTTP/1.1":
            return 200, {{"access_token": "t0k3n-of-an-hour"}}
"""

# By specimen, what each of the kit's tests said: nothing where it passed.
Said = Mapping[str, Mapping[str, str]]


def fails(name: str) -> dict[str, str]:
    """What the specimen says of itself."""
    made: dict[str, dict[str, str]] = {}
    with suppress(ModuleNotFoundError):  # of the one that cannot be imported
        exec((SPECIMENS / f"{name}.py").read_text(), made)
    return made["FAILS"]


def judged(names: list[str], directory: Path) -> Said:
    """The kit's judgement of some specimens."""
    classes = [TESTS.format(name=name, directory=str(SPECIMENS)) for name in names]
    source = "from router.testing import Conformance\n" + "\n".join(classes)
    return judgement(source, directory)


def judgement(source: str, directory: Path) -> Said:
    """What the tests in that source said, run by a pytest of their own."""
    directory.mkdir()
    (directory / "test_them.py").write_text(source)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--junitxml", "report.xml"],
        cwd=directory, env=os.environ | {"PYTHONPATH": paths}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for test in ElementTree.parse(directory / "report.xml").iter("testcase"):
        name = test.attrib["classname"].partition(".Test_")[2]
        assert test.find("error") is None
        if (skip := test.find("skipped")) is not None:
            # Which is only right where another test says why.
            assert skip.attrib["message"] == "test_plugin_is_usable says why"
            continue
        failure = test.find("failure")
        words = "" if failure is None else str(failure.text)
        said[name][test.attrib["name"]] = words
    for tests in said.values():
        assert (len(tests) == 1) == bool(tests["test_plugin_is_usable"])
    return said


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    directory = tmp_path_factory.mktemp("specimens")
    shares = [NAMES[n::AT_ONCE] for n in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(
            lambda n: judged(shares[n], directory / str(n)), range(AT_ONCE)
        )
        return {name: tests for one in found for name, tests in one.items()}


@pytest.fixture(scope="module")
def misused(tmp_path_factory: pytest.TempPathFactory) -> Said:
    source = MISUSED.format(directory=str(SPECIMENS))
    return judgement(source, tmp_path_factory.mktemp("misused") / "it")


@pytest.mark.parametrize("name", NAMES)
def test_a_specimen_fails_what_it_breaks_and_is_told_how_to_mend_it(
    said: Said, name: str
) -> None:
    failed = {test: words for test, words in said[name].items() if words}
    expected = fails(name)
    if "*" in expected:
        assert failed
        for words in failed.values():
            assert expected["*"] in words
        return
    right = {
        test: words
        for key, words in expected.items()
        for test in said[name]
        if key in (test, test.partition("[")[0])
    }
    assert failed.keys() == right.keys(), "\n\n".join(failed.values())
    for test, words in right.items():
        assert words in failed[test]
        assert "To mend it: " in failed[test]


MISUSED = """
from router.testing import Conformance

class Test_no_partner(Conformance):
    plugin = "good"
    plugin_dirs = [{directory!r}]
    settings = {{"url": "http://127.0.0.1:9/hook", "token": "s3cr3t-token"}}

class Test_bad_settings(Conformance):
    plugin = "good"
    plugin_dirs = [{directory!r}]
    settings = {{"uri": "{{partner}}/hook", "token": "s3cr3t-token"}}

class Test_no_batch(Conformance):
    plugin = "good"
    plugin_dirs = [{directory!r}]
    settings = {{"url": "{{partner}}/hook", "token": "s3cr3t-token"}}
    batch = {{"batch_bytes": 5000}}

class Test_untried_batch(Conformance):
    plugin = "good"
    plugin_dirs = [{directory!r}]
    settings = {{"url": "{{partner}}/hook", "token": "s3cr3t-token", "batch_events": 9}}

class Test_no_plugin(Conformance):
    plugin = "godo"
    plugin_dirs = [{directory!r}]
    settings = {{"url": "{{partner}}/hook"}}

class Test_other_outcomes(Conformance):
    plugin = "good"
    plugin_dirs = [{directory!r}]
    settings = {{"url": "{{partner}}/hook", "token": "s3cr3t-token"}}
    outcomes = {{409: None, 423: None}}

class Test_took_others(Conformance):
    plugin = "good"
    plugin_dirs = [{directory!r}]
    settings = {{"url": "{{partner}}/hook", "token": "s3cr3t-token"}}
    batch = {{"batch_events": 5}}
    took_others = True

    def partial_answer(self, index, payloads):
        return 422, {{"bad": index}}
"""


@pytest.mark.parametrize(
    ("name", "test", "words"),
    [
        ("no_partner", "test_plugin_is_usable", "give the partner's address so"),
        ("bad_settings", "test_plugin_is_usable", "uri: unknown key; known keys: "),
        ("no_batch", "test_batch_events", 'say `batch = {"batch_events": 5}`'),
        ("untried_batch", "test_events_arrive_whole", "none, and batch_events = 9"),
        ("no_plugin", "test_plugin_is_usable", "say in `plugin_dirs` where it is"),
        ("other_outcomes", "test_status[409]", "came Rejected: answered 409"),
        ("other_outcomes", "test_status[409]", "read it as `outcomes` says; or"),
        ("other_outcomes", "test_status[423]", "expected nothing raised (taken)"),
        ("took_others", "test_partial_answer[first]", "[1, 2, 3, 4] again"),
    ],
)
def test_what_an_author_got_wrong_is_told(
    misused: Said, name: str, test: str, words: str
) -> None:
    assert words in misused[name][test]


def test_no_author_is_told_to_declare_a_loss_right(said: Said) -> None:
    words = said["says_that_all_were_taken"]["test_status[400]"]
    assert "came Partial" in words
    assert "outcomes" not in words


def test_rules_that_do_not_apply_are_left_out(said: Said, misused: Said) -> None:
    assert not any(
        "batch" in test or "partial" in test for test in misused["untried_batch"]
    )
    assert "test_sandbox" not in said["clock"]
    assert "test_case[signed-up]" not in said["clock"]


def test_the_docs_tell_all_that_an_author_can_say() -> None:
    names = {name for name in Kit.__annotations__ if not name.startswith("_")}
    names |= {name for name in vars(Kit) if name.endswith("_answer")}
    assert len(names) == 12
    hooks = (ROOT / "docs" / "hooks.md").read_text()
    for text in (hooks.partition("## Testing")[2], str(Conformance.__doc__)):
        missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
        assert missing == []


def test_without_pytest_the_kit_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pytest.py").write_text("raise ModuleNotFoundError")
    done = subprocess.run(
        [sys.executable, "-c", "import router.testing"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert last == (
        "ImportError: router.testing needs pytest: pip install 'event-router[testing]'"
    )


def test_every_rule_has_a_specimen_that_breaks_it(said: Said) -> None:
    failed = {test for tests in said.values() for test, words in tests.items() if words}
    assert {*said["good"]} - failed == set()
