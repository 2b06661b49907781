"""docs/writing-a-plugin.md: what it builds, step by step, passes the kit."""

import re
import subprocess
import sys
from types import NoneType

import pytest
from conftest import ROOT

from router import Partial, Rejected, Retry, codec
from router.testing.examples import numbered
from router.testing.scripted import answer, scripted
from router.testing.trial import Trial, attempt, prepared

TUTORIAL = (ROOT / "docs" / "writing-a-plugin.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
CONF = '[sources.web]\nwrite_key = "key"\n'


@pytest.fixture
def made(router):
    """The tutorial's plugin, where a reader has it."""
    (router.directory / "plugins").mkdir()
    (router.directory / "tests").mkdir()
    plugin, tests = "\n\n".join(BLOCKS[:-1]), BLOCKS[-1]
    (router.directory / "plugins" / "tally.py").write_text(plugin)
    (router.directory / "tests" / "test_tally.py").write_text(tests)
    (toml,) = re.findall(r"```toml\n(.*?)```", TUTORIAL, re.DOTALL)
    router.configure(CONF.replace("{", "{{") + toml.replace("${TALLY_KEY}", "a-key"))
    return router


def test_its_plugin_passes_its_tests(made):
    judge(made)


def test_its_end_passes_its_tests(router):
    end = ROOT / "docs" / "tutorial"
    for name, place in (("pennant.py", "plugins"), ("test_pennant.py", "tests")):
        (router.directory / place).mkdir()
        (router.directory / place / name).write_text((end / name).read_text())
    assert len((end / "pennant.py").read_text().splitlines()) < 60
    judge(router)


@pytest.mark.parametrize(
    ("status", "said", "outcome"),
    [
        (422, {"bad": [{"position": 1, "why": "no"}]}, Partial),
        (422, {"bad": [{"position": 2, "why": "no"}]}, Rejected),
        (422, {"bad": [{"position": -1, "why": "no"}]}, Rejected),
        (422, {"bad": [{"position": "1", "why": "no"}]}, Rejected),
        (422, {"bad": [{"position": [1], "why": "no"}]}, Rejected),
        (422, {"bad": [{"why": "no"}]}, Rejected),
        (422, {"bad": [{"position": 1}]}, Rejected),
        (422, {"bad": [{"position": 1, "why": ["no"]}]}, Partial),
        (422, {"bad": "all"}, Rejected),
        (422, {"bad": 7}, Rejected),
        (422, {"bad": []}, Rejected),
        (422, ["bad"], Rejected),
        (429, {"wait": 1.5}, Retry),
        (429, {"wait": "soon"}, Retry),
        (200, {"bad": "none"}, NoneType),
    ],
)
def test_its_plugin_believes_no_answer(made, status, said, outcome):
    body = codec.dumps(said)
    with scripted(answer(f"{status} Said", body=body)) as partner:
        settings = {"endpoint": "{partner}", "key": "a-key-for-tests"}
        settings["batch_events"] = 2
        plugins = made.directory / "plugins"
        trial = Trial(
            "tally", [plugins], settings, partner, partner.url, made.directory
        )
        destination = trial.destination()
        events = [numbered({"type": "track", "event": "Seen"}, n) for n in range(2)]
        deliveries = [prepared(destination, event) for event in events]
        assert type(attempt(destination, deliveries)) is outcome


def judge(router):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=router.directory,
        env=router.environ(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE), done.stdout
    assert "skipped" not in done.stdout


def test_it_prints_what_the_tutorial_shows(made):
    steps = re.findall(r"\$ echo '(.*?)' > event.json\n\$ router (.*?)\n", TUTORIAL)
    ((event, command),) = steps
    (made.directory / "event.json").write_text(event)
    said = made.run(*command.split(), ok=False)
    shown = TUTORIAL.split(f"$ router {command}\n")[1].split("```")[0]
    assert said == shown
