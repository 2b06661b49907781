"""Movable Ink: customer events to its Customer Data API (the behavioural collector).

ecommerce -> needs                    which events, and what they must hold
identity, moments, values             who, when, and how a value is read
mapping -> entire_event | normalized  the payload
delivery                              the request, and what the answer means
collector, profiles, faults, storage  the sandbox: an imitation of Movable Ink
"""

from .collector import sandbox
from .delivery import deliver
from .mapping import identify, track
from .needs import requirements
from .options import settings

__all__ = ["deliver", "identify", "requirements", "sandbox", "settings", "track"]
