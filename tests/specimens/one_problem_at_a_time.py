"""Refuses an event for the first thing that it misses, and then for the second."""

from specimens.good import deliver, identify, settings

from router import Rejected, hookimpl

__all__ = ["deliver", "identify", "settings"]

FAILS = {"test_requirements_report_every_problem": "declare what is needed"}


@hookimpl
def track(event):
    if event["event"] == "Product Viewed":
        for name in ("product_id", "url"):
            if name not in event["properties"]:
                raise Rejected(f"{name} is missing")
    return {"id": event["messageId"], "who": event.get("userId"), **event["properties"]}
