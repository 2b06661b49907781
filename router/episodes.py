"""Trouble that lasts: said once when it begins, and once when it ends."""

import logging
from typing import Any


class Episode:
    """Of one trouble, such as a disk that is full, however often it is met meanwhile.

    end: what is said when it is over.
    """

    def __init__(self, logger: logging.Logger, end: str) -> None:
        self._logger, self._end = logger, end
        self._is_on = False

    def begin(self, message: str, *values: Any) -> None:
        """It has been met."""
        if not self._is_on:
            self._logger.error(message, *values)
        self._is_on = True

    def end(self) -> None:
        """It has not."""
        if self._is_on:
            self._logger.warning(self._end)
        self._is_on = False
