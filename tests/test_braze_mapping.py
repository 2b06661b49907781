"""What an event becomes for Braze."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from plugins import braze
from plugins.braze.settings import Settings
from plugins.braze.values import MOST_QUANTITY
from router import Rejected, codec
from router.requirements import check

AT = "2024-03-04T15:32:56.409Z"
LAMP = {"product_id": "P9", "price": 12.5}
ALIAS = {
    "user_alias": {"alias_name": "a1", "alias_label": "anonymous_id"},
    "_update_existing_only": False,
}


def options(**keys):
    return Settings(
        **{"endpoint": "https://rest.iad-01.braze.com", "api_key": "k"} | keys
    )


def mapped(event, **keys):
    before = codec.dumps(event)
    payload = getattr(braze, event["type"])(event=event, settings=options(**keys))
    assert codec.dumps(event) == before
    return payload


def call(kind, **members):
    return {"type": kind, "userId": "u1", "timestamp": AT, **members}


def attributes(traits, **keys):
    """What these traits become, without the user's id."""
    payload = mapped(call("identify", traits=traits), **keys)
    (found,) = payload["attributes"]
    assert found.pop("external_id") == "u1"
    assert list(payload) == ["attributes"]
    return found


def order(*products, **properties):
    given = {"currency": "EUR", **properties, "products": list(products)}
    return call("track", event="Order Completed", properties=given)


def purchases(event, **keys):
    assert problems(event, **keys) == []
    payload = mapped(event, **keys)
    assert list(payload) == ["purchases"]
    return payload["purchases"]


def problems(event, **keys):
    needs = braze.requirements(settings=options(**keys))
    return check(needs[event["event"]], event)


# Identify.


def test_traits_of_segment_get_braze_s_names_and_others_are_custom_attributes():
    traits = {
        "firstName": "Kim",
        "lastName": "Lee",
        "email": "kim@example.org",
        "phone": "+15043277269",
        "birthday": "1980-12-21",
        "gender": "female",
        "avatar": "https://x.example/kim.png",
        "address": {"city": "Basel", "country": "CH", "street": "Rheinweg 1"},
        "language": "de",
        "plan": "gold",
        "logins": 5,
    }
    assert attributes(traits) == {
        "first_name": "Kim",
        "last_name": "Lee",
        "email": "kim@example.org",
        "phone": "+15043277269",
        "dob": "1980-12-21",
        "gender": "F",
        "image_url": "https://x.example/kim.png",
        "home_city": "Basel",
        "country": "CH",
        "language": "de",
        "plan": "gold",
        "logins": 5,
    }


def test_null_removes_an_attribute_whatever_its_name():
    traits = {
        "firstName": None,
        "gender": None,
        "birthday": None,
        "address": {"city": None},
        "plan": None,
    }
    names = ("first_name", "gender", "dob", "home_city", "plan")
    assert attributes(traits) == dict.fromkeys(names)


def test_within_an_attribute_there_is_no_null():
    traits = {"pets": [{"name": "Rex", "age": None}, None], "size": {"hat": None}}
    assert attributes(traits) == {"pets": [{"name": "Rex"}], "size": {}}


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        *(("m", "M"), ("Male", "M"), (" WOMAN ", "F"), ("other", "O"), ("N", "N")),
        *(("prefer not to say", "P"), ("unicorn", None), ("", None), (1, None)),
    ],
)
def test_gender_is_a_letter_or_left_out(said, sent):
    expected = {"plan": "x"} | ({"gender": sent} if sent else {})
    assert attributes({"gender": said, "plan": "x"}) == expected


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("1980-12-21", "1980-12-21"),
        ("1980-1-5", "1980-01-05"),
        ("1980-12-21T00:30:00+05:00", "1980-12-21"),
        (346204800, "1980-12-21"),
        ("21.12.1980", None),
        ("1980-13-45", None),
        (True, None),
    ],
)
def test_a_birthday_is_a_day_or_left_out(said, sent):
    expected = {"plan": "x"} | ({"dob": sent} if sent else {})
    assert attributes({"birthday": said, "plan": "x"}) == expected


def test_braze_s_own_name_is_meant():
    traits = {
        "firstName": "a",
        "first_name": "b",
        "address": {"country": "a"},
        "country": "b",
    }
    assert attributes(traits) == {"first_name": "b", "country": "b"}


def test_no_trait_says_whose_it_is():
    traits = {
        "external_id": "someone else",
        "braze_id": "b",
        "user_alias": {"alias_name": "x", "alias_label": "y"},
        "_update_existing_only": True,
        "push_token_import": True,
        "plan": "gold",
    }
    assert attributes(traits) == {"plan": "gold"}


@pytest.mark.parametrize("traits", [{}, None, {"gender": "?"}, {"address": "here"}])
def test_an_identify_that_says_nothing_is_not_sent(traits):
    assert mapped(call("identify", traits=traits)) is None
    assert mapped(call("identify")) is None


# Who.


def test_a_user_without_id_is_an_alias_that_may_be_new():
    event = {"type": "track", "event": "Seen", "anonymousId": "a1", "timestamp": AT}
    assert mapped(event)["events"] == [{**ALIAS, "name": "Seen", "time": AT}]
    (found,) = mapped(event, alias_label="rudder_id")["events"]
    assert found["user_alias"] == {"alias_name": "a1", "alias_label": "rudder_id"}


def test_with_an_id_the_anonymous_id_is_not_sent():
    (found,) = mapped(call("track", event="Seen", anonymousId="a1"))["events"]
    assert found == {"external_id": "u1", "name": "Seen", "time": AT}


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen"])
def test_anonymous_users_can_be_left_out(kind):
    event = call(kind, event="Seen", traits={"a": 1}, anonymousId="a1")
    assert mapped(event, anonymous_users=False, pages=True)
    del event["userId"]
    assert mapped(event, pages=True)
    assert mapped(event, anonymous_users=False, pages=True) is None


def test_an_event_of_nobody_is_refused():
    with pytest.raises(Rejected, match="needs userId or anonymousId"):
        mapped({"type": "track", "event": "Seen", "timestamp": AT})


# Track, page, screen.


def test_a_track_call_is_an_event_with_its_time_and_properties():
    given = {"size": 3, "tags": ["a", None], "gone": None, "time": 5, "event_name": "x"}
    payload = mapped(
        call("track", event=" Sofa Tried ", properties=given), app_id="app"
    )
    assert payload == {
        "events": [
            {
                "external_id": "u1",
                "app_id": "app",
                "name": "Sofa Tried",
                "time": AT,
                "properties": {"size": 3, "tags": ["a"]},
            }
        ]
    }


def test_pages_and_screens_are_sent_only_where_they_are_asked_for():
    given = {"url": "https://x.example/", "name": "Start"}
    page = call("page", name="Home", category="Docs", properties=given)
    screen = call("screen", name="Cart")
    assert mapped(page) is None
    assert mapped(screen) is None
    (found,) = mapped(page, pages=True)["events"]
    assert found["name"] == "Page Viewed"
    assert found["properties"] == {**given, "category": "Docs"}
    (found,) = mapped(screen, pages=True)["events"]
    assert (found["name"], found["properties"]) == ("Screen Viewed", {"name": "Cart"})


def test_groups_and_aliases_have_no_hook():
    assert not hasattr(braze, "group")
    assert not hasattr(braze, "alias")


def test_what_is_nested_without_end_is_the_event_s_own_fault():
    deep = value = {}
    for _ in range(900):
        value["a"] = value = {}
    with pytest.raises(Rejected, match="nested more than 100 deep"):
        mapped(call("track", event="Seen", properties=deep))


# Orders.


def test_an_order_is_a_purchase_for_each_product():
    event = order(
        {"product_id": "P9", "price": "12.50", "quantity": 2, "brand": "Lux"},
        {"sku": 7, "price": 3, "currency": "chf", "coupon": "mine"},
        order_id="o1",
        coupon="all",
        time="then",
    )
    shared = {"external_id": "u1", "app_id": "app", "time": AT}
    assert purchases(event, app_id="app") == [
        {
            **shared,
            "product_id": "P9",
            "currency": "EUR",
            "price": 12.5,
            "quantity": 2,
            "properties": {"order_id": "o1", "coupon": "all", "brand": "Lux"},
        },
        {
            **shared,
            "product_id": "7",
            "currency": "CHF",
            "price": 3,
            "quantity": 1,
            "properties": {"order_id": "o1", "coupon": "mine", "sku": 7},
        },
    ]


@pytest.mark.parametrize("name", ["order completed ", "Completed Order"])
def test_an_order_is_known_by_either_name_in_any_case(name):
    assert "purchases" in mapped(order(LAMP) | {"event": name})


def test_an_anonymous_order_is_the_alias_s():
    event = order(LAMP) | {"userId": None, "anonymousId": "a1"}
    (found,) = mapped(event)["purchases"]
    assert ALIAS.items() <= found.items()


@pytest.mark.parametrize(
    ("quantity", "sent"),
    [(1, [1]), (100, [100]), (101, [100, 1]), ("250", [100, 100, 50]), (2.0, [2])],
)
def test_a_quantity_over_100_is_several_purchases(quantity, sent):
    found = purchases(order(LAMP | {"quantity": quantity}))
    assert [one["quantity"] for one in found] == sent
    assert {one["product_id"] for one in found} == {"P9"}


@pytest.mark.parametrize(
    "quantity", [0, -1, 1.5, "many", True, MOST_QUANTITY + 1, "", []]
)
def test_a_quantity_is_a_whole_number_of_things(quantity):
    assert problems(order(LAMP | {"quantity": quantity})) == [
        "properties.products[0].quantity: must be a whole number from 1 to 7500"
    ]


def test_an_order_s_currency_may_come_from_the_settings_and_is_never_guessed():
    event = order(LAMP, currency=None)
    assert problems(event) == [
        "properties.currency: required, or in each product, or in the settings"
    ]
    assert problems(order(LAMP, LAMP | {"currency": "EUR"}, currency=None)) != []
    assert problems(order(LAMP | {"currency": "EUR"}, currency=None)) == []
    (found,) = purchases(event, currency="usd")
    assert found["currency"] == "USD"
    assert purchases(order(LAMP), currency="USD")[0]["currency"] == "EUR"


def test_all_problems_of_an_order_are_told():
    event = order({"price": "€5", "quantity": 0}, "lamp", currency=None)
    assert problems(event) == [
        "properties.products[0]: product_id or sku required",
        "properties.products[0].price: must be a number",
        "properties.products[0].quantity: must be a whole number from 1 to 7500",
        "properties.products[1]: must be an object",
        "properties.currency: required, or in each product, or in the settings",
    ]
    for products in ([], None, 5, "lamp", LAMP):
        event = call("track", event="Order Completed")
        event["properties"] = {"currency": "EUR", "products": products}
        assert problems(event) == ["properties.products: required non-empty list"]
    assert problems(call("track", event="Order Completed")) == [
        "properties.products: required non-empty list",
        "properties.currency: required, or in each product, or in the settings",
    ]


# Whatever it is given.

KEYS = st.sampled_from(
    ["userId", "anonymousId", "timestamp", "traits", "properties", "products", "name",
     "address", "gender", "birthday", "quantity", "price", "currency", "product_id",
     "sku"]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "u1", AT, "EUR", "1e400", "5", "2024-99-99", "male"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5)
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(KEYS, VALUES, max_size=8),
    st.sampled_from(["identify", "track", "page", "screen"]),
    st.sampled_from(["Order Completed", "Seen"]),
)
def test_whatever_an_event_holds_mapping_it_is_pure_and_does_not_fail(
    event, kind, name
):
    event = event | {"type": kind, "event": name}
    is_order = kind == "track" and name == "Order Completed"
    if is_order and problems(event):
        return
    before = codec.dumps(event)
    try:
        first = braze.__dict__[kind](event=event, settings=options(pages=True))
        again = braze.__dict__[kind](event=event, settings=options(pages=True))
    except Rejected:
        first = again = None
    assert codec.dumps(event) == before
    assert codec.dumps(first) == codec.dumps(again)


# Settings.


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"api_key": " "}, "expected a key as Braze shows it"),
        ({"api_key": "s3cr3t key"}, "expected a key as Braze shows it"),
        ({"api_key": "s3cr3t\nkey"}, "expected a key as Braze shows it"),
        ({"endpoint": ""}, "at least 1 character"),
        ({"endpoint": "rest.iad-01.braze.com"}, "expected a URL"),
        ({"endpoint": "https://rest.iad-01.braze.com/users/track/"}, "without /users"),
        ({"batch_events": 76}, "less than or equal to 75"),
        ({"batch_events": 51, "monthly_active_users": True}, "expected at most 50"),
        ({"currency": "Euro"}, "match pattern"),
        ({"alias_label": ""}, "at least 1 character"),
    ],
)
def test_a_wrong_setting_is_told_without_its_secret(keys, said):
    with pytest.raises(ValidationError, match=said) as caught:
        options(**keys)
    assert "s3cr3t" not in str(caught.value)


def test_an_endpoint_may_end_in_a_slash():
    assert options(endpoint="https://rest.example/").endpoint == "https://rest.example"


def test_a_batch_of_full_length_fits_into_one_request():
    assert options().batch_events == options().most_objects == 75
    by_users = options(monthly_active_users=True)
    assert by_users.batch_events == by_users.most_objects == 50
    assert options(monthly_active_users=True, batch_events=7).batch_events == 7
