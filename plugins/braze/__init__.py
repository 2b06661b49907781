"""Braze: people's attributes, events and purchases to its `/users/track`.

needs                      what an order must hold
identity, values           who, and how a value is read
mapping -> attributes      identify
        -> purchases       Order Completed
delivery                   the request, and what the answer means
sandbox                    an imitation of Braze

The contract is Braze's public reference: www.braze.com/docs/api, "Track users", "User
attributes object", "Event object", "Purchase object", "Rate limits", "Errors".
"""

from .delivery import deliver
from .mapping import identify, page, screen, track
from .needs import requirements
from .options import settings
from .sandbox import sandbox

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
