"""Finding and loading plugins: the three places, and what is said of each mistake."""

import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from router import plugins
from router.errors import PluginError

ROOT = Path(__file__).parent.parent

HOOKS = (
    "alias(event, settings), connect(settings), deliver(payloads, settings, client), "
    "group(event, settings), identify(event, settings), page(event, settings), "
    "requirements(settings), sandbox(settings), screen(event, settings), settings(), "
    "track(event, settings)"
)

DELIVERS = """
from router import hookimpl

@hookimpl
def deliver(payloads):
    pass
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file in a folder of plugins: write("name.py", text)."""
    folder = tmp_path / "more"
    folder.mkdir()

    def to(name, text=DELIVERS):
        file = folder / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(textwrap.dedent(text))
        return file

    return to


@pytest.fixture
def load(tmp_path):
    """Loads a plugin, found in the folder or built in."""
    return lambda name: plugins.manager(name, plugins.find([tmp_path / "more"]))


@pytest.fixture
def complaint(load):
    def message(name):
        with pytest.raises(PluginError) as raised:
            load(name)
        return str(raised.value)

    return message


def run(code, *arguments, path=()):
    """Runs Python code in a process of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        env={"PYTHONPATH": ":".join([str(ROOT), *map(str, path)])},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_plugins_of_the_package_are_found_with_their_files():
    found = plugins.find()
    assert sorted(found) == ["braze", "jsonl", "movable_ink", "webhook"]
    assert found["jsonl"].origin == str(ROOT / "plugins" / "jsonl.py")
    assert found["movable_ink"].origin == str(ROOT / "plugins" / "movable_ink")


@pytest.mark.parametrize("name", ["braze", "jsonl", "movable_ink", "webhook"])
def test_every_plugin_that_is_built_in_loads(name):
    assert plugins.manager(name, plugins.find()).has_plugin(name)


def test_finding_plugins_imports_none_of_them(write, tmp_path):
    write("explodes.py", "raise RuntimeError")
    write("folder/__init__.py", "raise RuntimeError")
    code = """
        import sys
        from pathlib import Path
        from router import plugins
        found = plugins.find([Path(sys.argv[1])])
        print(sorted(found))
        print([m for m in sys.modules if m.startswith(("plugins.", "event_router"))])
    """
    assert run(code, str(tmp_path / "more")).splitlines() == [
        "['braze', 'explodes', 'folder', 'jsonl', 'movable_ink', 'webhook']",
        "[]",
    ]


def test_only_modules_of_a_folder_are_plugins(write, tmp_path):
    write("one.py")
    write("two/__init__.py")
    write("_private.py")
    write("notes.txt")
    write("three/no_init.py")
    assert sorted(set(plugins.find([tmp_path / "more"])) - set(plugins.find())) == [
        "one",
        "two",
    ]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PluginError, match=f"{tmp_path}/gone is not a directory"):
        plugins.find([tmp_path / "gone"])


def test_a_plugin_in_a_folder_loads_and_delivers(write, load):
    write(
        "parrot.py",
        """
        from router import hookimpl

        @hookimpl
        def track(event):
            return event["event"]

        @hookimpl
        def deliver(payloads, client):
            client.extend(payloads)
        """,
    )
    hook = load("parrot").hook
    assert hook.track(event={"event": "Added"}, settings=None) == "Added"
    sent = []
    hook.deliver(payloads=["a"], settings=None, client=sent)
    assert sent == ["a"]


def test_a_plugin_that_is_a_folder_may_import_its_own_files(write, load):
    write("flock/__init__.py", "from .deep.parts import deliver\n")
    write("flock/deep/__init__.py", "")
    write("flock/deep/parts.py", "from ..marks import hookimpl\n" + DELIVERS)
    write("flock/marks.py", "from router import hookimpl\n")
    assert load("flock").hook.deliver.get_hookimpls()


def test_a_plugin_may_have_the_name_of_a_module_that_is_in_use(write, load):
    write("json.py")
    write("router.py")
    assert load("json").has_plugin("json")
    assert load("router").has_plugin("router")
    code = "import json, router; print(json.dumps(1), router.hookimpl.project_name)"
    assert run(code) == "1 event_router"
    assert hasattr(sys.modules["json"], "dumps")


def test_a_plugin_of_an_installed_package_is_found_by_its_entry_point(tmp_path):
    (tmp_path / "acme_router.py").write_text(DELIVERS)
    info = tmp_path / "acme_router-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-router\nVersion: 1.2\n"
    )
    (info / "entry_points.txt").write_text("[event_router]\nacme = acme_router\n")
    code = """
        import sys
        from router import plugins
        found = plugins.find()
        print(found["acme"].origin)
        print("acme_router" in sys.modules)
        print(plugins.manager("acme", found).has_plugin("acme"))
    """
    assert run(code, path=[tmp_path]).splitlines() == [
        "entry point acme_router of acme-router 1.2",
        "False",
        "True",
    ]


def test_an_entry_point_that_leads_nowhere_is_named_with_its_package(tmp_path):
    info = tmp_path / "acme_router-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-router\nVersion: 1.2\n"
    )
    (info / "entry_points.txt").write_text("[event_router]\nacme = gone_away\n")
    code = """
        from router import plugins
        from router.errors import PluginError
        try:
            plugins.manager("acme", plugins.find())
        except PluginError as error:
            print(error)
    """
    assert run(code, path=[tmp_path]).startswith(
        "plugin 'acme' (entry point gone_away of acme-router 1.2): cannot be imported: "
        "ModuleNotFoundError: No module named 'gone_away' ("
    )


def test_an_unknown_name_lists_the_known_ones(write, complaint):
    write("parrot.py")
    assert complaint("parrrot") == (
        "no plugin is named 'parrrot'; "
        "known plugins: braze, jsonl, movable_ink, parrot, webhook"
    )


def test_a_name_that_is_there_twice_is_named_with_both_places(write, complaint):
    file = write("jsonl.py")
    assert complaint("movable_ink") == (
        f"plugin 'jsonl' is there twice: {ROOT}/plugins/jsonl.py and {file}; "
        "rename or remove one"
    )


def test_a_file_and_a_folder_of_one_name_are_named_both(write, complaint):
    file = write("parrot.py")
    folder = write("parrot/__init__.py").parent
    said = complaint("parrot")
    assert "plugin 'parrot' is there twice" in said
    assert str(file) in said
    assert f"{folder} " in said or f"{folder};" in said


def test_one_name_in_two_folders_is_named_with_both(write, tmp_path):
    first = write("parrot.py")
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / "parrot.py"
    second.write_text(DELIVERS)
    with pytest.raises(PluginError) as raised:
        plugins.find([tmp_path / "more", tmp_path / "other"])
    assert str(raised.value) == (
        f"plugin 'parrot' is there twice: {first} and {second}; rename or remove one"
    )


def test_a_plugin_that_raises_when_imported_is_named_with_file_and_line(
    write, complaint
):
    file = write("broken.py", "import json\n\njson.loads('{')\n")
    said = complaint("broken")
    assert said.startswith(f"plugin 'broken' ({file}): cannot be imported: ")
    assert "JSONDecodeError: Expecting property name" in said


def test_an_import_that_fails_is_named_with_file_and_line(write, complaint):
    file = write("broken.py", "import sys\n\nimport no_such_module\n")
    assert complaint("broken") == (
        f"plugin 'broken' ({file}): cannot be imported: ModuleNotFoundError: "
        f"No module named 'no_such_module' ({file}:3)"
    )


def test_an_import_that_fails_in_a_file_of_a_folder_names_that_file(write, complaint):
    write("nest/__init__.py", "from .egg import deliver\n")
    egg = write("nest/egg.py", "\n\n1 / 0\n")
    assert complaint("nest") == (
        f"plugin 'nest' ({egg.parent}): cannot be imported: ZeroDivisionError: "
        f"division by zero ({egg}:3)"
    )


def test_a_syntax_error_is_named_with_file_and_line(write, complaint):
    file = write("broken.py", "x = 1\ndef f(:\n")
    said = complaint("broken")
    assert said.startswith(f"plugin 'broken' ({file}): cannot be imported: SyntaxError")
    assert said.endswith(f"(broken.py, line 2) ({file}:2)")


def test_a_plugin_that_exits_when_imported_is_named(write, complaint):
    file = write("quits.py", "import sys\n\nsys.exit('no licence')\n")
    assert complaint("quits").startswith(f"plugin 'quits' ({file}): cannot be imported")


def test_what_does_not_return_is_left_behind_and_its_place_told():
    ended = threading.Event()
    said = r"^it has not returned within 0\.1 s: it is at .*:\d"
    with pytest.raises(PluginError, match=said):
        plugins.within(0.1, ended.wait, "it")
    ended.set()
    assert plugins.within(5, lambda: 7, "it") == 7


def test_what_it_raises_is_told_with_and_without_its_words():
    with pytest.raises(PluginError) as raised:
        plugins.within(5, lambda: sys.exit("c4n4ry"), "it")
    assert str(raised.value).startswith("it raised SystemExit: c4n4ry (")
    assert re.search(r"^it raised SystemExit \(.*test_plugins.py:\d", raised.value.safe)


@pytest.fixture
def loader(tmp_path):
    """Loads plugins that are in the folder by then, each within a second."""
    return lambda: plugins.Loader(plugins.find([tmp_path / "more"]), 1.0)


def test_one_that_does_not_return_is_waited_for_once_and_costs_no_other(write, loader):
    write("stuck.py", "import time\n\ntime.sleep(9999)\n")
    write("slow.py", "import time\n\ntime.sleep(0.6)\n" + DELIVERS)
    load, began = loader().load, time.monotonic()
    for _ in range(3):
        with pytest.raises(PluginError, match=r"^its import, .* within 1 s: it is at "):
            load("stuck", id)
    assert load("slow", lambda hooks: hooks.has_plugin("slow"))
    assert time.monotonic() - began < 2.5


def test_one_that_cannot_be_imported_is_not_tried_again(write, loader, tmp_path):
    folder = str(tmp_path / "tries")
    write("broken.py", f"import tempfile\n\ntempfile.mkdtemp(dir={folder!r})\n1 / 0\n")
    (tmp_path / "tries").mkdir()
    load = loader().load
    for _ in range(3):
        with pytest.raises(PluginError, match="cannot be imported: ZeroDivisionError"):
            load("broken", id)
    assert len(list((tmp_path / "tries").iterdir())) == 1


def test_what_fails_of_one_destination_fails_of_no_other(write, loader):
    write("parrot.py")
    load = loader().load
    with pytest.raises(PluginError, match="settings or requirements raised ZeroDiv"):
        load("parrot", lambda hooks: 1 / 0)
    managers = [load("parrot", lambda hooks: hooks) for _ in range(2)]
    assert managers[0] is not managers[1]


def test_an_exception_that_cannot_be_told_is_told_without_its_words(write, complaint):
    file = write(
        "shy.py",
        """
        class Shy(Exception):
            def __str__(self):
                raise KeyError

        raise Shy
        """,
    )
    said = f"plugin 'shy' ({file}): cannot be imported: Shy ({file}:6)"
    assert complaint("shy") == said


def test_a_plugin_that_failed_can_be_loaded_once_it_is_mended(write, load, complaint):
    write("fickle.py", "raise RuntimeError('first')\n")
    assert "first" in complaint("fickle")
    write("fickle.py", DELIVERS + "\n# longer, so that no stale bytecode fits\n")
    assert load("fickle").has_plugin("fickle")


def test_a_misspelt_hook_is_named_and_the_hooks_are_listed(write, complaint):
    file = write(
        "typo.py", DELIVERS + "\n@hookimpl\ndef trak(event):\n    return event\n"
    )
    assert complaint("typo") == (
        f"plugin 'typo' ({file}): unknown hook 'trak' in plugin "
        f"<module 'event_router_plugin_typo' from '{file}'>; hooks: {HOOKS}"
    )


def test_a_wrong_argument_of_a_hook_is_named_and_the_arguments_are_listed(
    write, complaint
):
    file = write(
        "typo.py", DELIVERS + "\n@hookimpl\ndef track(evnt):\n    return evnt\n"
    )
    said = complaint("typo")
    assert said.startswith(f"plugin 'typo' ({file}): Plugin 'typo' for hook 'track' ")
    assert "{'evnt'} are declared in the hookimpl" in said
    assert said.endswith(f"; hooks: {HOOKS}")
    assert "\n" not in said


def test_a_plugin_without_deliver_is_refused(write, complaint):
    file = write("mute.py", "def deliver(payloads):\n    pass\n")
    assert complaint("mute") == (
        f"plugin 'mute' ({file}): has no hook `deliver`; is it marked with @hookimpl?"
    )


def test_two_destinations_of_one_plugin_have_hooks_of_their_own(write, load):
    write("parrot.py")
    first, second = load("parrot"), load("parrot")
    assert first is not second
    assert len(first.hook.deliver.get_hookimpls()) == 1
    assert len(second.hook.deliver.get_hookimpls()) == 1


def test_a_hook_of_the_plugin_wins_over_the_default(write, load):
    write(
        "custom.py",
        DELIVERS + "\n@hookimpl\ndef connect():\n    return 'my own client'\n",
    )
    assert load("custom").hook.connect(settings=None) == "my own client"


def test_a_hook_that_is_async_is_refused(write, complaint):
    write("later.py", DELIVERS.replace("def deliver", "async def deliver"))
    assert complaint("later").endswith("deliver is async; hooks are not")


def test_plugins_of_the_working_directory_are_found_whoever_asks(tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "mine.py").write_text(DELIVERS)
    asked = """
        import os, sys
        os.chdir(sys.argv[1])
        sys.path[:0] = sys.argv[2:]
        from router import plugins
        print(sorted(plugins.find([plugins.Path("plugins")])))
    """
    for more in ([], [str(tmp_path)]):
        printed = run(asked, str(tmp_path), *more)
        assert printed.strip() == "['braze', 'jsonl', 'mine', 'movable_ink', 'webhook']"
