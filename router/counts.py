"""Counts of what came in, by source and code, over all processes."""

import atexit
import logging
import threading
import time
from collections import Counter

from router.episodes import Episode
from router.errors import StorageUnavailable
from router.ledger import Ledger

# Seconds for which counts are kept in memory: `kill -9` costs no more of them.
WRITE_EVERY = 1.0

logger = logging.getLogger("router.http")


class Counts:
    """Adds up in memory and writes to the ledger, as no request should wait for it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._new: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._waiting = Episode(logger, "counts are stored again")

    def add(self, source: str, code: str, number: int = 1) -> None:
        """Counts what a source sent; an unknown source has no name."""
        with self._lock:
            self._new[source, code] += number
            if self._writer is None:
                # Begun by the first request, as no thread outlives a fork.
                self._writer = threading.Thread(target=self._write_on, daemon=True)
                self._writer.start()
                atexit.register(self.write)

    def write(self) -> None:
        """Writes what was counted since the last time; keeps it if it cannot."""
        with self._lock:
            new, self._new = self._new, Counter()
        if not new:
            return
        try:
            self._ledger.arrivals.add(new)
        except StorageUnavailable as error:
            self._waiting.begin("counts wait for the disk: %s", error)
            with self._lock:
                self._new.update(new)
        else:
            self._waiting.end()

    def _write_on(self) -> None:
        while True:
            time.sleep(WRITE_EVERY)
            self.write()
