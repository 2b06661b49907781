"""Who an event is of: the identifier that Movable Ink knows, and the anonymous id."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

from router import Rejected
from router.hookspecs import Event
from router.requirements import lookup, to_text

from .settings import Settings

ANONYMOUS_ID = "anonymousId"
USER_ID = "userId"
OTHER_IDS = ("traits.userId", "traits.id", "context.traits.userId", "context.traits.id")

# Never `properties.email`: the address of a gift's recipient would take over the
# profile of the one who gives.
EMAILS = ("traits.email", "context.traits.email")


class Person(NamedTuple):
    """The ids of an event, at least one of them."""

    user_id: str | None
    anonymous_id: str | None


def who(event: Event, settings: Settings) -> Person:
    """The person that the event is of; raises Rejected when it names none."""
    person = Person(_user_id(event, settings), to_text(event.get(ANONYMOUS_ID)))
    if person.user_id is None and person.anonymous_id is None:
        raise Rejected("missing identity: needs userId, traits.email or anonymousId")
    return person


def _user_id(event: Event, settings: Settings) -> str | None:
    if settings.identifier == "user_id":
        return _id(event) or _email(event, _as_it_is)
    return _email(event, FORMS[settings.identifier]) or _id(event)


def _id(event: Event) -> str | None:
    if found := to_text(event.get(USER_ID)):
        return found  # as of almost every event that has one
    return next(filter(None, (to_text(lookup(event, one)) for one in OTHER_IDS)), None)


def _email(event: Event, form: Callable[[str], str]) -> str | None:
    for path in EMAILS:
        found = lookup(event, path)
        if isinstance(found, str) and found.strip():
            return form(found.strip())
    return None


def _as_it_is(email: str) -> str:
    return email


def _hashed(algorithm: Callable[..., Any]) -> Callable[[str], str]:
    def form(email: str) -> str:
        data = email.lower().encode(errors="replace")
        return str(algorithm(data, usedforsecurity=False).hexdigest())

    return form


FORMS = {
    "email": _as_it_is,
    "email_sha256": _hashed(hashlib.sha256),
    "email_md5": _hashed(hashlib.md5),
}
