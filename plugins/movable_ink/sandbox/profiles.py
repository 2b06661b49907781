"""Whose profile an event belongs to, as Movable Ink documents it.

An event belongs to its user id; one that has only an anonymous id belongs to the user
whom the last identify call with that id named, and before there is one to a profile
of its own. An identify call brings those earlier anonymous events into the profile of
its user id, or of `traits.email` where it has no user id.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import falcon

from router.requirements import to_text

from .answers import answer
from .storage import Storage

Event = Mapping[str, Any]

USER, ANONYMOUS = "user", "anonymous"
Key = tuple[str, str | None]


@dataclass
class Profile:
    """events: with the position in which each was received."""

    key: Key
    anonymous_ids: list[str] = field(default_factory=list)
    traits: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)

    def absorb(self, other: "Profile") -> None:
        self.traits = {**other.traits, **self.traits}
        self.events = sorted(self.events + other.events, key=lambda pair: pair[0])

    def shown(self) -> dict[str, Any]:
        kind, known_as = self.key
        return {
            "id": known_as,
            "userId": known_as if kind == USER else None,
            "anonymousIds": self.anonymous_ids,
            "traits": self.traits,
            "events": [event for _, event in self.events],
        }


class Attribution:
    """Profiles, built up from events in the order in which they were received."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._profiles: dict[Key, Profile] = {}
        self._owners: dict[str, Key] = {}
        for position, event in enumerate(events):
            self._receive(position, event)

    def shown(self) -> list[dict[str, Any]]:
        """The profiles, in the order of their first events."""
        profiles = sorted(self._profiles.values(), key=lambda one: one.events[0][0])
        return [profile.shown() for profile in profiles]

    def _receive(self, position: int, event: Event) -> None:
        user_id, anonymous_id = user_id_of(event), anonymous_id_of(event)
        if event.get("type") == "identify":
            user_id = user_id or _email(event)
        profile = self._profile(self._key(user_id, anonymous_id))
        profile.events.append((position, event))
        if anonymous_id and user_id is None:
            _add(profile.anonymous_ids, anonymous_id)
        if event.get("type") == "identify":
            profile.traits.update(_object(event.get("traits")))
            self._join(profile, anonymous_id)

    def _key(self, user_id: str | None, anonymous_id: str | None) -> Key:
        if user_id is not None:
            return (USER, user_id)
        if anonymous_id is None:
            return (ANONYMOUS, None)
        return self._owners.get(anonymous_id, (ANONYMOUS, anonymous_id))

    def _profile(self, key: Key) -> Profile:
        return self._profiles.setdefault(key, Profile(key))

    def _join(self, profile: Profile, anonymous_id: str | None) -> None:
        if anonymous_id is None or profile.key[0] != USER:
            return
        self._owners[anonymous_id] = profile.key
        _add(profile.anonymous_ids, anonymous_id)
        earlier = self._profiles.pop((ANONYMOUS, anonymous_id), None)
        if earlier is not None:
            profile.absorb(earlier)


class ProfilesResource:
    """`/profiles`: what the collector has taken, by profile."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        events = (e for record in self._storage.records() for e in record["events"])
        answer(resp, {"profiles": Attribution(events).shown()})

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._storage.forget()
        resp.status = falcon.HTTP_204


def user_id_of(event: Event) -> str | None:
    """The user id of a payload in either form."""
    return to_text(event.get("userId")) or to_text(event.get("user_id"))


def anonymous_id_of(event: Event) -> str | None:
    """The anonymous id of a payload in either form."""
    return to_text(event.get("anonymousId")) or to_text(event.get("anonymous_id"))


def _email(event: Event) -> str | None:
    return to_text(_object(event.get("traits")).get("email"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _add(ids: list[str], one: str) -> None:
    if one not in ids:
        ids.append(one)
