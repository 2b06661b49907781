"""Movable Ink: customer events to its Customer Data API (the behavioural collector).

settings      the keys of its table in conf.d
requirements  what an event must hold; its name and aliases are in ecommerce
mapping       the payload of an event: where to begin reading
              entire_event | normalized, the two forms that it has
              identity, moments, values, fallbacks: who, when, how a value is read,
              and what stands in for one that is missing
delivery      the request, and what the answer means
sandbox       an imitation of Movable Ink, to try all this with
cases         events, and the requests that they become
"""

from .delivery import deliver
from .mapping import identify, track
from .requirements import requirements
from .sandbox import sandbox
from .settings import settings

__all__ = ["deliver", "identify", "requirements", "sandbox", "settings", "track"]
