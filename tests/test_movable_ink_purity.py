"""Whatever JSON an event is made of, mapping it is pure and does not fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins import movable_ink
from plugins.movable_ink.ecommerce import ALIASES, NAMES
from plugins.movable_ink.settings import Settings
from router import Rejected, codec
from router.requirements import check

URL = "https://collector.example/behavioral/key"

# Names that the mapping looks for, so that what it finds there is of every kind.
MEMBERS = [
    "type", "event", "userId", "anonymousId", "messageId", "timestamp", "sentAt",
    "originalTimestamp", "receivedAt", "context", "traits", "properties", "page",
    "timezone", "email", "id", "product_id", "sku", "url", "name", "title", "price",
    "quantity", "currency", "categories", "category", "category_id", "list_id",
    "products", "query", "total", "revenue", "order_id", "meta", "metadata",
]  # fmt: skip

SETTINGS = [
    Settings(api_key="k", endpoint=URL, **keys)
    for keys in [
        {},
        {"payload": "normalized"},
        {"custom_events": "*", "timestamp_format": "iso", "identifier": "email_md5"},
        {
            "payload": "normalized",
            "custom_events": "*",
            "event_names": "snake",
            "identifier": "email_sha256",
            "timestamp_format": "s",
            "product_id_source": "sku",
            "page_url_fallback": True,
            "total_fallback": ["revenue", "meta.total"],
        },
        {"page_url_fallback": True, "total_fallback": ["subtotal", "revenue"]},
    ]
]

texts = st.text(max_size=8) | st.sampled_from(
    ["", " ", "0", "5.50", "€5", "1e400", "k@x.org", "https://x.example/p",
     "2024-03-04T15:32:56.409Z", "9999-12-31T23:59:59-14:00", "1709566376409"]
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 10**30, -(10**400), 1e308, 2**63])
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
names = st.sampled_from([*NAMES, *ALIASES, " product viewed ", "Signed Up"]) | texts
keys = st.sampled_from(MEMBERS) | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6)
    ),
    max_leaves=25,
)
objects = st.dictionaries(keys, values, max_size=12)
tracks = st.builds(
    lambda event, name, properties, ids: {
        **event,
        "event": name,
        "properties": properties,
        **ids,
    },
    objects,
    names,
    objects | values,
    st.sampled_from([{}, {"userId": 5}, {"anonymousId": "a1"}])
    | st.builds(lambda email: {"context": {"traits": {"email": email}}}, texts),
)


def outcome(hook, event, settings):
    """The bytes of the payload, or the one thing that may be wrong with an event."""
    try:
        return codec.dumps(hook(event=event, settings=settings))
    except Rejected as error:
        if not error.reason.startswith("missing identity: "):
            raise
        return error.reason


@given(event=objects | tracks, settings=st.sampled_from(SETTINGS))
def test_mapping_never_fails_never_changes_its_event_and_repeats_itself(
    event, settings
):
    before = repr(event)
    for hook in (movable_ink.identify, movable_ink.track):
        first = outcome(hook, event, settings)
        assert repr(event) == before
        assert outcome(hook, event, settings) == first
    assert repr(event) == before


@given(event=tracks, settings=st.sampled_from(SETTINGS))
def test_what_meets_the_requirements_has_what_they_ask_for_once_mapped(event, settings):
    found = movable_ink.requirements(settings=settings)
    needs = {name.casefold(): needed for name, needed in found.items()}
    name = event["event"].strip().casefold()
    if settings.payload != "normalized" or name not in needs:
        return
    if check(needs[name], event) or not isinstance(event["properties"], dict):
        return
    try:
        payload = movable_ink.track(event=event, settings=settings)
    except Rejected:
        return
    wanted = {"order": ["total", "products"], "search": ["query"]}
    kind = next((one for one in wanted if one in name), "id")
    for member in wanted.get(kind, ["id"]):
        assert payload["properties"].get(member) not in (None, "", [])
    assert codec.dumps(payload)


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_event_nested_to_the_limit_is_mapped(settings):
    deep = codec.loads('{"a":' * 200 + "1" + "}" * 200)
    for name in ("Products Searched", "Product Viewed", "Signed Up"):
        event = {
            "event": name,
            "userId": "u1",
            "properties": {"query": deep, "meta": deep, "sku": "S"},
            "traits": deep,
        }
        for hook in (movable_ink.identify, movable_ink.track):
            outcome(hook, event, settings)
