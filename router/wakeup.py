"""How a process that accepts events wakes the processes that deliver them.

Each delivering process has a named pipe in `data_dir/workers`; whoever appends to the
log writes into each pipe the numbers of the partitions that grew. A pipe without a
reader belongs to a process that died, whatever killed it: so the pipes also tell how
many processes there are to share the lanes.
"""

import errno
import os
import select
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

# The kernel writes so many bytes to a pipe in one piece (pipe(7), PIPE_BUF).
PIPE_BYTES = 4096

WORKERS = "workers"


def ring(data_dir: Path, partitions: Iterable[int]) -> None:
    """Tells every delivering process that these partitions have grown."""
    message = bytes(partitions)
    for pipe in _open_pipes(data_dir):
        # A full pipe has its reader awake; what it misses it sees at its next look.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(pipe, message)


def count_workers(data_dir: Path) -> int:
    """How many processes deliver."""
    return sum(1 for _ in _open_pipes(data_dir))


class Ear:
    """This process's pipe."""

    def __init__(self, data_dir: Path) -> None:
        directory = data_dir / WORKERS
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{os.getpid()}-{uuid4().hex[:8]}"
        unheard, self._path = directory / f".{name}", directory / name
        os.mkfifo(unheard, 0o600)
        # Opened for writing as well, so that it never reads as ended.
        self._pipe = os.open(unheard, os.O_RDWR | os.O_NONBLOCK)
        # Only now, as a pipe without a reader is taken for a dead process's.
        unheard.rename(self._path)

    def listen(self, timeout: float) -> set[int]:
        """Waits up to `timeout` seconds; returns the partitions that have grown."""
        readable, _, _ = select.select([self._pipe], [], [], timeout)
        return set(os.read(self._pipe, PIPE_BYTES)) if readable else set()

    def close(self) -> None:
        """Ends this process's share of the lanes."""
        self._path.unlink(missing_ok=True)
        os.close(self._pipe)


def _open_pipes(data_dir: Path) -> Iterator[int]:
    # By names, as this is done for each commit of the log, and a Path is slow to make.
    directory = os.path.join(data_dir, WORKERS)
    with suppress(FileNotFoundError):
        for name in os.listdir(directory):
            if name.startswith("."):
                continue
            path = f"{directory}/{name}"
            try:
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nobody reads it
                    with suppress(FileNotFoundError):
                        os.unlink(path)
                continue
            try:
                yield pipe
            finally:
                os.close(pipe)
