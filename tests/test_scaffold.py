"""`router new-plugin`: what it writes works as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, eventually, held_port


def run(directory, *command, ok=True):
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not ok or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_it_writes_delivers_to_its_sandbox(router):
    written = router.json("new-plugin", "acme_mail")
    assert written["files"] == [
        "plugins/acme_mail.py", "conf.d/acme_mail.toml", "tests/test_acme_mail.py"
    ]  # fmt: skip
    assert "acme_mail" in router.run("plugins")
    with router.running():
        answer = router.post(
            "/v1/batch",
            {
                "batch": [
                    {"type": "identify", "userId": "ann", "traits": {"name": "Ann"}},
                    {"type": "track", "userId": "ann", "event": "Product Viewed"},
                    {"type": "track", "userId": "ann", "event": "Order Completed"},
                    {"type": "track", "userId": "ann", "event": "Cart Viewed"},
                    {"type": "page", "userId": "ann"},
                ]
            },
        )
        assert answer.status_code == 200
        row = eventually(
            lambda: (row := router.row("status", "acme_mail"))["pending"] == 0 and row
        )
    assert row["accepted"] == 5
    assert row["delivered"] == 2
    assert row["dead"] == {"requirements": 1}
    assert row["skipped"] == {"unsupported_event": 1, "unsupported_type": 1}


def test_it_passes_its_own_tests_untouched(tmp_path):
    run(tmp_path, sys.executable, "-m", "router", "new-plugin", "acme_mail")
    said = run(tmp_path, sys.executable, "-m", "pytest", "tests", "-q")
    assert " passed" in said
    assert "skipped" not in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("class", "'class': a name has lower-case letters, digits and _"),
        ("Foo-bar", "a name has lower-case letters"),
        ("../evil", "a name has lower-case letters"),
        ("movable_ink", "there is a plugin movable_ink already"),
    ],
)
def test_a_name_that_cannot_be_is_told_and_nothing_written(tmp_path, name, said):
    command = [sys.executable, "-m", "router", "new-plugin", name]
    assert said in run(tmp_path, *command, ok=False)
    assert list(tmp_path.iterdir()) == []


def test_it_writes_over_nothing(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_acme.py").write_text("mine")
    command = [sys.executable, "-m", "router", "new-plugin", "acme"]
    assert "tests/test_acme.py: exists already" in run(tmp_path, *command, ok=False)
    assert [path.name for path in tmp_path.iterdir()] == ["tests"]
    assert (tmp_path / "tests" / "test_acme.py").read_text() == "mine"


def test_a_package_runs_beside_a_wheel_of_the_router_in_a_clean_environment(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    router = [sys.executable, "-m", "router"]
    run(tmp_path, *router, "new-plugin", "acme_mail", "--package")
    wheels = ["wheel", "--quiet", "--no-deps", "--wheel-dir", "wheels"]
    # Elsewhere, as building leaves files behind.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "router", "plugins"):
        run(tmp_path, "cp", "-r", str(ROOT / name), str(source))
    run(tmp_path, *pip, *wheels, "./source", "./event-router-acme-mail")
    run(tmp_path, sys.executable, "-m", "venv", "clean")
    clean = str(tmp_path / "clean" / "bin" / "python")
    wheel_files = [str(path) for path in (tmp_path / "wheels").iterdir()]
    assert len(wheel_files) == 2
    install = ["-m", "pip", "install", "--quiet", *wheel_files]
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([clean, *install], check=True, timeout=300, env=environ)
    conf = tmp_path / "conf.d"
    conf.mkdir()
    (conf / "router.toml").write_text('[sources.web]\nwrite_key = "key"\n')
    made = (
        tmp_path / "event-router-acme-mail" / "conf.d" / "acme_mail.toml"
    ).read_text()
    (conf / "acme_mail.toml").write_text(made)
    found = subprocess.run(
        [clean, "-m", "router", "plugins", "acme_mail", "--json"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    page = json.loads(found.stdout)
    assert page["where"] == (
        "entry point event_router_acme_mail of event-router-acme-mail 0.1.0"
    )
    event = {"type": "track", "userId": "ann", "event": "Product Viewed"}
    (tmp_path / "event.json").write_text(json.dumps(event))
    explained = subprocess.run(
        [clean, "-m", "router", "explain", "event.json", "--json"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    (row,) = json.loads(explained.stdout)
    assert row["outcome"] == "deliver"
    assert row["requests"][0]["url"].endswith("/sandbox/acme_mail/events")
    assert serves_and_delivers(tmp_path, clean, environ) == (1, {})


def serves_and_delivers(directory, python, environ):
    """What the package's destination has delivered of one event that was sent to a
    `gunicorn router`, and what it gave up."""
    sandboxed = '[router]\nsandbox = true\n[sources.web]\nwrite_key = "key"\n'
    (directory / "conf.d" / "router.toml").write_text(sandboxed)
    held = held_port()
    environ = environ | {"PORT": str(held.getsockname()[1]), "HOME": str(directory)}

    def said(*command):
        done = subprocess.run(
            [python, "-m", "router", *command, "--json"],
            cwd=directory, env=environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return json.loads(done.stdout) if done.returncode == 0 else None

    gunicorn = Path(python).with_name("gunicorn")
    with (directory / "gunicorn.log").open("wb") as output:
        server = subprocess.Popen(
            [gunicorn, "router"], cwd=directory, env=environ,
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        sent = eventually(lambda: said("send", "event.json"), 30)
        assert sent == {"accepted": 1, "rejected": []}

        def row():
            (one,) = [
                one for one in said("status") if one["destination"] == "acme_mail"
            ]
            return one["pending"] == 0 and one

        found = eventually(row, 30)
    except AssertionError as error:
        error.add_note((directory / "gunicorn.log").read_text())
        raise
    finally:
        server.terminate()
        server.wait(30)
        held.close()
    return found["delivered"], found["dead"]
