"""What README promises, done as it is written there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from conftest import ROOT, Router, eventually

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def checkout(router: Router) -> Router:
    """A router in a copy of this checkout, with conf.d as it is checked in."""
    shutil.rmtree(router.conf)
    for name in ("conf.d", "plugins", "router"):
        shutil.copytree(ROOT / name, router.directory / name)
    return router


def test_the_walk_through_ends_with_one_profile_and_the_same_in_the_archive(
    checkout: Router,
) -> None:
    sdk = next(block for block in blocks("python") if "segment" in block)
    with checkout.running():
        done = subprocess.run(
            [sys.executable, "-c", sdk.replace(":8000", f":{checkout.port}")],
            env=checkout.environ(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        eventually(lambda: len(checkout.received()) == 3)
        eventually(lambda: len(checkout.archived()) == 3)
        profiles = checkout.profiles()
        assert checkout.run("status")
        assert checkout.run("ledger")
    (profile,) = profiles
    assert (profile["userId"], profile["anonymousIds"]) == ("u-42", ["a-7"])
    assert [event.get("event", event["type"]) for event in profile["events"]] == [
        "Product Viewed", "identify", "Product Added"
    ]  # fmt: skip
    sent = [event["messageId"] for event in profile["events"]]
    assert [event["messageId"] for event in checkout.archived()] == sent


def test_explain_prints_what_is_shown(checkout: Router) -> None:
    shown = next(block for block in blocks("console") if "router explain" in block)
    event = re.search(r"echo '(.*?)'", shown)
    assert event
    (checkout.directory / "event.json").write_text(event[1])
    printed = checkout.run("explain", "event.json", ok=False).splitlines()
    expected = shown.split("...\n")[1].strip().splitlines()
    assert expected == [one for one in printed if re.search(r"^[^{]*properties", one)]


def test_the_fault_makes_events_wait_and_then_arrive(checkout: Router) -> None:
    shown = next(block for block in blocks("console") if "faults" in block)
    body = re.search(r"-d '(.*?)'", shown)
    assert body
    with checkout.running():
        url = f"{checkout.url}/sandbox/movable_ink/faults"
        assert requests.post(url, data=body[1], timeout=5).ok
        event = {"userId": "u", "traits": {}}
        assert checkout.post("/v1/identify", event, key="demo-write-key").ok
        eventually(lambda: len(checkout.received()) == 1, 30)


def test_the_plugin_works_as_it_stands(checkout: Router) -> None:
    plugin = next(block for block in blocks("python") if "@hookimpl" in block)
    conf = next(block for block in blocks("toml") if "hello" in block)
    assert plugin.count("\n") <= 30
    (checkout.directory / "plugins" / "hello.py").write_text(plugin)
    # The archive of a second router stands in for the partner.
    sandbox = f"http://127.0.0.1:{checkout.port}/v1/track"
    (checkout.conf / "hello.toml").write_text(
        re.sub(r'url = ".*"', f'url = "{sandbox}"', conf)
    )
    assert "hello" in checkout.run("plugins")
    with checkout.running():
        event = {"userId": "u", "event": "Signed Up"}
        assert checkout.post("/v1/track", event, key="demo-write-key").ok
        # That path wants a write key: the plugin has called it and was told so.
        row = eventually(lambda: checkout.row("status", "hello")["holds"], every=0.2)
        assert "401" in row[0]["reason"]


def test_the_files_that_it_names_are_there() -> None:
    for name in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert Path(ROOT, name).exists(), name
