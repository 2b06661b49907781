"""conf.d: what an operator may write, and what is said of every mistake."""

import os
import threading
from pathlib import Path

import pytest

from router import config, plugins
from router.errors import ConfigError, PluginError
from router.requirements import check
from router.tables import TableSource

SOURCE = '[sources.web]\nwrite_key = "k"\n'
CANARY = "c4n4ry"
ITS_HOOKS = "its import, settings or requirements"

DESTINATION_KEYS = (
    "plugin, enabled, sources, types, events, keep, drop, hash, batch_events, "
    "batch_bytes, concurrency, timeout, give_up_after, start"
)
KNOWN_TABLES = "[router], [ingest], [admin], [sources.NAME], [destinations.NAME]"


@pytest.fixture
def conf(tmp_path):
    """Writes files into a conf.d and loads it: conf(a="...", b="...")."""
    directory = tmp_path / "conf.d"
    directory.mkdir()

    def load(environ=None, **files):
        for name, text in files.items():
            (directory / f"{name}.toml").write_text(text, encoding="utf-8")
        return config.load(directory, {} if environ is None else environ)

    return load


@pytest.fixture
def report(conf, tmp_path):
    """The problems of such a conf.d, with its path cut off."""

    def problems(environ=None, **files):
        with pytest.raises(ConfigError) as raised:
            conf(environ, **files)
        assert str(raised.value).splitlines()[1:] == [
            f"  {line}" for line in raised.value.problems
        ]
        return [
            line.replace(f"{tmp_path}/conf.d/", "").replace(str(tmp_path), "TMP")
            for line in raised.value.problems
        ]

    return problems


@pytest.fixture
def broken(conf, tmp_path):
    """What is wrong with the only destination of such a conf.d, which is broken."""

    def problem(**files):
        made = conf(**files)
        assert made.destinations == made.disabled == {}
        (found,) = made.broken.values()
        return found.problem.replace(f"{tmp_path}/conf.d/", "")

    return problem


@pytest.fixture
def plugin(tmp_path):
    """Writes a plugin into a folder and gives the [router] table that finds it."""

    def write(name, text):
        folder = tmp_path / "more"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        return f'[router]\nplugin_dirs = ["{folder}"]\n'

    return write


# What works.


def test_a_source_is_all_that_is_needed_and_everything_else_has_a_default(conf):
    made = conf(a=SOURCE)
    assert made.router.data_dir == Path("data")
    assert made.router.partitions == 8
    assert made.router.retention == 7 * 86400
    assert made.router.max_disk == 10 * 1024**3
    assert (made.router.deliver, made.router.sandbox) == (True, False)
    assert made.ingest.max_event == 32 * 1024
    assert made.ingest.max_batch == 512 * 1024
    assert made.ingest.max_batch_events == 2500
    assert made.ingest.dedupe_window == 86400
    assert made.admin.token is None
    assert made.sources["web"].enabled
    assert made.destinations == made.disabled == {}


def test_sizes_and_times_have_units(conf):
    made = conf(
        a=SOURCE,
        b='[router]\nretention = "90m"\nmax_disk = "1.5MB"\n'
        '[ingest]\nmax_event = 1000\nmax_batch = "1 MiB"\n'
        '[destinations.jsonl]\ntimeout = "250ms"\ngive_up_after = "2d"\n',
    )
    assert made.router.retention == 5400
    assert made.router.max_disk == 1_500_000
    assert made.ingest.max_event == 1000
    assert made.ingest.max_batch == 1024**2
    settings = made.destinations["jsonl"].settings
    assert (settings.timeout, settings.give_up_after) == (0.25, 172800)


def test_destinations_come_in_the_order_of_files_and_know_their_names(conf):
    made = conf(
        a='[router]\ndata_dir = "/srv/x"\n',
        b='[destinations.second]\nplugin = "jsonl"\n[destinations.jsonl]\n',
        c="[destinations.first]\nplugin = 'jsonl'\n",
        s=SOURCE,
    )
    assert list(made.destinations) == ["second", "jsonl", "first"]
    settings = made.destinations["second"].settings
    assert (settings.name, settings.plugin) == ("second", "jsonl")
    assert settings.data_dir == Path("/srv/x")
    assert made.destinations["jsonl"].settings.plugin == "jsonl"


def test_only_files_that_end_in_toml_are_read(conf, tmp_path):
    (tmp_path / "conf.d" / "b.toml.disabled").write_text("nonsense")
    assert list(conf(a=SOURCE).sources) == ["web"]


def test_the_directory_is_named_by_router_conf(tmp_path):
    (tmp_path / "a.toml").write_text(SOURCE)
    made = config.load(environ={"ROUTER_CONF": str(tmp_path)})
    assert made.directory == tmp_path
    assert list(made.sources) == ["web"]


def test_the_directory_is_conf_d_by_default(tmp_path, monkeypatch):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    assert list(config.load(environ={}).sources) == ["web"]


def test_what_is_checked_in_works_as_it_is():
    made = config.load(Path(__file__).parent.parent / "conf.d", {})
    assert list(made.destinations) == ["archive", "movable_ink"]
    assert list(made.sources) == ["web"]


# The environment.


def test_the_environment_is_put_in_wherever_there_is_text(conf):
    made = conf(
        {"KEY": "s", "DIR": "/srv", "SIZE": "1KiB", "TYPE": "track"},
        a='[sources.web]\nwrite_key = "a-${KEY}-b"\n'
        '[router]\ndata_dir = "${DIR}/data"\nmax_disk = "${SIZE}"\n'
        'partitions = "${N:-4}"\ndeliver = "${DELIVER:-false}"\n'
        '[destinations.jsonl]\ntypes = ["${TYPE}"]\n',
    )
    assert made.sources["web"].write_key.get_secret_value() == "a-s-b"
    assert made.router.data_dir == Path("/srv/data")
    assert made.router.max_disk == 1024
    assert (made.router.partitions, made.router.deliver) == (4, False)
    assert made.destinations["jsonl"].settings.types == ["track"]


def test_a_default_stands_in_for_what_the_environment_has_not(conf):
    text = f'{SOURCE}[router]\ndata_dir = "${{DIR:-a:b-c}}"\n'
    assert conf(a=text).router.data_dir == Path("a:b-c")
    assert conf({"DIR": "real"}, a=text).router.data_dir == Path("real")


def test_what_comes_from_the_environment_is_not_read_for_variables_again(conf):
    made = conf({"KEY": "${OTHER}"}, a='[sources.web]\nwrite_key = "${KEY}"\n')
    assert made.sources["web"].write_key.get_secret_value() == "${OTHER}"


def test_a_variable_that_is_set_to_nothing_is_nothing_or_its_default(conf):
    text = '[sources.web]\nwrite_key = "k${EMPTY}${EMPTY:-d}"\n'
    made = conf({"EMPTY": ""}, a=text)
    assert made.sources["web"].write_key.get_secret_value() == "kd"


def test_a_variable_that_is_not_set_is_named_with_its_place(report):
    text = SOURCE + '[destinations.jsonl]\ndirectory = "/srv/${ARCHIVE}"\n'
    assert report(a=text) == [
        "a.toml: [destinations.jsonl] directory: the environment has no ARCHIVE; "
        "set it, or write ${ARCHIVE:-default}"
    ]


def test_a_variable_that_is_not_set_is_one_problem_and_not_two(report):
    assert report(a='[sources.web]\nwrite_key = "${KEY}"\n') == [
        "a.toml: [sources.web] write_key: the environment has no KEY; "
        "set it, or write ${KEY:-default}"
    ]


def test_a_variable_in_a_list_is_named_with_its_place_in_it(report):
    text = SOURCE + '[destinations.jsonl]\nevents = ["a", "${EVENT}"]\n'
    assert report(a=text)[0].startswith(
        "a.toml: [destinations.jsonl] events.1: the environment has no EVENT; "
    )


# Files and tables.


def test_a_directory_that_is_not_there_is_said_to_be_expected(tmp_path):
    with pytest.raises(ConfigError) as raised:
        config.load(tmp_path / "nowhere", {})
    assert str(raised.value) == (
        "1 problem in the configuration:\n"
        f"  {tmp_path}/nowhere: expected a directory with *.toml files"
    )


def test_an_empty_directory_is_too(report):
    assert report() == ["TMP/conf.d: expected a directory with *.toml files"]


def test_a_conf_d_without_a_source_is_refused(report):
    assert report(a="[destinations.jsonl]\n") == [
        "TMP/conf.d: needs a [sources.NAME] table"
    ]


def test_a_broken_file_is_named_with_line_and_column_and_the_others_are_read(report):
    assert report(a=SOURCE, b='[router]\ndata_dir = "x\n', c="[admin]\nx = 1\n") == [
        "b.toml: cannot be read as TOML: Illegal character '\\n' "
        "(at line 2, column 14)",
        "c.toml: [admin] x: unknown key; known keys: token",
    ]


def test_a_file_that_is_not_utf_8_is_named(report, tmp_path):
    (tmp_path / "conf.d" / "b.toml").write_bytes(b'[router]\n# caf\xe9\n"')
    (line,) = report(a=SOURCE)
    assert line.startswith("b.toml: cannot be read as TOML: 'utf-8' codec can't decode")


def test_a_table_in_two_files_is_named_with_both(report):
    both = {"a": SOURCE + "[router]\npartitions = 4\n", "b": "[router]\ndeliver = true"}
    assert report(**both) == [
        "b.toml: [router]: already in a.toml; a table must be in one file"
    ]


def test_a_source_and_a_destination_in_two_files_are_named_with_both(report):
    text = SOURCE + "[destinations.jsonl]\n"
    assert report(a=text, b=text) == [
        "b.toml: [sources.web]: already in a.toml; a table must be in one file",
        "b.toml: [destinations.jsonl]: already in a.toml; a table must be in one file",
    ]


def test_an_unknown_table_lists_the_known_ones(report):
    assert report(a=SOURCE + "[ruter]\npartitions = 4\n") == [
        f"a.toml: ruter: unknown table; known: {KNOWN_TABLES}"
    ]


def test_a_key_outside_every_table_is_refused(report):
    assert report(a='data_dir = "x"\n' + SOURCE) == [
        f"a.toml: data_dir: unknown table; known: {KNOWN_TABLES}"
    ]


@pytest.mark.parametrize("group", ["sources", "destinations"])
def test_a_value_in_place_of_a_named_table_is_refused(report, group):
    assert f"a.toml: [{group}] web: expected [{group}.NAME]" in report(
        a=f'[{group}]\nweb = "k"\n'
    )


@pytest.mark.parametrize("name", ["a b", "", "../x", "a.b", "ä"])
def test_a_name_with_other_characters_is_refused(report, name):
    assert report(a=SOURCE + f'[destinations."{name}"]\nplugin = "jsonl"\n') == [
        f"a.toml: [destinations.{name!r}]: a name has only letters, digits, _ and -"
    ]


# Keys and values.


def test_an_unknown_key_lists_the_known_ones(report):
    text = SOURCE + '[destinations.jsonl]\ndirectroy = "x"\n'
    assert report(a=text) == [
        "a.toml: [destinations.jsonl] directroy: unknown key; known keys: "
        f"{DESTINATION_KEYS}, directory, max_file, compress, sync"
    ]


def test_a_missing_key_says_what_it_is(report):
    assert report(a="[sources.web]\n") == [
        "a.toml: [sources.web] write_key: required: what its clients send"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[router]\npartitions = 0",
            "[router] partitions = 0: expected greater than or",
        ),
        ("[router]\npartitions = 257", "[router] partitions = 257: expected less than"),
        (
            "[router]\ndeliver = 'maybe'",
            "[router] deliver = 'maybe': expected a valid bo",
        ),
        (
            "[router]\nplugin_dirs = 'x'",
            "[router] plugin_dirs = 'x': expected a valid li",
        ),
        (
            "[router]\nretention = 7",
            '[router] retention = 7: expected a time such as "30s" or "24h" '
            "(units: ms, s, m, h, d)",
        ),
        (
            "[router]\nmax_disk = '10 parsecs'",
            "[router] max_disk = '10 parsecs': expected a size such as \"512KiB\" or "
            '"10GiB" (units: B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)',
        ),
        (
            "[ingest]\nmax_event = -1",
            "[ingest] max_event = -1: expected greater than 0",
        ),
        (
            "[ingest]\nmax_batch = true",
            "[ingest] max_batch = True: expected a size such",
        ),
        (
            "[ingest]\nmax_batch = '0B'",
            "[ingest] max_batch = '0B': expected greater tha",
        ),
        (
            "[ingest]\norigins = ['https://a.example', 'https://b.example/']",
            "[ingest] origins.1 = 'https://b.example/': expected what browsers send, "
            'as "https://shop.example"',
        ),
        *(
            (
                f"[ingest]\norigins = ['{never_sent}']",
                f"[ingest] origins.0 = '{never_sent}': expected what browsers send",
            )
            for never_sent in (
                "*",
                "https://*.shop.example",
                "https://shop.example:443",
                "http://shop.example:80",
                "https://münchen.example",
                "https://me@shop.example",
            )
        ),
        (
            "[ingest]\npublic_url = 'events.shop.example'",
            "[ingest] public_url = 'events.shop.example': expected a URL such as "
            '"https://events.shop.example"',
        ),
        (
            "[ingest]\ntrusted_proxies = ['10.0.0.0/8', 'proxy']",
            "[ingest] trusted_proxies.1 = 'proxy': value is not a valid IPv4 or IPv6",
        ),
        (
            "[destinations.jsonl]\ntypes = ['track', 'tack']",
            "[destinations.jsonl] types.1 = 'tack': expected 'identify', 'track', "
            "'page', 'screen', 'group' or 'alias'",
        ),
        (
            "[destinations.jsonl]\nstart = 'now'",
            "[destinations.jsonl] start = 'now': expected 'latest' or 'earliest'",
        ),
        (
            "[destinations.jsonl]\nbatch_events = 0",
            "[destinations.jsonl] batch_events = 0: expected greater than or equal to",
        ),
        (
            "[destinations.jsonl]\ntimeout = '0s'",
            "[destinations.jsonl] timeout = '0s': expected greater than 0",
        ),
        (
            "[destinations.jsonl]\nenabled = 'sometimes'",
            "[destinations.jsonl] enabled = 'sometimes': expected a valid boolean",
        ),
    ],
)
def test_a_wrong_value_is_shown_with_what_was_expected(report, text, expected):
    (line,) = report(a=SOURCE, b=text)
    assert line.startswith(f"b.toml: {expected}")


@pytest.mark.parametrize("time", ["5.0", "inf", "nan", '"1e3s"', '"-1s"', '"s"', "[]"])
def test_a_time_needs_a_number_and_a_unit(report, time):
    (line,) = report(a=SOURCE + f"[destinations.jsonl]\ntimeout = {time}\n")
    assert line.startswith("a.toml: [destinations.jsonl] timeout = ")
    assert ': expected a time such as "30s" or "24h"' in line


def test_a_long_value_is_cut(report):
    (line,) = report(a=SOURCE + f'[router]\nretention = "{"x" * 500}"\n')
    assert len(line) < 160
    assert "xxx..." in line


def test_an_empty_write_key_is_refused(report):
    (line,) = report(a='[sources.web]\nwrite_key = ""\n')
    assert line.startswith("a.toml: [sources.web] write_key = (hidden): ")


def test_a_write_key_that_basic_authentication_cannot_carry_is_a_problem(report):
    (line,) = report(a='[sources.web]\nwrite_key = "a:b"\n')
    assert line == (
        'a.toml: [sources.web] write_key = (hidden): expected no ":", where Basic '
        "authentication ends a user"
    )


def test_two_sources_with_one_write_key_are_named_both(report):
    text = SOURCE + '[sources.ios]\nwrite_key = "other"\n'
    assert report(a=text, b='[sources.app]\nwrite_key = "k"\n') == [
        "b.toml: [sources.app] write_key: is that of [sources.web] too; each source "
        "needs its own"
    ]


def test_a_source_that_is_switched_off_still_owns_its_write_key(report):
    text = '[sources.old]\nwrite_key = "k"\nenabled = false\n'
    assert len(report(a=SOURCE + text)) == 1


def test_a_destination_of_a_source_that_is_not_there_lists_those_that_are(report):
    text = '[destinations.jsonl]\nsources = ["web", "andorid"]\n'
    assert report(a=SOURCE, b='[sources.android]\nwrite_key = "a"\n' + text) == [
        "b.toml: [destinations.jsonl] sources = 'andorid': expected one of android, web"
    ]


def test_all_problems_of_all_files_are_in_one_report(report):
    lines = report(
        a="[router]\npartitions = 0\nport = 80\n",
        b="[sources.web]\nwrite_key = 5\n[sources.ios]\n",
        c="[destinations.jsonl]\nevents = 'Added'\n",
        d="[destinations",
        e="[movable_ink]\n",
    )
    files = [line.partition(".")[0] for line in lines]
    assert files == ["d", "e", "a", "a", "b", "b", "c"]


def test_the_report_counts_its_problems(conf):
    with pytest.raises(ConfigError, match=r"^2 problems in the configuration:\n  "):
        conf(a=SOURCE + "[router]\nx = 1\ny = 2\n")


# One mistake is one problem: what follows from it is not reported as well.


def test_a_source_with_a_mistake_is_still_there_for_its_destinations(report):
    text = SOURCE + 'enabled = "perhaps"\n[destinations.jsonl]\nsources = ["web"]\n'
    (line,) = report(a=text)
    assert line.startswith("a.toml: [sources.web] enabled = 'perhaps': expected a")


def test_a_plugin_folder_that_is_not_there_is_no_problem_of_each_destination(report):
    text = '[router]\nplugin_dirs = ["/nowhere"]\n[destinations.jsonl]\n'
    (line,) = report(a=SOURCE + text)
    assert "/nowhere is not a directory" in line


def test_a_plugin_folder_that_is_not_there_is_named_with_its_file(report):
    line = report(a=SOURCE + '[router]\nplugin_dirs = ["/nowhere"]\n')[0]
    assert line.startswith("a.toml: [router] plugin_dirs")


def test_a_plugin_that_is_there_twice_is_named_without_a_router_table_too(
    conf, tmp_path, monkeypatch
):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "jsonl.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        conf(a=SOURCE)
    (line,) = raised.value.problems
    assert line.startswith(f"{tmp_path}/conf.d: [router] plugin_dirs: plugin 'jsonl'")


def test_a_mistake_in_the_router_table_is_no_problem_of_a_plugin(report, plugin):
    router = plugin(
        "mine",
        "from router import hookimpl\n\n\n@hookimpl\n"
        "def deliver(payloads):\n    pass\n",
    )
    (line,) = report(a=SOURCE + router + "partitions = 0\n[destinations.mine]\n")
    assert line.startswith("a.toml: [router] partitions = 0: ")


# Plugins, as far as conf.d concerns them; the rest is in test_plugins.py.


def test_an_unknown_plugin_lists_the_known_ones(report):
    assert report(a=SOURCE + '[destinations.mi]\nplugin = "movableink"\n') == [
        "a.toml: [destinations.mi] plugin: no plugin is named 'movableink'; "
        "known plugins: braze, jsonl, movable_ink, webhook"
    ]


@pytest.mark.parametrize("off", ["false", '"false"', '"${ON:-no}"', "0"])
def test_the_plugin_of_a_disabled_destination_is_not_imported(conf, plugin, off):
    router = plugin("explodes", 'raise RuntimeError("was imported")\n')
    text = f"[destinations.explodes]\nenabled = {off}\nits_own_key = 5\n"
    made = conf(a=SOURCE + router + text)
    assert made.destinations == {}
    assert list(made.disabled) == ["explodes"]
    assert not made.disabled["explodes"].enabled


def test_a_disabled_destination_may_name_a_plugin_that_is_not_there(conf):
    made = conf(a=SOURCE + "[destinations.gone]\nenabled = false\n")
    assert list(made.disabled) == ["gone"]


def test_a_disabled_destination_is_checked_as_far_as_it_is_known(report):
    text = "[destinations.gone]\nenabled = false\nbatch_events = 0\n"
    (line,) = report(a=SOURCE + text)
    assert line.startswith("a.toml: [destinations.gone] batch_events = 0: ")


def test_a_plugin_that_no_destination_names_is_not_imported(conf, plugin):
    router = plugin("explodes", 'raise RuntimeError("was imported")\n')
    assert conf(a=SOURCE + router + "[destinations.jsonl]\n").disabled == {}


def test_requirements_that_raise_are_named_with_their_destination(broken, plugin):
    router = plugin(
        "hasty",
        "from router import hookimpl\n\n\n"
        "@hookimpl\ndef requirements():\n    raise KeyError('total')\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n",
    )
    problem = broken(a=SOURCE + router + "[destinations.hasty]\n")
    assert problem.startswith(
        "a.toml: [destinations.hasty] plugin: its import, settings or requirements "
        "raised KeyError ("
    )
    assert problem.endswith("hasty.py:6)")


def test_requirements_may_depend_on_which_destination_they_are_of(conf, plugin):
    router = plugin(
        "keen",
        "from router import hookimpl\nfrom router.requirements import required\n\n\n"
        "@hookimpl\ndef requirements(settings):\n"
        "    return {'Added': [required(settings.name)]}\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n",
    )
    text = '[destinations.eu]\nplugin = "keen"\n'
    found = conf(a=SOURCE + router + text).destinations["eu"].requirements
    assert check(found["added"], {}) == ["properties.eu: required"]


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("    raise KeyError('total')", f"{ITS_HOOKS} raised KeyError"),
        ("    return dict", "its hook `settings` returned no such thing: expected"),
        ("    return Settings()", "its hook `settings` returned no such thing"),
        ("    raise SystemExit", f"{ITS_HOOKS} raised SystemExit ("),
    ],
)
def test_a_settings_hook_that_is_of_no_use_is_named_with_its_place(
    broken, plugin, hook, said
):
    router = plugin(
        "hasty",
        "from router import DestinationSettings, hookimpl\n\n\n"
        "class Settings(DestinationSettings):\n    pass\n\n\n"
        f"@hookimpl\ndef settings():\n{hook}\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n",
    )
    line = broken(a=SOURCE + router + "[destinations.hasty]\n")
    assert line.startswith(f"a.toml: [destinations.hasty] plugin: {said}")


def test_what_a_plugin_says_of_itself_is_no_key_of_conf_d(broken, plugin):
    router = plugin(
        "hasty",
        "from router import DestinationSettings, hookimpl\n\n\n"
        "class Settings(DestinationSettings):\n    payloads_as_json: bool = True\n\n\n"
        "@hookimpl\ndef settings():\n    return Settings\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n",
    )
    with pytest.warns(UserWarning, match="shadows an attribute"):
        line = broken(a=SOURCE + router + "[destinations.hasty]\n")
    assert "its settings make payloads_as_json a key of conf.d: expected" in line


def test_a_plugin_that_is_late_says_nothing_of_its_table(tmp_path):
    (tmp_path / "late.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "from router import DestinationSettings, hookimpl\n\n\n"
        "@hookimpl\ndef settings():\n    time.sleep(0.5)\n"
        "    return DestinationSettings\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n"
    )
    loader = plugins.Loader(plugins.find([tmp_path]), 0.1)
    values = {"plugin": "late", "no_such_key": 1}
    table = TableSource("destinations.late", tmp_path, values, [])
    before = {*threading.enumerate()}
    with pytest.raises(PluginError, match=r"has not returned within 0\.1 s"):
        config.destination("late", table, tmp_path, loader)
    (left,) = {*threading.enumerate()} - before
    left.join(10)
    assert table.problems == []


def test_a_check_of_the_plugins_own_that_crashes_is_named_with_its_place(
    broken, plugin
):
    router = plugin(
        "hasty",
        "from pydantic import field_validator\n"
        "from router import DestinationSettings, hookimpl\n\n\n"
        "class Settings(DestinationSettings):\n"
        "    size: str = ''\n\n"
        "    @field_validator('size')\n    @classmethod\n"
        "    def plausible(cls, value):\n        return value.no_such()\n\n\n"
        "@hookimpl\ndef settings():\n    return Settings\n\n\n"
        "@hookimpl\ndef deliver(payloads):\n    pass\n",
    )
    line = broken(a=SOURCE + router + "[destinations.hasty]\nsize = '3'\n")
    assert line.startswith(f"a.toml: [destinations.hasty] plugin: {ITS_HOOKS} ")
    assert line.endswith("hasty.py:11)")


def test_a_broken_plugin_does_not_hide_what_is_wrong_with_its_table(report, plugin):
    router = plugin("hasty", "raise RuntimeError('c4n4ry')\n")
    tables = "[destinations.hasty]\nbatch_events = 0\n[destinations.other]\n"
    tables += "plugin = 'hasty'\nsources = ['shop']\nits_own_key = 3\n"
    first, second, bug = report(a=SOURCE + router + tables)
    assert first.startswith("a.toml: [destinations.hasty] batch_events = 0: ")
    assert second.endswith("[destinations.other] sources = 'shop': expected one of web")
    assert bug.startswith("a.toml: [destinations.other] plugin: plugin 'hasty' (")
    assert "cannot be imported: RuntimeError (" in bug
    assert "c4n4ry" not in bug


def test_what_a_plugin_says_when_it_cannot_be_imported_is_not_repeated(broken, plugin):
    router = plugin("hasty", "x = 1\nraise OSError('c4n4ry')\n")
    line = broken(a=SOURCE + router + "[destinations.hasty]\n")
    assert line.endswith("hasty.py:2)")
    assert "c4n4ry" not in line


# Secrets.


SECRETIVE = """
from pydantic import BaseModel, SecretStr, field_validator, model_validator

from router import DestinationSettings, hookimpl


class Login(BaseModel):
    user: str = ""
    password: SecretStr = SecretStr("")


class Settings(DestinationSettings):
    api_key: SecretStr
    spare: SecretStr | None = None
    keys: list[SecretStr] = []
    named: dict[str, SecretStr] = {}
    login: Login = Login()

    @field_validator("spare")
    @classmethod
    def plausible(cls, value):
        if value and len(value.get_secret_value()) < 100:
            raise ValueError("expected the long form")
        return value


@hookimpl
def settings():
    return Settings


@hookimpl
def deliver(payloads):
    pass
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('api_key = ["c4n4ry"]', "api_key = (hidden): expected a valid string"),
        ('api_key = { x = "c4n4ry" }', "api_key = (hidden): expected a valid string"),
        ('spare = "c4n4ry"', "spare = (hidden): expected the long form"),
        ('spare = "${CANARY}"', "spare = (hidden): expected the long form"),
        ('spare = ["${CANARY}"]', "spare = (hidden): expected a valid string"),
        ('keys = "c4n4ry"', "keys = (hidden): expected a valid list"),
        ('keys = ["x", ["c4n4ry"]]', "keys.1 = (hidden): expected a valid string"),
        ('named = { a = ["c4n4ry"] }', "named.a = (hidden): expected a valid string"),
        ('login = { password = ["c4n4ry"] }', "login.password = (hidden): expected a"),
        ('api_kye = "c4n4ry"', "api_kye: unknown key; known keys: plugin, "),
        ('api_kye = "${CANARY}"', "api_kye: unknown key; known keys: plugin, "),
    ],
)
def test_a_secret_is_never_shown_with_what_is_wrong(report, plugin, line, expected):
    router = plugin("secretive", SECRETIVE)
    text = f"[destinations.secretive]\n{line}\n"
    if not line.startswith("api_key"):
        text += 'api_key = "c4n4ry"\n'
    lines = report({"CANARY": CANARY}, a=SOURCE + router + text)
    assert len(lines) == 1
    assert lines[0].startswith(f"a.toml: [destinations.secretive] {expected}")
    assert CANARY not in lines[0]


@pytest.mark.parametrize(
    "text",
    [
        '[sources.web]\nwrite_key = ["c4n4ry"]\n',
        '[sources]\nweb = "c4n4ry"\n',
        '[sources.web]\nwritekey = "c4n4ry"\n',
        "[sources.web]\nwrite_key = c4n4ry\n",
        '[sources.web]\nwrite_key = "c4n4ry\n',
        '[sources.a]\nwrite_key = "c4n4ry"\n[sources.b]\nwrite_key = "c4n4ry"\n',
        SOURCE + '[admin]\ntoken = ["c4n4ry"]\n',
        SOURCE + '[admin]\npassword = "c4n4ry"\n',
        SOURCE + '[movable_ink]\napi_key = "c4n4ry"\n',
        SOURCE + '[destinations.movable_ink]\napi_key = ["c4n4ry"]\n',
        SOURCE + '[destinations.movable_ink]\nsecret = "c4n4ry"\n',
        SOURCE + '[destinations.movable_ink]\nendpoint = "http//x/c4n4ry"\n',
        SOURCE + '[destinations.movable_ink]\napi_key = "${UNSET}c4n4ry"\n',
    ],
)
def test_no_secret_of_what_is_built_in_is_ever_shown(conf, text):
    with pytest.raises(ConfigError) as raised:
        conf(a=text)
    assert CANARY not in f"{raised.value} {raised.value!r}"


def test_a_value_from_the_environment_may_be_a_secret_and_is_not_shown(report):
    text = SOURCE + '[destinations.jsonl]\nstart = "${CANARY}"\n'
    (line,) = report({"CANARY": CANARY}, a=text)
    assert line.startswith("a.toml: [destinations.jsonl] start = ")
    assert line.endswith(": expected 'latest' or 'earliest'")
    assert CANARY not in line


def test_secrets_are_not_shown_by_a_configuration_that_works(conf):
    made = conf(a='[sources.web]\nwrite_key = "c4n4ry"\n[admin]\ntoken = "c4n4ry"\n')
    assert CANARY not in repr(made)


@pytest.mark.parametrize("environ", [{}, os.environ])
def test_what_begins_like_a_variable_and_is_none_is_a_problem(report, environ):
    text = "[destinations.jsonl]\nevents = ['${no-such}']\n"
    (problem,) = report(environ, a=SOURCE + text)
    assert problem == (
        "a.toml: [destinations.jsonl] events.0: expected ${NAME} after the $"
    )


def test_a_plugin_that_is_no_name_is_unknown(report):
    (problem,) = report(a=SOURCE + "[destinations.jsonl]\nplugin = ['a']\n")
    assert "no plugin is named" in problem
