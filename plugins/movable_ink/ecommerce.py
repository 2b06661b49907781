"""The events of Segment's e-commerce specification, and how their names are read."""

VIEWED, ADDED, REMOVED = "Product Viewed", "Product Added", "Product Removed"
PRODUCT_EVENTS = (VIEWED, ADDED, REMOVED)
LIST_EVENTS = ("Product List Viewed", "Category Viewed")
SEARCH = "Products Searched"
ORDER = "Order Completed"

# Version 2, and `Category Viewed`, which Movable Ink has a schema for.
NAMES = (
    SEARCH,
    *LIST_EVENTS,
    "Product List Filtered",
    "Promotion Viewed",
    "Promotion Clicked",
    "Product Clicked",
    *PRODUCT_EVENTS,
    "Cart Viewed",
    "Checkout Started",
    "Checkout Step Viewed",
    "Checkout Step Completed",
    "Payment Info Entered",
    ORDER,
    "Order Updated",
    "Order Refunded",
    "Order Cancelled",
    "Coupon Entered",
    "Coupon Applied",
    "Coupon Denied",
    "Coupon Removed",
    "Product Added to Wishlist",
    "Product Removed from Wishlist",
    "Wishlist Product Added to Cart",
    "Product Shared",
    "Cart Shared",
    "Product Reviewed",
)

# Version 1 said it the other way round.
ALIASES = {
    "Viewed Product Category": "Product List Viewed",
    "Viewed Promotion": "Promotion Viewed",
    "Clicked Promotion": "Promotion Clicked",
    "Clicked Product": "Product Clicked",
    "Viewed Product": "Product Viewed",
    "Added Product": "Product Added",
    "Removed Product": "Product Removed",
    "Viewed Cart": "Cart Viewed",
    "Started Order": "Checkout Started",
    "Viewed Checkout Step": "Checkout Step Viewed",
    "Completed Checkout Step": "Checkout Step Completed",
    "Completed Order": ORDER,
    "Updated Order": "Order Updated",
    "Refunded Order": "Order Refunded",
    "Cancelled Order": "Order Cancelled",
}


def plain(name: str) -> str:
    """A name as it is compared: without blanks around it, in no particular case."""
    return name.strip().casefold()


_SPELT = frozenset(NAMES)
_CANONICAL = {plain(name): name for name in NAMES} | {
    plain(alias): name for alias, name in ALIASES.items()
}


def canonical(name: str) -> str | None:
    """The specification's spelling of an event's name, or None if it has none."""
    return name if name in _SPELT else _CANONICAL.get(plain(name))


def spellings(name: str) -> list[str]:
    """The canonical name and its aliases."""
    return [name, *(alias for alias, meant in ALIASES.items() if meant == name)]
