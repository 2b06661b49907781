"""Whose profile an event is for."""

from typing import Any

from router import Rejected
from router.hookspecs import Event
from router.requirements import to_text

from .settings import Settings


def who(event: Event, settings: Settings) -> dict[str, Any] | None:
    """The members of an object that name its user, or None: of nobody that Braze is to
    know. Raises Rejected where the event names nobody."""
    if user_id := to_text(event.get("userId")):
        return {"external_id": user_id}
    name = to_text(event.get("anonymousId"))
    if name is None:
        raise Rejected("missing identity: needs userId or anonymousId")
    if not settings.anonymous_users:
        return None
    alias = {"alias_name": name, "alias_label": settings.alias_label}
    # Without this Braze ignores aliases that it does not know yet.
    return {"user_alias": alias, "_update_existing_only": False}
