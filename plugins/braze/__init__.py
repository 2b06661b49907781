"""Braze: people's attributes, events and purchases to its `/users/track`.

settings      the keys of its table in conf.d
requirements  what an order must hold
mapping       the objects of an event: where to begin reading
              attributes, of identify; purchases, of Order Completed
              identity, values: who, and how a value is read
delivery      the request, and what the answer means
sandbox       an imitation of Braze, to try all this with
cases         events, and the requests that they become

The contract is Braze's public reference: www.braze.com/docs/api, "Track users", "User
attributes object", "Event object", "Purchase object", "Rate limits", "Errors".
"""

from .delivery import deliver
from .mapping import identify, page, screen, track
from .requirements import requirements
from .sandbox import sandbox
from .settings import settings

__all__ = [
    "deliver",
    "identify",
    "page",
    "requirements",
    "sandbox",
    "screen",
    "settings",
    "track",
]
