"""Relies on what is in the objects of a list."""

from specimens.good import deliver, identify, settings

from router import hookimpl

__all__ = ["deliver", "identify", "settings"]

FAILS = {"test_odd_events": "with {'properties.products': [{}]}"}


@hookimpl
def track(event):
    products = event["properties"].get("products")
    rows = products if isinstance(products, list) else []
    skus = [one["sku"] for one in rows if isinstance(one, dict)]
    return {"id": event["messageId"], "who": event.get("userId"), "skus": skus}
