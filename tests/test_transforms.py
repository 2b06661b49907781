"""A destination's rules: what of an event its plugin does not get to see."""

import copy
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import codec, config
from router.errors import ConfigError
from router.log import Record
from router.transforms import CannotTransform, Transforms

EVENT = {
    "type": "track",
    "messageId": "m1",
    "event": "Order Completed",
    "userId": "ann",
    "anonymousId": "a1",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "context": {"ip": "192.0.2.7", "traits": {"email": "ann@example.com"}},
    "properties": {
        "email": "ann@example.com",
        "total": 19.9,
        "note": None,
        "gift": True,
        "tags": ["a", "b"],
        "products": [
            {"sku": "s1", "price": 1, "size": {"eu": 38, "us": 7}},
            {"sku": "s2", "price": 2},
        ],
    },
}


def apply(event=EVENT, *, keep=(), drop=(), hash=()):
    before = copy.deepcopy(event)
    changed, done = Transforms.of(keep, drop, hash).apply(event)
    assert event == before, "the event itself was changed"
    return changed, done


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_without_rules_the_event_is_as_it_was():
    assert apply() == (EVENT, [])


def test_what_is_dropped_is_not_there_in_every_item_of_a_list_too():
    changed, done = apply(
        drop=["context.ip", "properties.products.price", "properties.tags", "traits.x"]
    )
    assert changed["context"] == {"traits": {"email": "ann@example.com"}}
    skus = [{"sku": "s1", "size": {"eu": 38, "us": 7}}, {"sku": "s2"}]
    assert changed["properties"]["products"] == skus
    assert "tags" not in changed["properties"]
    assert done == [
        "drop context.ip",
        "drop properties.products.price",
        "drop properties.tags",
    ]


def test_a_whole_object_and_an_id_can_be_dropped():
    changed, _ = apply(drop=["context", "userId", "properties", "properties.email"])
    kept = ("type", "messageId", "event", "anonymousId", "timestamp")
    assert changed == {name: EVENT[name] for name in kept}


def test_what_is_hashed_is_its_sha_256_whatever_it_is_in():
    changed, done = apply(
        hash=["userId", "properties.total", "properties.tags", "properties.note"]
    )
    assert changed["userId"] == digest("ann")
    assert changed["properties"]["total"] == digest("19.9")
    assert changed["properties"]["tags"] == [digest("a"), digest("b")]
    assert changed["properties"]["note"] is None
    assert done == ["hash properties.tags", "hash properties.total", "hash userId"]


def test_a_number_is_hashed_as_it_was_written_where_no_number_can_hold_it():
    text = (
        '{"type": "track", "properties": {"card": 1e400, "id": 12345678901234567890}}'
    )
    changed, _ = apply(codec.loads(text), hash=["properties.card", "properties.id"])
    assert changed["properties"]["card"] == digest("1e400")
    assert changed["properties"]["id"] == digest("12345678901234567890")


@pytest.mark.parametrize("path", ["properties.gift", "properties.products", "context"])
def test_what_cannot_be_hashed_does_not_go_out(path):
    with pytest.raises(CannotTransform, match=f"hash {path}: is "):
        apply(hash=[path])


@pytest.mark.parametrize("rule", ["drop", "hash"])
def test_what_is_no_object_where_a_rule_goes_on_does_not_go_out(rule):
    with pytest.raises(CannotTransform, match=r"properties\.email: is no object"):
        apply(**{rule: ["properties.email.address"]})
    assert apply(**{rule: ["properties.note.x", "properties.none.x"]}) == (EVENT, [])


def test_only_what_is_kept_is_left_of_properties_traits_and_context():
    changed, done = apply(keep=["properties.total", "properties.products.size.eu"])
    assert changed["properties"] == {
        "total": 19.9,
        "products": [{"size": {"eu": 38}}, {}],
    }
    assert changed["context"] == {}
    for name in ("type", "messageId", "event", "userId", "anonymousId", "timestamp"):
        assert changed[name] == EVENT[name]
    assert "keep: not context.ip" in done
    assert "keep: not properties.products.sku" in done
    assert "keep: not properties.email" in done
    assert not any("total" in line for line in done)


def test_a_kept_path_takes_in_those_below_it_and_what_is_kept_can_be_hashed():
    changed, _ = apply(
        keep=["context.traits", "context.traits.email"], hash=["context.traits.email"]
    )
    assert changed["context"] == {"traits": {"email": digest("ann@example.com")}}


def test_what_is_dropped_is_not_hashed():
    changed, done = apply(drop=["properties.gift"], hash=["properties.gift"])
    assert "gift" not in changed["properties"]
    assert done == ["drop properties.gift"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)
paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(
    lambda names: ".".join(["properties", *names])
)


def leaves(value, path="properties"):
    """The paths of all values that are no objects; lists do not show."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path


def is_below(path, rules):
    return any(path == rule or path.startswith(f"{rule}.") for rule in rules)


@given(json_values, st.lists(paths, min_size=1, max_size=4))
def test_whatever_the_event_keep_leaves_only_and_drop_none_of_its_paths(value, rules):
    event = {"type": "track", "properties": {"a": value, "b": [value]}}
    kept, _ = apply(event, keep=rules)
    try:
        dropped, _ = apply(event, drop=rules)
    except CannotTransform:
        dropped = None
    everything = list(leaves(event["properties"]))
    chosen = sorted(path for path in everything if is_below(path, rules))
    rest = sorted(path for path in everything if not is_below(path, rules))
    assert sorted(leaves(kept["properties"])) == chosen
    if dropped is None:
        # Something is no object where a rule goes on: it has no path below it.
        parts = {path.rpartition(".")[0] for path in rules}
        parents = {part[:n] for part in parts for n in range(len(part) + 1)}
        assert parents & set(everything)
    else:
        assert sorted(leaves(dropped["properties"])) == rest


# In a destination


PLUGIN = """
from router import hookimpl
from router.requirements import required


@hookimpl
def requirements():
    return {"Order Completed": [required("email")]}


@hookimpl
def track(event):
    return event


@hookimpl
def deliver(payloads):
    pass
"""


@pytest.fixture
def configured(tmp_path):
    def configure(rules):
        (tmp_path / "echo.py").write_text(PLUGIN)
        (tmp_path / "all.toml").write_text(
            f'[router]\nplugin_dirs = ["{tmp_path}"]\n'
            '[sources.web]\nwrite_key = "key"\n[destinations.echo]\n' + rules
        )
        return config.load(tmp_path, {}).destinations["echo"]

    return configure


RECORD = Record(0, 0, "web", "m1", 0, codec.dumps(EVENT))


def test_the_plugin_gets_the_event_after_the_rules(configured):
    made = configured('drop = ["context.ip"]\nhash = ["properties.email"]')
    delivery = made.prepare(RECORD)
    assert "ip" not in delivery.payload["context"]
    assert delivery.payload["properties"]["email"] == digest("ann@example.com")
    assert delivery.changes == ["drop context.ip", "hash properties.email"]
    assert RECORD.event == EVENT


def test_what_a_rule_takes_a_requirement_misses(configured):
    delivery = configured('drop = ["properties.email"]').prepare(RECORD)
    assert (delivery.state, delivery.code) == ("dead", "requirements")
    assert delivery.problems == ["properties.email: required"]


def test_a_rule_that_fails_makes_a_dead_letter_that_says_so(configured):
    delivery = configured('hash = ["properties.products"]').prepare(RECORD)
    assert (delivery.state, delivery.code) == ("dead", "transform")
    said = "hash properties.products: is an object, no text or number"
    assert (delivery.reason, delivery.payload) == (said, None)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('drop = ["type"]', "type is what the event is known by"),
        ('hash = ["messageId"]', "messageId is what the event is known by"),
        ('drop = ["context..ip"]', 'expected a path such as "context.ip"'),
        ('drop = ["properties.products[0].x"]', "by names alone"),
        ('hash = ["properties.*"]', "by names alone"),
        ('drop = ["timestamp"]', "timestamp is what the event is known by"),
        ('keep = ["userId"]', "expected a path in context, properties, traits"),
        ('keep = ["event"]', "event is what the event is known by"),
    ],
)
def test_a_path_that_no_rule_can_have_is_told_at_the_start(configured, rules, said):
    with pytest.raises(ConfigError, match=said):
        configured(rules)


def test_explain_shows_what_the_rules_did(router, tmp_path):
    router.configure(
        '[router]\ndata_dir = "{data}"\n[sources.web]\nwrite_key = "key"\n'
        '[destinations.archive]\nplugin = "jsonl"\ndrop = ["context.ip"]\n'
        'hash = ["properties.email"]\n'
    )
    file = tmp_path / "event.json"
    file.write_text(json.dumps(EVENT))
    (row,) = router.json("explain", str(file))
    assert row["changes"] == ["drop context.ip", "hash properties.email"]
    assert row["payload"]["properties"]["email"] == digest("ann@example.com")
    said = router.run("explain", str(file))
    assert "  drop context.ip\n  hash properties.email\n" in said
    assert "ann@example.com" not in json.dumps(row["payload"]["properties"])
