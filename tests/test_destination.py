"""A destination, with a plugin from a file: what becomes of an event, and why."""

import pytest

from router import codec, plugins
from router.destination import Destination, is_switched_on
from router.log import Record
from router.settings import DestinationSettings

SHOP = """
from router import DestinationSettings, Rejected, hookimpl
from router.requirements import each, number, required


class Settings(DestinationSettings):
    integration_names = ("Shop Pro",)


@hookimpl
def settings():
    return Settings


@hookimpl
def requirements():
    return {"Order Completed": [number("total"), required("order_id")]}


@hookimpl
def track(event):
    if event["event"] == "Crash":
        return {}["no such key"]
    if event["event"] == "Refuse":
        raise Rejected("properties.x: not that one")
    if event["event"] == "NaN":
        return float("nan")
    if event["event"] == "Unknown":
        return None
    if event["event"] == "order completed":
        return {"total": event["properties"]["total"]}
    return {"did": event["event"]}


@hookimpl
def identify(event, settings):
    return {"who": event["userId"], "to": settings.name}


@hookimpl
def page(settings, event):
    return {"who": event["userId"], "to": settings.name}


@hookimpl
def group(settings):
    return {"to": settings.name}


@hookimpl(wrapper=True)
def alias(event, settings):
    return {"instead of": (yield)}


@hookimpl
def deliver(payloads, client):
    client.extend(payloads)


@hookimpl
def connect():
    return []
"""


@pytest.fixture
def shop(tmp_path):
    """Makes the destination `eu` of the plugin `shop`, with the keys given, and with a
    line more in its settings."""

    def make(code="", **keys):
        source = SHOP.replace("    integration", f"{code}\n    integration")
        (tmp_path / "shop.py").write_text(source)
        manager = plugins.manager("shop", plugins.find([tmp_path]))
        model = manager.hook.settings()
        settings = model(plugin="shop", **keys).placed("eu", tmp_path)
        return Destination("eu", settings, manager)

    return make


def record(source="web", **event):
    event = {"type": "track", "event": "Added", "userId": "u", **event}
    return Record(0, 0, source, "m", 0, codec.dumps(event))


def verdict(destination, **event):
    made = destination.prepare(record(**event))
    return made.state, made.code


def test_an_event_becomes_a_payload_and_its_json(shop):
    made = shop().prepare(record())
    assert made.state is None
    assert made.payload == {"did": "Added"}
    assert made.json == b'{"did":"Added"}'


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("identify", {"who": "u", "to": "eu"}),
        ("page", {"who": "u", "to": "eu"}),
        ("group", {"to": "eu"}),
        ("alias", {"instead of": None}),
    ],
)
def test_a_hook_gets_the_arguments_that_it_takes(shop, kind, payload):
    assert shop().prepare(record(type=kind)).payload == payload


def test_what_was_made_is_handed_to_the_plugin_with_its_client(shop):
    destination = shop()
    client = destination.connect()
    destination.deliver([destination.prepare(record())] * 2, client)
    assert client == [{"did": "Added"}] * 2


def test_a_plugin_that_wants_json_is_handed_the_bytes_that_were_measured(shop):
    destination = shop(code="    payloads_as_json = True")
    client = destination.connect()
    made = destination.prepare(record())
    destination.deliver([made] * 2, client)
    assert client == [made.json] * 2 == [b'{"did":"Added"}'] * 2


def test_a_plugin_without_a_sandbox_has_none(shop):
    assert shop().sandbox() is None


def test_an_event_of_another_source_is_skipped(shop):
    destination = shop(sources=["web", "ios"])
    assert destination.prepare(record("ios")).state is None
    made = destination.prepare(record("android"))
    assert (made.state, made.code) == ("skipped", "source_not_selected")
    assert made.reason == "not one of its `sources`"


def test_a_call_of_another_type_is_skipped(shop):
    destination = shop(types=["identify"])
    assert destination.prepare(record(type="identify")).state is None
    made = destination.prepare(record())
    assert (made.state, made.code) == ("skipped", "type_not_selected")
    assert made.reason == "not one of its `types`"


def test_an_event_of_another_name_is_skipped(shop):
    destination = shop(events=["Product *", "Order Completed"])
    assert destination.prepare(record(event="Product Added")).state is None
    made = destination.prepare(record(event="Cart Viewed"))
    assert (made.state, made.code) == ("skipped", "event_not_selected")
    assert made.reason == "not one of its `events`"
    assert verdict(destination, event="product added")[0] == "skipped"
    assert verdict(destination, type="identify", event=None)[0] == "skipped"


@pytest.mark.parametrize("name", ["eu", "shop", "Shop Pro", "SHOP PRO"])
def test_an_event_switches_a_destination_off_by_any_of_its_names(shop, name):
    made = shop().prepare(record(integrations={name: False}))
    assert (made.state, made.code) == ("skipped", "integrations")
    assert made.reason == "the event's `integrations` object switches it off"


def test_a_call_that_the_plugin_has_no_hook_for_is_skipped(shop):
    made = shop().prepare(record(type="screen"))
    assert (made.state, made.code) == ("skipped", "unsupported_type")
    assert made.reason == "shop takes no screen calls"


def test_an_event_that_the_plugin_does_not_map_is_skipped(shop):
    made = shop().prepare(record(event="Unknown"))
    assert (made.state, made.code) == ("skipped", "unsupported_event")
    assert made.reason == "shop does not take this event"


def test_an_event_that_falls_short_is_dead_and_says_everything_it_lacks(shop):
    made = shop().prepare(record(event="Order Completed", properties={"total": "x"}))
    problems = ["properties.total: must be a number", "properties.order_id: required"]
    assert (made.state, made.code) == ("dead", "requirements")
    assert made.problems == problems
    assert made.reason == "; ".join(problems)
    assert made.payload is None


@pytest.mark.parametrize("name", ["order completed", " ORDER COMPLETED "])
def test_the_name_in_the_requirements_may_be_spelt_in_another_case(shop, name):
    made = shop().prepare(record(event=name, properties={"total": 1}))
    assert made.problems == ["properties.order_id: required"]


def test_a_mapping_may_rely_on_the_requirements(shop):
    made = shop().prepare(record(event="order completed", properties={}))
    assert made.code == "requirements"
    assert made.problems == [
        "properties.total: required",
        "properties.order_id: required",
    ]


def test_a_mapping_that_raises_costs_its_event_and_keeps_the_traceback(shop, tmp_path):
    made = shop().prepare(record(event="Crash"))
    assert (made.state, made.code) == ("dead", "plugin_error")
    source = (tmp_path / "shop.py").read_text()
    line = source[: source.index('["no such key"]')].count("\n") + 1
    place = f"{tmp_path / 'shop.py'}:{line}"
    assert made.reason == f"the plugin raised KeyError at {place}"
    assert "KeyError: 'no such key'" in made.detail


def test_a_payload_that_is_no_json_costs_its_event(shop):
    made = shop().prepare(record(event="NaN"))
    assert (made.state, made.code) == ("dead", "plugin_error")
    assert made.reason == "track returned what is no JSON"
    assert made.detail.endswith(": NaN and infinities are not JSON\n")


def test_a_mapping_may_reject_its_event(shop):
    made = shop().prepare(record(event="Refuse"))
    assert (made.state, made.code) == ("dead", "rejected")
    assert made.reason == "properties.x: not that one"
    assert made.problems == ["properties.x: not that one"]


def test_a_plugin_of_one_hook_has_defaults_for_all_others(tmp_path):
    (tmp_path / "tiny.py").write_text(
        "from router import hookimpl\n\n\n@hookimpl\ndef deliver(payloads):\n    pass\n"
    )
    manager = plugins.manager("tiny", plugins.find([tmp_path]))
    assert manager.hook.settings() is DestinationSettings
    destination = Destination("tiny", DestinationSettings(timeout="3s"), manager)
    assert destination.requirements == {}
    with destination.connect() as client:
        assert client.timeout == 3


NAMES = {"mi_us", "movable_ink", "Movable Ink"}


@pytest.mark.parametrize(
    ("integrations", "expected"),
    [
        (None, True),
        ({}, True),
        ("no", True),
        ([], True),
        (False, True),
        ({"All": True}, True),
        ({"All": False}, False),
        ({"all": False}, False),
        ({"ALL": False}, False),
        ({"All": None}, True),
        ({"All": 0}, True),
        ({"All": "false"}, True),
        ({"Movable Ink": False}, False),
        ({"All": True, "Movable Ink": False}, False),
        ({"All": False, "Movable Ink": True}, True),
        ({"All": False, "Movable Ink": {}}, True),
        ({"All": False, "Movable Ink": {"option": 1}}, True),
        ({"All": False, "Movable Ink": "on"}, True),
        ({"All": False, "Movable Ink": 0}, True),
        ({"All": False, "Movable Ink": None}, False),
        ({"All": False, "Movable Ink": ""}, False),
        ({"Movable Ink": None}, True),
        ({"movable ink": False}, False),
        ({"All": False, "MOVABLE INK": True}, True),
        ({"movable ink": False, "Movable Ink": True}, True),
        ({"movable ink": False, "Movable Ink": None}, False),
        ({"mi_us": False, "Movable Ink": True}, False),
        ({"mi_us": True}, True),
        ({"movable_ink": False}, False),
        ({"Other": False}, True),
        ({"All": False, "Other": True}, False),
    ],
)
def test_what_the_integrations_object_says(integrations, expected):
    assert is_switched_on(integrations, NAMES) is expected
