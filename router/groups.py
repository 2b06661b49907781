"""Group commit: threads that write at the same time share one transaction.

So it is waited for the disk once for all of them: while one commit is on its way to the
disk, those that come meanwhile gather for the next.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Takes all that has come so far; called again, that and what has come since.
Take = Callable[[], Sequence[Item]]


class _Entry(Generic[Item, Result]):
    """What a thread brought, and what became of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.results: list[Result] = []
        self.error: BaseException | None = None
        # Each sleeps on its own, so who is done need not wait for who is not.
        self.woken = threading.Semaphore(0)

    @property
    def is_done(self) -> bool:
        return bool(self.results) or self.error is not None


class GroupCommit(Generic[Item, Result]):
    """commit: called by one thread at a time; takes items, in the order in which they
    came, and returns a result for each. What it raises is raised to all of them.

    It is called by the thread of the first item that it takes.
    """

    def __init__(self, commit: Callable[[Take[Item]], Sequence[Result]]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Item, Result]] = []
        self._is_led = False

    def write(self, item: Item) -> Result:
        """What became of the item; it is committed when this returns."""
        mine: _Entry[Item, Result] = _Entry(item)
        with self._lock:
            self._waiting.append(mine)
            leads, self._is_led = not self._is_led, True
        if not leads:
            mine.woken.acquire()
        if not mine.is_done:
            self._lead()
        if mine.error is not None:
            raise mine.error
        return mine.results[0]

    def _lead(self) -> None:
        taken: list[_Entry[Item, Result]] = []

        def take() -> Sequence[Item]:
            with self._lock:
                taken.extend(self._waiting)
                self._waiting = []
            return [entry.item for entry in taken]

        try:
            take()
            results = self._commit(take)
            for entry, result in zip(taken, results, strict=True):
                entry.results.append(result)
        except BaseException as error:
            for entry in taken:
                entry.error = error
        # First who leads next, as the disk is free.
        with self._lock:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].woken.release()
        for entry in taken[1:]:
            entry.woken.release()
