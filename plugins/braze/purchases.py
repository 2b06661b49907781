"""The purchases of an order: one for each of its products."""

from collections.abc import Iterator, Mapping
from typing import Any

from router.hookspecs import Event
from router.requirements import to_number, to_text

from .settings import Settings
from .values import MOST_IN_PURCHASE, known, members, quantity, when

ORDER = "Order Completed"
# Version 1 of Segment's specification said it the other way round.
ORDER_NAMES = (ORDER, "Completed Order")

# Of a purchase Braze knows these by themselves, and takes no property of that name.
RESERVED = {"product_id", "currency", "price", "quantity", "time", "event_name"}


def is_order(name: Any) -> bool:
    """Whether a track call of that name is an order."""
    plain = str(name).strip().casefold()
    return plain in {one.casefold() for one in ORDER_NAMES}


def purchases(
    event: Event, person: Mapping[str, Any], settings: Settings
) -> list[dict[str, Any]]:
    """The purchases of an order that holds what it must."""
    order = members(event, "properties")
    about = known(order, RESERVED | {"products"})
    return [
        {**person, **purchase, "time": when(event)}
        for product in order["products"]
        for purchase in _of_product(product, order, about, settings)
    ]


def currency_of(
    product: Mapping[str, Any], order: Mapping[str, Any], settings: Settings
) -> str | None:
    """The code of the currency of a product's price, in capitals."""
    given = (product.get("currency"), order.get("currency"), settings.currency)
    code = next(filter(None, map(to_text, given)), None)
    return code.upper() if code else None


def _of_product(
    product: Mapping[str, Any],
    order: Mapping[str, Any],
    about: Mapping[str, Any],
    settings: Settings,
) -> Iterator[dict[str, Any]]:
    purchase = {
        "product_id": to_text(product.get("product_id")) or to_text(product.get("sku")),
        "currency": currency_of(product, order, settings),
        "price": to_number(product.get("price")),
        "properties": {**about, **known(product, RESERVED)},
    }
    left = quantity(product.get("quantity")) or 1
    while left > 0:
        # To Braze a quantity is that many purchases, so that these are the same.
        yield purchase | {"quantity": min(left, MOST_IN_PURCHASE)}
        left -= MOST_IN_PURCHASE
