"""A request's JSON, read one member at a time: what each event weighs, and how deep."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import codec, envelope
from router.errors import Refused

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def read(text, *, is_batch=True):
    data = text if isinstance(text, bytes) else text.encode()
    return envelope.read(data, is_batch=is_batch)


def refusal(text, *, is_batch=True):
    with pytest.raises(Refused) as raised:
        read(text, is_batch=is_batch)
    return raised.value.status, raised.value.code


@given(
    st.dictionaries(st.text(max_size=4), JSON, max_size=4),
    st.lists(JSON, max_size=4),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_an_envelope_is_what_any_parser_reads(members, items, ascii_only, indent):
    written = json.dumps(
        {**members, "batch": items}, ensure_ascii=ascii_only, indent=indent
    )
    found = read(written)
    assert found.members == {k: v for k, v in members.items() if k != "batch"}
    assert [item.value for item in found.items] == items
    sizes = [len(json.dumps(one, ensure_ascii=ascii_only).encode()) for one in items]
    if indent is None:
        assert [item.size for item in found.items] == sizes


@given(st.text(alphabet='{}[]",:\\batch1 -Ne.u\ud83d', max_size=30))
def test_what_it_takes_is_what_json_takes(text):
    text = text.encode("utf-8", "replace").decode()
    try:
        expected = codec.loads(text)
    except ValueError:
        assert refusal(text)[1] == "invalid_json"
        return
    if not isinstance(expected, dict):
        assert refusal(text)[1] == "invalid_body"
        return
    found = read(text, is_batch=False)
    assert found.members == expected


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_an_event_weighs_what_its_client_wrote(blank):
    event = '{"a" : "\\u00e9é",   "b": [1.50]}'
    found = read(f'{{"batch":{blank}[{blank}{event}{blank},{blank}{event}]{blank}}}')
    assert [item.size for item in found.items] == [len(event.encode())] * 2


def test_a_single_event_is_weighed_without_what_is_of_its_envelope():
    bare = '{"userId":"u","event":"e"}'
    aside = '"writeKey":"k","sentAt":"2024-01-01","_metadata":{"bundled":[]},'
    whole = read(f"  {bare[0]}{aside}{bare[1:]}\n", is_batch=False)
    assert whole.items[0].size == len(bare) + 3  # the commas


def test_the_last_of_two_members_counts():
    assert read('{"writeKey":"a","writeKey":"b"}').members == {"writeKey": "b"}
    assert read('{"batch":[1],"batch":[2,3]}').items[0].value == 2
    assert read('{"batch":[1],"batch":5}').items is None


def test_a_batch_is_a_member_like_others_where_a_single_event_is_expected():
    found = read('{"batch":[{}]}', is_batch=False)
    assert found.members == found.items[0].value == {"batch": [{}]}


def nested(depth, kind="object"):
    """An object or a list of that depth, the innermost empty."""
    if kind == "list":
        return "[" * depth + "]" * depth
    return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)


@pytest.mark.parametrize("kind", ["object", "list"])
@pytest.mark.parametrize(
    ("depth", "is_too_deep"), [(200, False), (201, True), (1200, True), (50_000, True)]
)
def test_an_event_that_is_too_deep_costs_only_itself(kind, depth, is_too_deep):
    text = f'{{"batch":[{{"n":1}},{nested(depth, kind)},{{"n":"]}}"}}]}}'
    first, deep, last = read(text).items
    assert (first.value, last.value) == ({"n": 1}, {"n": "]}"})
    assert deep.is_too_deep is is_too_deep
    assert deep.size == len(nested(depth, kind))


@pytest.mark.parametrize("depth", [200, 5000, 100_000])
def test_an_envelope_that_is_too_deep_is_refused(depth):
    expected = (400, "nesting_too_deep")
    assert refusal(f'{{"context":{nested(depth)}}}') == expected
    assert refusal(f'{{"properties":{nested(depth)}}}', is_batch=False) == expected
    assert refusal(nested(depth + 1, "list")) in (expected, (400, "invalid_body"))
    assert read(f'{{"context":{nested(199)}}}').members


@pytest.mark.parametrize("end", ["", '"', '"]', "}", "]]", "]}}"])
def test_a_deep_event_that_does_not_end_is_no_json(end):
    deep = '{"a":' * 5000
    assert refusal(f'{{"batch":[{deep}{end}') == (400, "invalid_json")


def test_wide_is_not_deep():
    assert (
        not read(f'{{"batch":[{{"a":[{",".join(["[]"] * 900)}]}}]}}')
        .items[0]
        .is_too_deep
    )


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_a_single_event_is_weighed_with_the_blanks_between_its_own_members(blank):
    kept = f'{blank}"event"{blank}:{blank}"e"{blank}'
    aside = f'{blank}"sent\\u0041t"{blank}:{blank}5,{blank}"writeKey"{blank}:{blank}"k"'
    found = read(f"{{{kept},{aside}{blank}}}", is_batch=False)
    assert found.members == {"event": "e", "sentAt": 5, "writeKey": "k"}
    assert found.items[0].size == len(f"{{{kept},,{blank}}}")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('{"a" "b"}', 5),
        ('{"a\tb":1}', 3),
        ('{"a\\x":1}', 3),
        ("{a:1}", 1),
        ('{"a":1,}', 7),
        ('{"a":1 2}', 7),
        ('{"a":1]', 6),
        ('{"batch":[1 2]}', 12),
        ('{"batch":[1, ]}', 13),
        ('{"batch":[1}', 11),
        ('{"a":\x0b1}', 5),
        ('{"a":1\x0b}', 6),
        ('{"a":1}\xa0', 7),
        ('{"a', 1),
        ('{"a":1,', 7),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text, at):
    with pytest.raises(Refused, match=rf"\(char {at}\)"):
        read(text)
