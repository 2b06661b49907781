"""Group commit: threads that write at the same time share one transaction.

So it is waited for the disk once for all of them: while one commit is on its way to the
disk, those that come meanwhile gather for the next.
"""

import threading
from collections import deque
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

    @property
    def is_done(self) -> bool:
        return bool(self.results) or self.error is not None


class GroupCommit(Generic[Item, Result]):
    """commit: called by one thread at a time; takes items, in the order in which they
    came, and returns a result for each. What it raises is raised to all of them."""

    def __init__(self, commit: Callable[[Take[Item]], Sequence[Result]]) -> None:
        self._commit = commit
        self._turn = threading.Lock()
        self._waiting: deque[_Entry[Item, Result]] = deque()

    def write(self, item: Item) -> Result:
        """What became of the item; it is committed when this returns."""
        mine: _Entry[Item, Result] = _Entry(item)
        self._waiting.append(mine)
        with self._turn:
            if not mine.is_done:
                self._write_all()
        if mine.error is not None:
            raise mine.error
        return mine.results[0]

    def _write_all(self) -> None:
        taken: list[_Entry[Item, Result]] = []

        def take() -> Sequence[Item]:
            while self._waiting:
                taken.append(self._waiting.popleft())
            return [entry.item for entry in taken]

        try:
            take()
            results = self._commit(take)
            for entry, result in zip(taken, results, strict=True):
                entry.results.append(result)
        except BaseException as error:
            for entry in taken:
                entry.error = error
