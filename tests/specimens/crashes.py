"""Takes for granted what not every event has."""

from specimens import good
from specimens.good import deliver, settings

from router import hookimpl

__all__ = ["deliver", "settings"]

TYPES = ("identify", "page", "screen", "group", "alias")

FAILS = {
    **{f"test_type[{kind}]": "`requirements` are for track calls" for kind in TYPES},
    "test_type[track]": "return None for what the plugin does not take",
}


@hookimpl
def page(event):
    return {"campaign": event["context"]["campaign"]["name"]}


identify = screen = group = alias = page


@hookimpl
def track(event):
    if event["event"] == "Signed Up":
        return {"coupon": event["properties"]["coupon"]}
    return good.track(event)
