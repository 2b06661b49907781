"""Trouble that lasts: said once when it begins, and once when it ends."""

import logging
import re
from typing import Any

# So many different reasons are said of one trouble; one may come with a request.
MOST_REASONS = 20


class Episode:
    """Of one trouble, such as a disk that is full, however often it is met meanwhile.

    A reason that was not said yet is said too, for it may ask for something else; one
    that only differs in its numbers was. end: what is said when it is over.
    """

    def __init__(self, logger: logging.Logger, end: str) -> None:
        self._logger, self._end = logger, end
        self._said: set[str] = set()

    def begin(self, message: str, *values: Any) -> None:
        """It has been met."""
        reason = re.sub(r"\d+", "0", message % values)
        if reason not in self._said and len(self._said) < MOST_REASONS:
            self._said.add(reason)
            self._logger.error(message, *values)

    def end(self) -> None:
        """It has not."""
        if self._said:
            self._said.clear()
            self._logger.warning(self._end)
