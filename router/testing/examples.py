"""Events as clients send them, on which a plugin is tried.

One of each type of call, and of Segment's e-commerce specification (version 2) those
that most destinations care for.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from router import codec
from router.events import Arrival, accept
from router.log import Record

Event = Mapping[str, Any]

# When the examples were received: 2024-03-04T15:33:20Z, in milliseconds.
RECEIVED_AT = 1_709_566_400_000
SENT_AT = "2024-03-04T15:33:20.000Z"

LAMP = {
    "product_id": "P-1001",
    "sku": "LAMP-7",
    "name": "Lampe „Café“",
    "brand": "Hell & Söhne",
    "variant": "brass",
    "category": "Lighting",
    "price": 59.5,
    "quantity": 1,
    "url": "https://shop.example/p/1001",
    "image_url": "https://shop.example/p/1001.jpg",
}
BULB = {
    "product_id": "P-1002",
    "sku": "BULB-3",
    "name": "Bulb",
    "price": 4,
    "quantity": 3,
    "url": "https://shop.example/p/1002",
}

TRAITS = {
    "email": "kim@shop.example",
    "firstName": "Kim",
    "lastName": "Ångström",
    "phone": "+4930123456",
    "age": 41,
    "plan": "gold",
    "address": {"city": "Köln", "country": "DE", "postalCode": "50667"},
}
CONTEXT = {
    "ip": "192.0.2.7",
    "locale": "de-DE",
    "timezone": "Europe/Berlin",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:123.0) Gecko/20100101",
    "library": {"name": "analytics.js", "version": "2.11.1"},
    "page": {
        "path": "/p/1001",
        "title": "Lampe „Café“",
        "url": "https://shop.example/p/1001",
        "referrer": "https://search.example/",
    },
}
PAGE = CONTEXT["page"]

ORDER = {
    "checkout_id": "C-77",
    "order_id": "O-2041",
    "affiliation": "Shop",
    "total": 71.5,
    "subtotal": 71.5,
    "revenue": 71.5,
    "shipping": 0,
    "tax": 11.4,
    "discount": 0,
    "currency": "EUR",
    "products": [LAMP, BULB],
}

TRACKED: Mapping[str, Event] = {
    "Product Viewed": {**LAMP, "currency": "EUR"},
    "Product Added": {**LAMP, "cart_id": "C-77", "currency": "EUR"},
    "Product Removed": {**LAMP, "cart_id": "C-77"},
    "Products Searched": {"query": "brass lamp"},
    "Product List Viewed": {
        "list_id": "hot",
        "category": "Deals",
        "products": [LAMP, BULB],
    },
    "Cart Viewed": {"cart_id": "C-77", "products": [LAMP]},
    "Checkout Started": ORDER,
    "Order Completed": ORDER,
    "Order Refunded": {"order_id": "O-2041", "total": 71.5, "currency": "EUR"},
    "Signed Up": {"plan": "gold"},
}

# Values as they come where another kind is meant.
ODD: tuple[Any, ...] = (
    None, "", " ", "é", 0, -1.5, True, [], [None], ["x"], [{}], {}
)  # fmt: skip

CALLS: tuple[Event, ...] = (
    {"type": "identify", "traits": TRAITS},
    *(
        {"type": "track", "event": name, "properties": properties}
        for name, properties in TRACKED.items()
    ),
    {"type": "page", "category": "Shop", "name": "Product", "properties": PAGE},
    {"type": "screen", "name": "Product", "properties": {"variation": "dark"}},
    {"type": "group", "groupId": "g-5", "traits": {"name": "Hell & Söhne", "seats": 9}},
    {"type": "alias", "previousId": "anonymous-0000"},
)


def examples() -> list[dict[str, Any]]:
    """The kit's events, each a copy of its own."""
    return [numbered({**call, "context": CONTEXT}, 0) for call in CALLS]


def numbered(event: Event, number: int) -> dict[str, Any]:
    """The event as another user sent it, that many seconds before it was received, so
    that each has ids, an address and a time of its own."""
    made: dict[str, Any] = copy.deepcopy(dict(event))
    made["userId"] = f"user-{number:04}"
    made["anonymousId"] = f"anonymous-{number:04}"
    made["messageId"] = f"message-{number:04}"
    second, minute = number % 60, number // 60 % 60
    made["timestamp"] = f"2024-03-04T14:{minute:02}:{second:02}.000Z"
    made["sentAt"] = SENT_AT
    context = made.get("context")
    for holder in (made, context if isinstance(context, dict) else {}):
        traits = holder.get("traits")
        if isinstance(traits, dict) and "email" in traits:
            traits["email"] = f"user-{number:04}@shop.example"
    return made


def odd(event: Event) -> Iterator[dict[str, Any]]:
    """The event as careless clients send it: nothing but what the router asks for, and
    each member of `properties` and `traits` of every kind in turn."""
    needed = ("type", "event", "groupId", "previousId", "userId", "messageId")
    yield {name: event[name] for name in needed if name in event}
    anonymous = {name: value for name, value in event.items() if name != "userId"}
    if event["type"] != "alias":
        yield anonymous
    for holder in ("properties", "traits"):
        members = event.get(holder)
        if not isinstance(members, Mapping):
            continue
        for name in members:
            for value in ODD:
                yield {**event, holder: {**members, name: value}}
            yield {**event, holder: {k: v for k, v in members.items() if k != name}}


def arrived(event: Event) -> Record:
    """An event of the log as it is there, or one as a client sends it, accepted; raises
    InvalidEvent."""
    if "receivedAt" not in event:
        return record(event)
    message_id = str(event.get("messageId"))
    return Record(0, 0, "web", message_id, RECEIVED_AT, codec.dumps(event))


def record(event: Event, number: int = 0) -> Record:
    """The event as the log has it, at that offset; raises InvalidEvent."""
    given = f"example-{number:04}"
    sent = codec.loads(codec.dumps(event))
    accepted = accept(sent, "web", Arrival(RECEIVED_AT), lambda: given)
    return Record(0, number, *accepted.columns())
