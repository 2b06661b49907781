"""When an event happened, in the form that the destination asks for."""

from typing import Any

from router import timestamps
from router.hookspecs import Event

from .settings import Settings

# The first that can be read counts. `timestamp` is corrected for the client's clock.
SOURCES = ("timestamp", "originalTimestamp", "receivedAt", "sentAt")

FORMS: dict[str, Any] = {
    "ms": lambda milliseconds: milliseconds,
    "s": lambda milliseconds: milliseconds // 1000,
    "iso": timestamps.format_iso,
}


def when(event: Event, settings: Settings) -> int | str | None:
    """The event's time, or None where it has none that can be read."""
    for name in SOURCES:
        milliseconds = timestamps.parse(event.get(name))
        if milliseconds is not None:
            found: int | str = FORMS[settings.timestamp_format](milliseconds)
            return found
    return None
