"""Requirements: data that finds every problem of an event and says where it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import PluginError
from router.requirements import (
    absolute_url,
    any_of,
    check,
    declared,
    each,
    identifier,
    in_event,
    is_absent,
    is_identifier,
    number,
    required,
    to_number,
    to_text,
)

ORDER = [
    number("total"),
    each("products", any_of("sku", "product_id"), number("price")),
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "products", "price", "total", "properties"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


def found(requirement, **properties):
    return check([requirement], {"properties": properties})


def test_an_event_that_has_everything_has_no_problems():
    products = [{"sku": "a", "price": 1}, {"product_id": 2, "price": "2.50"}]
    event = {"properties": {"total": 3.5, "products": products}}
    assert check(ORDER, event) == []


def test_every_problem_is_reported_with_its_path_in_the_order_declared():
    products = [
        {"sku": "a", "price": 1},
        {"sku": " ", "product_id": None, "price": "cheap"},
        {"sku": "c"},
        "not an object",
    ]
    event = {"properties": {"total": None, "products": products}}
    assert check(ORDER, event) == [
        "properties.total: required",
        "properties.products[1]: sku or product_id required",
        "properties.products[1].price: must be a number",
        "properties.products[2].price: required",
        "properties.products[3]: must be an object",
    ]


@pytest.mark.parametrize("event", [{}, {"properties": None}, {"properties": {}}])
def test_an_event_without_properties_lacks_everything(event):
    assert check(ORDER, event) == [
        "properties.total: required",
        "properties.products: required non-empty list",
    ]


@pytest.mark.parametrize("value", [None, "", " \t\n"])
def test_null_and_blank_text_count_as_not_there(value):
    assert is_absent(value)
    assert found(required("a"), a=value) == ["properties.a: required"]


@pytest.mark.parametrize("value", [0, False, [], {}, "x", 0.0])
def test_anything_else_counts_as_there(value):
    assert not is_absent(value)
    assert found(required("a"), a=value) == []


@pytest.mark.parametrize("value", ["a", "0", 0, -1, 7.0, 10**400])
def test_text_and_whole_numbers_are_ids(value):
    assert is_identifier(value)
    assert found(identifier("a"), a=value) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" a ", "a"),
        ("0", "0"),
        (0, "0"),
        (-1, "-1"),
        (7.0, "7"),
        (1e20, "1" + "0" * 20),
    ],
)
def test_an_id_has_one_spelling_as_text(value, expected):
    assert to_text(value) == expected


@pytest.mark.parametrize(
    "value", [True, False, 1.5, float("nan"), float("inf"), [], {}, ["a"]]
)
def test_nothing_else_is_an_id(value):
    assert not is_identifier(value)
    assert to_text(value) is None
    assert found(identifier("a"), a=value) == [
        "properties.a: must be an id: text or a whole number"
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (-1.5, -1.5),
        ("12", 12),
        (" +3.50 ", 3.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        (10**400, 10**400),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_finite_numbers_and_text_that_spells_one_are_numbers(value, expected):
    assert to_number(value) == expected
    assert type(to_number(value)) is type(expected)
    assert found(number("a"), a=value) == []


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, [], {}, [1]),
        *(float("nan"), float("inf"), float("-inf"), "nan", "inf", "1e999"),
        *("1,000", "$5", "5 EUR", "0x10", "1_000", "٣", ".", "--1", "9" * 5000),
    ],
)
def test_nothing_else_is_a_number(value):
    assert to_number(value) is None
    assert found(number("a"), a=value) == ["properties.a: must be a number"]


@pytest.mark.parametrize(
    "value",
    ["https://shop.example/p?a=1#b", "HTTP://x", " http://x/ ", "http://[::1]:80/"],
)
def test_an_absolute_http_address_is_one(value):
    assert found(absolute_url("url"), url=value) == []


@pytest.mark.parametrize(
    "value",
    [
        *(
            "/p/1",
            "shop.example/p",
            "//shop.example",
            "ftp://x/",
            "http://",
            "http:///p",
        ),
        *("http://?q", "javascript:alert(1)", "https://x/a b", 5, True, ["https://x"]),
    ],
)
def test_nothing_else_is_an_absolute_http_address(value):
    assert found(absolute_url("url"), url=value) == [
        "properties.url: must be an absolute http(s) URL"
    ]


def test_one_of_several_is_enough_and_a_bare_name_means_an_id():
    either = any_of("sku", "product_id")
    assert found(either, sku=0) == []
    assert found(either, sku=None, product_id="p") == []
    assert found(either, sku=True, product_id=[]) == [
        "properties: sku or product_id required"
    ]


def test_one_of_several_may_be_any_requirement():
    either = any_of(number("total"), absolute_url("url"))
    assert found(either, total="x", url="https://x/") == []
    assert found(either, total="x", url="x") == ["properties: total or url required"]


@pytest.mark.parametrize("value", [None, [], {}, "a", 5, {"0": {"sku": "a"}}])
def test_a_list_must_be_one_and_not_be_empty(value):
    assert found(each("products", "sku"), products=value) == [
        "properties.products: required non-empty list"
    ]


def test_lists_within_lists_have_paths_with_both_places():
    nested = each("orders", each("lines", number("price")))
    orders = [{"lines": [{"price": 1}]}, {"lines": [{"price": 1}, {"price": True}]}]
    assert found(nested, orders=orders) == [
        "properties.orders[1].lines[1].price: must be a number"
    ]


def test_a_dotted_name_is_a_path_that_may_end_early():
    assert found(required("cart.id"), cart={"id": "c"}) == []
    for cart in (None, "text", [], {}, {"id": None}):
        assert found(required("cart.id"), cart=cart) == ["properties.cart.id: required"]


def test_a_requirement_of_the_event_counts_its_path_from_the_top():
    requirements = [in_event(required("userId")), in_event(number("context.age"))]
    event = {"userId": "u", "context": {"age": 5}, "properties": {}}
    assert check(requirements, event) == []
    assert check(requirements, {"context": {"age": "x"}}) == [
        "userId: required",
        "context.age: must be a number",
    ]


def test_the_event_and_its_properties_may_be_alternatives():
    url = any_of(absolute_url("url"), in_event(absolute_url("context.page.url")))
    page = {"context": {"page": {"url": "https://x/"}}, "properties": {}}
    assert check([url], page) == []
    assert check([url], {}) == ["properties: url or context.page.url required"]


def test_requirements_say_in_words_what_they_are():
    assert [one.words for one in ORDER] == [
        "total (a number)",
        "products, a non-empty list, each with: sku (an id: text or a whole number) "
        "or product_id (an id: text or a whole number); price (a number)",
    ]
    assert required("a").words == "a"
    assert in_event(absolute_url("a")).words == (
        "the event's a (an absolute http(s) URL)"
    )


@given(JSON)
def test_checking_never_raises_on_any_json_and_a_problem_is_a_line_with_a_path(value):
    requirements = [
        *ORDER,
        required("a.b"),
        absolute_url("a"),
        identifier("b"),
        each("a", each("b", "a"), number("total")),
        in_event(any_of(number("price"), required("a.b"))),
    ]
    event = value if isinstance(value, dict) else {"properties": value}
    for problem in check(requirements, event):
        path, _, said = problem.partition(": ")
        assert path
        assert said


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (["total"], "its hook `requirements`: expected a mapping of event names; "
                    "came list"),
        ({"X": "total"}, 'requirements["X"]: expected a list of requirements; '
                         "came str"),
        ({"X": required("total")}, 'requirements["X"]: expected a list of '
                                   "requirements; came Requirement"),
        ({"W": [required("a")], "X": [required("b"), "total"]},
         'requirements["X"][1]: expected a requirement, as required("total"); '
         "came str"),
    ],
)  # fmt: skip
def test_what_is_no_requirement_is_named_by_its_place(returned, said):
    with pytest.raises(PluginError) as caught:
        declared(returned)
    assert str(caught.value) == caught.value.safe == said


def test_requirements_may_be_any_row_of_them():
    one = required("total")
    rows = {"X": (one,), "Y": iter([one])}
    assert declared(rows) == {"X": (one,), "Y": (one,)}
