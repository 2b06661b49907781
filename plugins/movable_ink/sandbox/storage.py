"""What the sandbox remembers, in files that all worker processes share.

One lock file guards both others, by `flock`, which the kernel frees when a process
dies.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from router import codec


class Storage:
    """The requests that the collector took, and the faults that it was told.

    Nothing is made on disk before something is remembered.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._lock = folder / f"{name}.lock"
        self._taken = folder / f"{name}.jsonl"
        self._faults = folder / f"{name}.faults.json"

    def append(self, record: Any) -> None:
        """Adds a record to what was taken."""
        # The line break goes first, so that a line which a dying process left
        # unfinished spoils only itself.
        line = b"\n" + codec.dumps(record)
        with self._locked(), self._taken.open("ab") as file:
            file.write(line)

    def records(self) -> Iterator[Any]:
        """All records, in the order in which they were added."""
        with self._locked():
            content = _content(self._taken)
        for line in content.splitlines():
            try:
                yield codec.loads(line)
            except ValueError:
                continue

    def forget(self) -> None:
        """Removes all records."""
        with self._locked():
            self._taken.unlink(missing_ok=True)

    def faults(self) -> list[Any]:
        """The faults that are left, the next one first."""
        with self._locked():
            return self._read_faults()

    @contextmanager
    def changing_faults(self) -> Iterator[list[Any]]:
        """The list of faults, to be changed in place by one process at a time."""
        with self._locked():
            faults = self._read_faults()
            yield faults
            fresh = self._faults.with_suffix(".new")
            fresh.write_bytes(codec.dumps(faults))
            os.replace(fresh, self._faults)

    def _read_faults(self) -> list[Any]:
        content = _content(self._faults)
        return list(codec.loads(content)) if content else []

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
