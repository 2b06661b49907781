"""What an event becomes for Movable Ink. Case numbers are those of the reference's
tricky cases."""

import hashlib
import shutil
from pathlib import Path

import pytest

from plugins import movable_ink
from plugins.movable_ink.settings import Settings
from router import Rejected, codec, plugins
from router.requirements import check

URL = "https://collector.example/behavioral/key"
AT = "2024-03-04T15:32:56.409Z"
MS = 1709566376409
RECEIVED = "2024-03-05T00:53:20.000Z"
RECEIVED_MS = 1709600000000
PAGE = "https://shop.example/p/9"

VIEWED = {"product_id": "P1", "url": PAGE}
ORDERED = {"total": 8, "products": [{"product_id": "P1", "price": 5}]}


def options(**keys):
    return Settings(**{"api_key": "k", "endpoint": URL} | keys)


E = options()
N = options(payload="normalized")


def mapped(event, settings=N):
    hook = getattr(movable_ink, event["type"])
    return hook(event=event, settings=settings)


def identify(**members):
    return {"type": "identify", "anonymousId": "a1", "timestamp": AT, **members}


def track(name, properties, **members):
    return {
        "type": "track",
        "event": name,
        "anonymousId": "a1",
        "timestamp": AT,
        "properties": properties,
        **members,
    }


def problems(event, settings=E):
    needs = movable_ink.requirements(settings=settings)
    plain = {name.casefold(): found for name, found in needs.items()}
    return check(plain.get(event["event"].strip().casefold(), ()), event)


def properties(name, given, settings=N, **members):
    return mapped(track(name, given, **members), settings)["properties"]


# Identity.


def test_case_1_an_identify_with_only_an_email_is_known_by_it():
    event = identify(userId="", traits={"email": " kim@example.org "})
    assert mapped(event) == {
        "type": "identify",
        "user_id": "kim@example.org",
        "anonymous_id": "a1",
        "timestamp": MS,
        "traits": {"email": " kim@example.org "},
    }
    assert mapped(event, E) == {**event, "userId": "kim@example.org", "timestamp": MS}


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("user_id", "u1"),
        ("email", "K@x.org"),
        ("email_sha256", hashlib.sha256(b"k@x.org").hexdigest()),
        ("email_md5", hashlib.md5(b"k@x.org").hexdigest()),
    ],
)
def test_case_2_the_identifier_setting_says_which_id_comes_first(identifier, expected):
    event = identify(userId="u1", traits={"email": " K@x.org"})
    found = mapped(event, options(payload="normalized", identifier=identifier))
    assert found["user_id"] == expected
    assert found["traits"] == event["traits"]
    assert mapped(event, options(identifier=identifier))["userId"] == expected


@pytest.mark.parametrize("identifier", ["email", "email_sha256", "email_md5"])
def test_case_2_without_an_email_the_ids_count_as_they_are(identifier):
    settings = options(identifier=identifier)
    assert mapped(identify(userId="u1"), settings)["userId"] == "u1"


@pytest.mark.parametrize("identifier", ["user_id", "email_sha256", "email_md5"])
def test_case_2_a_blank_email_is_none(identifier):
    event = identify(traits={"email": "  "}, context={"traits": {"id": 7}})
    assert mapped(event, options(identifier=identifier))["userId"] == "7"


def test_case_2_an_email_with_half_an_emoji_can_be_hashed():
    event = identify(traits={"email": "\ud83d@x.org"})
    assert len(mapped(event, options(identifier="email_md5"))["userId"]) == 32


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0, "0"),
        (12345, "12345"),
        (12345.0, "12345"),
        (" u1 ", "u1"),
        (True, None),
        ({}, None),
        (["u1"], None),
        (1.5, None),
        (None, None),
        ("  ", None),
    ],
)
def test_case_3_ids_are_text_whole_numbers_or_absent(given, text):
    event = identify(userId=given, anonymousId=12345)
    assert mapped(event).get("user_id") == text
    assert mapped(event)["anonymous_id"] == "12345"
    assert mapped(event, E).get("userId") == text
    assert ("userId" in mapped(event, E)) is (text is not None)
    product = track("Product Viewed", {"product_id": given, "url": PAGE})
    if text is not None:
        assert problems(product) == []
        assert mapped(product)["properties"]["id"] == text
    else:
        assert problems(product) == ["properties: product_id or sku required"]


def test_case_3_numeric_product_ids_become_text_and_prices_stay():
    given = {
        "product_id": 98765,
        "sku": 0,
        "price": "24.50",
        "products": [{"product_id": 7.0, "sku": " S1 ", "price": 9}, "oops"],
    }
    assert properties("Product Added", given, E) == {
        "product_id": "98765",
        "sku": "0",
        "price": "24.50",
        "products": [{"product_id": "7", "sku": " S1 ", "price": 9}, "oops"],
    }


@pytest.mark.parametrize("products", [None, {}, {"sku": 5}, "P1", 5, [[]]])
def test_case_3_an_entire_event_keeps_what_is_no_id_and_no_list_of_products(products):
    odd = {"product_id": 1.5, "sku": None}
    given = {**odd, "id": 9, "products": products}
    assert properties("Product Added", given, E) == given
    listed = {"product_id": "P1", "products": [odd, odd]}
    assert properties("Product Added", listed, E) == listed


@pytest.mark.parametrize(
    ("members", "user_id"),
    [
        ({"context": {"traits": {"email": "k@x.org"}}}, "k@x.org"),
        ({"context": {"traits": {"email": "k@x.org", "id": 7}}}, "7"),
        ({"context": {"traits": {"userId": "u", "id": 7}}}, "u"),
        ({"traits": {"id": "t"}, "context": {"traits": {"userId": "u"}}}, "t"),
        ({"traits": {"userId": "t2", "id": "t"}}, "t2"),
        ({"userId": "u2", "traits": {"id": "t"}}, "u2"),
        ({"context": {"traits": "k@x.org"}}, None),
        ({}, None),
    ],
)
def test_case_8_a_track_without_user_id_looks_into_the_traits(members, user_id):
    given = {**VIEWED, "email": "gift@x.org"}
    event = track("Product Viewed", given, **members)
    assert mapped(event).get("user_id") == user_id
    assert mapped(event, E).get("userId") == user_id
    assert mapped(event)["anonymous_id"] == "a1"


def test_case_9_each_event_carries_the_ids_that_attribution_needs():
    before = track("Product Viewed", VIEWED)
    joining = identify(userId="u1")
    after = track("Product Viewed", VIEWED)
    other = track("Product Viewed", VIEWED, userId="u2")
    assert [
        (found.get("user_id"), found["anonymous_id"])
        for found in map(mapped, [before, joining, after, other])
    ] == [(None, "a1"), ("u1", "a1"), (None, "a1"), ("u2", "a1")]


@pytest.mark.parametrize("settings", [E, N])
@pytest.mark.parametrize("type_", ["identify", "track"])
def test_case_17_an_event_of_nobody_is_rejected(settings, type_):
    event = {"type": type_, "event": "Product Viewed", "properties": VIEWED}
    with pytest.raises(Rejected, match="missing identity: needs userId, "):
        mapped(event, settings)


# Time.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2024-03-04T10:32:56.409-05:00", MS),
        ("2024-03-04T21:02:56.409+05:30", MS),
        ("2024-03-04T15:32:56.409999Z", MS),
        (MS, MS),
        (str(MS), MS),
        ("2024-03-04T15:32:56.409", MS),
        (1709566376, 1709566376000),
        ("2023-12-06T19:20:45+01:00", 1701886845000),
    ],
)
@pytest.mark.parametrize("settings", [E, N])
def test_case_6_a_timestamp_in_any_form_is_milliseconds(settings, given, expected):
    assert mapped(identify(timestamp=given), settings)["timestamp"] == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            {"timestamp": None, "originalTimestamp": "2022-03-30T17:24:58Z"},
            1648661098000,
        ),
        ({"timestamp": "yesterday", "receivedAt": RECEIVED}, RECEIVED_MS),
        ({"timestamp": {}, "receivedAt": RECEIVED, "sentAt": AT}, RECEIVED_MS),
        ({"timestamp": "", "sentAt": AT}, MS),
        ({"timestamp": "", "originalTimestamp": AT, "receivedAt": RECEIVED}, MS),
        ({"timestamp": AT, "originalTimestamp": RECEIVED}, MS),
    ],
)
def test_case_7_the_first_time_that_can_be_read_counts(members, expected):
    assert mapped(identify(**members))["timestamp"] == expected
    assert mapped(identify(**members), E)["timestamp"] == expected


@pytest.mark.parametrize("settings", [E, N])
def test_case_7_with_no_time_at_all_there_is_no_timestamp(settings):
    assert "timestamp" not in mapped(identify(timestamp="yesterday"), settings)


@pytest.mark.parametrize(
    ("form", "expected"), [("ms", MS), ("s", MS // 1000), ("iso", AT)]
)
def test_the_timestamp_has_the_form_that_is_asked_for(form, expected):
    for payload in ("entire_event", "normalized"):
        settings = options(payload=payload, timestamp_format=form)
        assert mapped(identify(), settings)["timestamp"] == expected


# Products.


@pytest.mark.parametrize(
    ("given", "source", "expected"),
    [
        ({"sku": "S1"}, "product_id", {"id": "S1"}),
        ({"product_id": "P1", "sku": "S1"}, "product_id", {"id": "P1", "sku": "S1"}),
        ({"product_id": "  ", "sku": "S1"}, "product_id", {"id": "S1"}),
        (
            {"product_id": "P1", "sku": "S1"},
            "sku",
            {"id": "S1", "meta": {"product_id": "P1"}},
        ),
    ],
)
def test_case_4_a_product_is_known_by_product_id_or_sku(given, source, expected):
    settings = options(payload="normalized", product_id_source=source)
    for name in ("Product Viewed", "Product Added"):
        event = track(name, {**given, "url": PAGE})
        assert problems(event) == []
        assert mapped(event, settings)["properties"] == {**expected, "url": PAGE}


def test_case_4_a_product_with_neither_is_refused():
    event = track("Product Viewed", {"url": PAGE})
    assert problems(event) == ["properties: product_id or sku required"]


@pytest.mark.parametrize("settings", [E, N])
def test_case_5_a_product_needs_its_url(settings):
    context = {"page": {"url": PAGE}}
    for name in ("Product Viewed", "Product Added", "viewed product", "Added Product"):
        event = track(name, {"product_id": "P1"}, context=context)
        assert problems(event, settings) == ["properties.url: required"]


def test_case_5_id_and_url_missing_are_reported_together():
    assert problems(track("Product Added", {})) == [
        "properties: product_id or sku required",
        "properties.url: required",
    ]


@pytest.mark.parametrize("url", ["/p/9", "shop.example/p/9", "ftp://x/p", 9])
def test_case_5_a_url_must_be_absolute(url):
    event = track("Product Added", {"sku": "S1", "url": url})
    assert problems(event) == ["properties.url: must be an absolute http(s) URL"]


@pytest.mark.parametrize("payload", ["entire_event", "normalized"])
@pytest.mark.parametrize("given", [{}, {"url": "/p/9"}, {"url": None}])
def test_case_5_the_page_may_stand_in_where_it_is_the_product_s(payload, given):
    settings = options(payload=payload, page_url_fallback=True)
    context = {"page": {"url": PAGE}}
    viewed = track("Product Viewed", {"sku": "S1", **given}, context=context)
    added = track("Product Added", {"sku": "S1"}, context=context)
    assert problems(viewed, settings) == []
    assert mapped(viewed, settings)["properties"]["url"] == PAGE
    assert problems(added, settings) == ["properties.url: required"]
    assert "url" not in mapped(added, settings)["properties"]


def test_case_5_the_page_does_not_replace_a_url():
    settings = options(page_url_fallback=True)
    context = {"page": {"url": "https://shop.example/other"}}
    assert properties("Product Viewed", VIEWED, settings, context=context) == VIEWED


def test_case_5_with_the_fallback_neither_url_is_one_problem():
    settings = options(page_url_fallback=True)
    event = track("Product Viewed", {"sku": "S1"})
    assert problems(event, settings) == ["properties: url or context.page.url required"]


def test_a_normalized_product_view_is_the_reference_s_example():
    event = track(
        "Product Viewed",
        {
            "product_id": "P9",
            "sku": "SKU-9",
            "name": "Lamp",
            "price": "24.5",
            "currency": "eur",
            "url": PAGE,
            "image_url": f"{PAGE}.jpg",
            "categories": [{"id": "lighting", "url": "https://shop.example/c/l"}],
            "color": "green",
            "coupon": None,
            "meta": {"brand": "Lux"},
        },
        userId="u-42",
        messageId="m-2",
        context={"timezone": "Europe/Madrid"},
    )
    assert mapped(event) == {
        "type": "track",
        "event": "Product Viewed",
        "event_id": "m-2",
        "user_id": "u-42",
        "anonymous_id": "a1",
        "timestamp": MS,
        "timezone": "Europe/Madrid",
        "properties": {
            "id": "P9",
            "sku": "SKU-9",
            "title": "Lamp",
            "price": 24.5,
            "currency": "EUR",
            "url": PAGE,
            "image_url": f"{PAGE}.jpg",
            "categories": [{"id": "lighting", "url": "https://shop.example/c/l"}],
            "meta": {"color": "green", "brand": "Lux"},
        },
    }


@pytest.mark.parametrize(
    ("given", "expected"), [(2, 2), ("3", 3), (2.0, 2), (0, None), (1.5, None)]
)
def test_a_quantity_is_a_whole_number_from_one(given, expected):
    found = properties("Product Added", {**VIEWED, "quantity": given, "cart_id": 5})
    assert found.get("quantity") == expected
    assert found["cart_id"] == "5"


def test_only_normalized_needs_the_id_of_a_removed_product():
    event = track("Removed Product", {"name": "Lamp"})
    assert problems(event, E) == []
    assert problems(event, N) == ["properties: product_id or sku required"]


# Orders.


@pytest.mark.parametrize("settings", [E, N])
@pytest.mark.parametrize("name", ["Order Completed", "Completed Order"])
def test_case_10_every_bad_item_of_an_order_is_named(settings, name):
    products = [{"product_id": "P1", "price": 5}, {"sku": "S2"}, {"price": 3}, "oops"]
    assert problems(track(name, {"total": 8, "products": products}), settings) == [
        "properties.products[1].price: required",
        "properties.products[2]: product_id or sku required",
        "properties.products[3]: must be an object",
    ]


@pytest.mark.parametrize("products", [[], {}, None, "P1"])
def test_case_10_an_order_needs_products(products):
    event = track("Order Completed", {"total": 8, "products": products})
    assert problems(event) == ["properties.products: required non-empty list"]


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (None, ["properties.total: required"]),
        ("", ["properties.total: required"]),
        ("€58", ["properties.total: must be a number"]),
        ("1,000.00", ["properties.total: must be a number"]),
        (True, ["properties.total: must be a number"]),
        (0, []),
        ("58.00", []),
    ],
)
def test_case_11_an_order_needs_a_total(total, expected):
    event = track("Order Completed", {**ORDERED, "revenue": 50, "total": total})
    assert problems(event) == expected


def test_case_11_other_properties_may_stand_for_the_total():
    given = {"order_id": "O1", "revenue": 50, "products": ORDERED["products"]}
    event = track("Order Completed", given)
    for payload in ("entire_event", "normalized"):
        settings = options(payload=payload, total_fallback=["subtotal", "revenue"])
        assert problems(event, settings) == []
        found = mapped(event, settings)["properties"]
        assert (found["total"], found["revenue"]) == (50, 50)
        missing = track("Order Completed", {"products": ORDERED["products"]})
        assert problems(missing, settings) == [
            "properties: total or subtotal or revenue required"
        ]


@pytest.mark.parametrize(("total", "expected"), [("58.00", 58.0), (0, 0), (7, 7)])
def test_case_11_without_revenue_normalized_takes_the_total(total, expected):
    found = properties("Order Completed", {**ORDERED, "total": total})
    assert (found["total"], found["revenue"]) == (expected, expected)
    assert properties("Order Completed", {**ORDERED, "total": total}, E) == {
        **ORDERED,
        "total": total,
    }


def test_case_11_no_revenue_is_a_revenue():
    assert properties("Order Completed", {**ORDERED, "revenue": 0})["revenue"] == 0


def test_a_fallback_does_not_replace_a_total():
    settings = options(total_fallback=["revenue"])
    given = {**ORDERED, "total": "0", "revenue": 50}
    assert properties("Order Completed", given, settings) == given


def test_a_normalized_order_is_the_reference_s_example():
    given = {
        "order_id": "O-1",
        "total": 58.0,
        "revenue": 50.0,
        "currency": "EUR",
        "coupon": "SPRING",
        "products": [
            {
                "product_id": "P9",
                "name": "Lamp",
                "price": 24.5,
                "quantity": 2,
                "url": PAGE,
            },
            {"sku": "SKU-3", "price": "9"},
        ],
    }
    assert properties("Order Completed", given) == {
        "order_id": "O-1",
        "total": 58.0,
        "revenue": 50.0,
        "currency": "EUR",
        "products": [
            {"id": "P9", "title": "Lamp", "price": 24.5, "quantity": 2, "url": PAGE},
            {"id": "SKU-3", "price": 9},
        ],
        "meta": {"coupon": "SPRING"},
    }


# Categories, lists and searches.


@pytest.mark.parametrize(
    ("given", "categories", "meta"),
    [
        ({"category": "Games"}, [{"id": "Games"}], None),
        (
            {"categories": ["A", {"id": 2, "url": "u"}], "category": "Z"},
            [{"id": "A"}, {"id": "2", "url": "u"}],
            {"category": "Z"},
        ),
        (
            {"categories": [{"url": "u"}], "category": "Z"},
            [{"id": "Z"}],
            {"categories": [{"url": "u"}]},
        ),
        (
            {"categories": [{"category_id": 3, "title": "T"}, {"name": "N"}]},
            [{"id": "3", "title": "T"}, {"id": "N"}],
            None,
        ),
        ({"categories": "A"}, None, {"categories": "A"}),
        ({"categories": [5, None, [], "A"]}, [{"id": "5"}, {"id": "A"}], None),
    ],
)
def test_case_12_categories_win_over_category(given, categories, meta):
    found = properties("Product Viewed", {**VIEWED, **given})
    assert found.get("categories") == categories
    assert found.get("meta") == meta


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"list_id": "hot_deals", "category": "Deals"},
            {"id": "hot_deals", "title": "Deals"},
        ),
        ({"category": "Deals"}, {"id": "Deals", "title": "Deals"}),
        ({"category_id": 9}, {"id": "9"}),
        ({"id": 8, "name": "N"}, {"id": "8", "title": "N"}),
        (
            {"categories": [{"id": "c", "title": "T", "url": "u"}], "id": "x"},
            {
                "id": "c",
                "title": "T",
                "url": "u",
                "meta": {
                    "id": "x",
                    "categories": [{"id": "c", "title": "T", "url": "u"}],
                },
            },
        ),
        (
            {"list_id": 1, "products": [{"sku": "S", "name": "Lamp"}, "oops"]},
            {"id": "1", "products": [{"id": "S", "title": "Lamp"}]},
        ),
    ],
)
def test_case_13_a_list_is_known_by_one_of_many_ids(given, expected):
    for name in ("Product List Viewed", "Category Viewed", "Viewed Product Category"):
        assert problems(track(name, given), N) == []
        assert properties(name, given) == expected


def test_case_13_only_normalized_needs_the_id_of_a_list():
    event = track("Category Viewed", {"categories": [{"url": "u"}]})
    assert problems(event, E) == []
    assert problems(event, N) == [
        "properties: category_id or list_id or categories[0].id or id or category "
        "required"
    ]


def test_case_13_a_list_s_page_may_stand_for_its_url():
    settings = options(payload="normalized", page_url_fallback=True)
    context = {"page": {"url": PAGE}}
    given = {"list_id": "l"}
    found = properties("Product List Viewed", given, settings, context=context)
    assert found == {"id": "l", "url": PAGE}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("red lamp", "red lamp"),
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
        (5, "5"),
        ("", None),
        (None, None),
    ],
)
def test_case_14_a_search_has_its_query_as_text(query, expected):
    event = track("Products Searched", {"query": query})
    assert mapped(event).get("properties", {}).get("query") == expected
    assert problems(event, E) == []
    assert (problems(event, N) == []) is (expected is not None)
    assert mapped(event, E)["properties"] == {"query": query}


# Which events, and under which name.


def test_case_15_the_names_of_the_integration_are_those_of_segment_s_catalogue():
    assert E.integration_names == ("Movable Ink", "MovableInk")


def test_case_16_only_identify_and_track_have_hooks():
    hooks = set(vars(movable_ink))
    assert {"identify", "track"} <= hooks
    assert not {"page", "screen", "group", "alias"} & hooks


def test_case_16_names_are_compared_without_case_and_blanks():
    event = track("product viewed ", VIEWED)
    assert mapped(event, E)["event"] == "product viewed "
    assert mapped(event, N)["event"] == "Product Viewed"
    assert problems(track("product viewed ", {})) != []


@pytest.mark.parametrize("settings", [E, N])
@pytest.mark.parametrize("name", ["Signed Up", "", "  ", None, 5, ["Product Viewed"]])
def test_case_16_a_name_outside_the_specification_is_not_for_movable_ink(
    settings, name
):
    assert mapped(track(name, VIEWED), settings) is None
    assert mapped({"type": "track", "event": name}, settings) is None


@pytest.mark.parametrize(
    ("custom", "name", "sent"),
    [
        (["Signed Up"], "signed up ", "Signed Up"),
        ([" Signed Up "], "Signed Up", "Signed Up"),
        ("*", " Anything", "Anything"),
        (["Signed Up"], "Signed Out", None),
        ("*", " ", None),
        ("*", None, None),
    ],
)
def test_case_16_custom_events_are_sent_where_the_settings_name_them(
    custom, name, sent
):
    event = track(name, {"plan": None, "deep": [1]})
    found = mapped(event, options(payload="normalized", custom_events=custom))
    if sent is None:
        assert found is None
    else:
        assert found["event"] == sent
        assert found["properties"] == event["properties"]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Viewed Product", "Product Viewed"),
        ("Added Product", "Product Added"),
        ("Removed Product", "Product Removed"),
        ("Completed Order", "Order Completed"),
        ("Viewed Product Category", "Product List Viewed"),
        ("Clicked Product", "Product Clicked"),
        ("started order", "Checkout Started"),
    ],
)
def test_case_16_names_of_version_1_are_aliases(alias, name):
    assert mapped(track(alias, VIEWED), N)["event"] == name
    assert mapped(track(alias, VIEWED), E)["event"] == alias


@pytest.mark.parametrize(
    ("event_names", "name", "sent"),
    [
        ("segment", "added product", "Product Added"),
        ("snake", "Added Product", "product_added"),
        ("snake", "Category Viewed", "category_viewed"),
        ({"Product Added": "Cart Add"}, "product added", "Cart Add"),
        ({"Completed Order": "Conversion"}, "Order Completed", "Conversion"),
        ({"Product Added": "Cart Add"}, "Product Viewed", "Product Viewed"),
    ],
)
def test_normalized_names_are_spelt_as_the_settings_say(event_names, name, sent):
    settings = options(payload="normalized", event_names=event_names)
    assert mapped(track(name, VIEWED), settings)["event"] == sent
    assert (
        mapped(track(name, VIEWED), options(event_names=event_names))["event"] == name
    )


def test_what_is_said_twice_counts_where_it_is_nearest():
    given = {"metadata": {"a": 1, "b": 1, "c": 1}, "meta": {"b": 2, "c": 2}, "c": 3}
    found = properties("Product Viewed", {**VIEWED, **given})
    assert found["meta"] == {"a": 1, "b": 2, "c": 3}
    odd = {"metadata": "m", "meta": [1]}
    assert properties("Product Viewed", {**VIEWED, **odd})["meta"] == odd


@pytest.mark.parametrize("given", [{}, None, "x", []])
def test_normalized_leaves_out_properties_that_are_none(given):
    assert "properties" not in mapped(track("Cart Viewed", given))


def test_an_entire_event_keeps_all_that_it_need_not_change():
    event = {
        "type": "track",
        "event": "Product Added",
        "messageId": "m-3",
        "userId": None,
        "anonymousId": "a-7",
        "timestamp": AT,
        "originalTimestamp": AT,
        "integrations": {"All": True},
        "context": {"traits": {"email": "kim@example.org"}, "ip": "10.0.0.1"},
        "properties": {"sku": "SKU-9", "url": PAGE, "price": 24.5, "nothing": None},
    }
    assert mapped(event, E) == {**event, "userId": "kim@example.org", "timestamp": MS}


def test_an_identify_takes_its_traits_from_the_context_if_it_has_none():
    context = {"traits": {"email": "k@x.org"}}
    assert mapped(identify(context=context))["traits"] == context["traits"]
    assert mapped(identify(context=context, traits={"a": 1}))["traits"] == {"a": 1}
    assert mapped(identify(context=context, traits="x"))["traits"] == context["traits"]
    assert "traits" not in mapped(identify(traits={}))


@pytest.mark.parametrize(
    ("context", "given", "expected"),
    [
        ({"timezone": "Europe/Madrid"}, "Asia/Tokyo", "Europe/Madrid"),
        ({"timezone": 2}, "Asia/Tokyo", "Asia/Tokyo"),
        ({}, 2, None),
    ],
)
def test_the_timezone_is_the_context_s_or_the_properties(context, given, expected):
    event = track("Product Viewed", {**VIEWED, "timezone": given}, context=context)
    assert mapped(event).get("timezone") == expected


def test_case_20_mapping_twice_gives_equal_bytes_and_leaves_the_event_alone():
    given = {**ORDERED, "products": [{"product_id": 1, "price": 2}]}
    for name in ("Order Completed", "Product Viewed", "Product List Viewed"):
        for settings in (E, N, options(page_url_fallback=True, total_fallback=["x"])):
            event = track(name, given, userId=5, context={"page": {"url": PAGE}})
            before = codec.dumps(event)
            first = codec.dumps(mapped(event, settings))
            assert codec.dumps(mapped(event, settings)) == first
            assert codec.dumps(event) == before


@pytest.mark.parametrize("name", ["movable_ink", "copied"])
def test_the_folder_is_a_plugin_also_as_a_copy_elsewhere(name, tmp_path):
    folder = Path(movable_ink.__file__).parent
    shutil.copytree(folder, tmp_path / "copied", ignore=lambda *_: {"__pycache__"})
    hooks = plugins.manager(name, plugins.find([tmp_path])).hook
    settings = hooks.settings()(api_key="k", endpoint=URL)
    assert hooks.track(event=track("Product Viewed", VIEWED), settings=settings)
    assert hooks.page(event={"type": "page"}, settings=settings) is None
    assert hooks.sandbox(settings=settings) is not None


def test_every_requirement_can_be_described_and_belongs_to_a_known_event():
    for settings in (E, N, options(page_url_fallback=True, total_fallback=["x"])):
        for name, found in movable_ink.requirements(settings=settings).items():
            assert all(one.words for one in found)
            assert mapped(track(name, {}), settings) is not None
