"""Takes out of the event what it does not want to send."""

from specimens.good import deliver, identify, settings

from router import hookimpl

__all__ = ["deliver", "identify", "settings"]

FAILS = {"test_event_is_not_changed": "and new ones of what is in it"}


@hookimpl
def track(event):
    event["properties"].pop("image_url", None)
    return {"id": event["messageId"], "who": event.get("userId"), **event["properties"]}
