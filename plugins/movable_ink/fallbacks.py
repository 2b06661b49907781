"""What stands in for a property that is missing, where the settings allow it."""

from typing import Any

from router.hookspecs import Event
from router.requirements import lookup, to_number

from .settings import Settings
from .values import absolute_url


def page_url(event: Event, settings: Settings) -> str | None:
    """The page's address; for events that are the view of that page."""
    if not settings.page_url_fallback:
        return None
    return absolute_url(lookup(event, "context.page.url"))


def total(properties: Any, settings: Settings) -> int | float | None:
    """The first number among the properties that may stand for an order's total."""
    found = (to_number(lookup(properties, name)) for name in settings.total_fallback)
    return next((one for one in found if one is not None), None)
