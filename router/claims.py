"""Which process runs a lane, or the retention: the one that holds its file lock.

The kernel drops the lock when the process dies, also by `kill -9`.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from router.notes import Note


class Claim:
    """The right to be the one that does it, until released or this process ends."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._note: Note | None = None

    def note(self) -> Note:
        """What was noted by who has it, or had it before; raises OSError."""
        self._note = self._note or Note(self._handle)
        return self._note

    def release(self) -> None:
        """Lets another have it."""
        # The note's memory keeps the file open, and with it the lock.
        if self._note is not None:
            self._note.close()
        os.close(self._handle)


def claim(data_dir: Path, destination: str, partition: int) -> Claim | None:
    """The claim on a lane, or None while another process (or thread) has it."""
    return take(data_dir, f"{destination}.{partition}")


def is_claimed(data_dir: Path, destination: str) -> bool:
    """Whether any process has a lane of the destination."""
    for path in (data_dir / "claims").glob(f"{destination}.*"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            try:
                # Who claims it at this instant does so at its next look.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def take(data_dir: Path, name: str) -> Claim | None:
    """The claim of a name, or None while another process (or thread) has it."""
    directory = data_dir / "claims"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return Claim(handle)
