"""What the properties of an order must hold before it can be sent."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router import hookimpl
from router.requirements import Requirement, any_of, each, number

from .purchases import ORDER_NAMES, currency_of
from .settings import Settings
from .values import MOST_QUANTITY, members, quantity


@hookimpl
def requirements(settings: Settings) -> Mapping[str, Sequence[Requirement]]:
    product = (any_of("product_id", "sku"), number("price"), _quantity())
    needs = [each("products", *product), _currency(settings)]
    return dict.fromkeys(ORDER_NAMES, needs)


def _quantity() -> Requirement:
    words = f"quantity, if there, a whole number from 1 to {MOST_QUANTITY}"

    def problems(value: Any, path: str, event: Any) -> Iterator[str]:
        if quantity(value.get("quantity")) is None:
            yield f"{path}.quantity: must be a whole number from 1 to {MOST_QUANTITY}"

    return Requirement("quantity", words, problems)


def _currency(settings: Settings) -> Requirement:
    """Of the order, or of each of its products, where the settings do not say it."""
    words = "currency, there or in each product"
    if settings.currency:
        words = f"currency, if it is not {settings.currency}"

    def problems(value: Any, path: str, event: Any) -> Iterator[str]:
        order = members(event, "properties")
        products = order.get("products")
        listed = products if isinstance(products, list) else []
        known = [one for one in listed if isinstance(one, Mapping)] or [{}]
        if not all(currency_of(one, order, settings) for one in known):
            yield f"{path}.currency: required, or in each product, or in the settings"

    return Requirement("currency", words, problems)
