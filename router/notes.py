"""What a lane has passed and the ledger does not have yet, noted at the lane's claim.

A note outlives the process that wrote it, and costs no system call: it is memory that
is shared with the kernel, of the claim's file. A power cut may lose it, or tear it; to
be killed while writing may tear it too, and leaves the note before.
"""

import mmap
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from router import codec

SLOTS = 2  # written in turns
SLOT = 512
SIZE = SLOTS * SLOT

HEAD = struct.Struct("<IH")  # a checksum, and the length


class Noted(NamedTuple):
    """What became of the events from start to end: how many by (state, code). ledger:
    the id of the ledger, which is at start."""

    ledger: int
    start: int
    end: int
    counts: Counter[tuple[str, str]]


class Note:
    """The notes of a lane; handle: its claim's file, open for writing.

    Raises OSError where there is no room for it.
    """

    def __init__(self, handle: int) -> None:
        # At its full length on the disk, as to touch what is not there would kill.
        os.posix_fallocate(handle, 0, SIZE)
        self._memory = mmap.mmap(handle, SIZE)
        self._next = 0

    def write(self, noted: Noted) -> bool:
        """Notes it in place of the note before the last; false where it is too long."""
        rows = [(*key, number) for key, number in noted.counts.items()]
        text = codec.dumps([*noted[:-1], rows])
        if len(text) > SLOT - HEAD.size:
            return False
        written = HEAD.pack(zlib.crc32(text), len(text)) + text
        self._memory[self._next : self._next + len(written)] = written
        self._next = SLOT - self._next
        return True

    def read(self) -> list[Noted]:
        """Those that are whole, in no order."""
        return list(_read(self._memory[:]))

    def close(self) -> None:
        """Lets go of the file."""
        self._memory.close()


def latest(notes: Iterable[Noted], ledger: int, start: int) -> Noted | None:
    """Of these the one that goes on farthest from where that ledger is."""
    fitting = [one for one in notes if (one.ledger, one.start) == (ledger, start)]
    return max(fitting, key=lambda one: one.end, default=None)


def read_all(claims: Path) -> dict[tuple[str, int], list[Noted]]:
    """The notes of all lanes, by account and partition. Raises OSError."""
    found = {}
    with suppress(FileNotFoundError):  # until the first lane there is no directory
        for path in claims.iterdir():
            account, _, partition = path.name.rpartition(".")
            if partition.isdecimal() and (notes := list(_read(path.read_bytes()))):
                found[account, int(partition)] = notes
    return found


def _read(memory: bytes) -> Iterator[Noted]:
    for slot in range(0, len(memory) - SLOT + 1, SLOT):
        checksum, length = HEAD.unpack_from(memory, slot)
        first = slot + HEAD.size
        text = memory[first : first + length]
        if length and zlib.crc32(text) == checksum:
            ledger, start, end, rows = codec.loads(text)
            counts = {(state, code): number for state, code, number in rows}
            yield Noted(ledger, start, end, Counter(counts))
