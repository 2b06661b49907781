"""A note that outlives the process that wrote it, and costs no system call to write.

It is memory that is shared with the kernel, of a file that is there for something else:
so a process that is killed loses no note. A power cut may lose it, or tear it.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

# Written in turns, so that whoever is killed while writing leaves the note before.
SLOTS = 2
SLOT = 512

HEAD = struct.Struct("<IH")  # a checksum, and the length


class Note:
    """The last notes in a file; handle: the file's, open for writing.

    One thread at a time may write. Raises OSError where there is no room for it.
    """

    def __init__(self, handle: int) -> None:
        # At its full length on the disk, as to touch what is not there would kill.
        size = os.fstat(handle).st_size
        os.pwrite(handle, bytes(max(0, SLOTS * SLOT - size)), size)
        self._memory = mmap.mmap(handle, SLOTS * SLOT)
        self._next = 0

    def write(self, text: bytes) -> bool:
        """Notes it instead of the note before the last; false where it is too long."""
        if len(text) > SLOT - HEAD.size:
            return False
        written = HEAD.pack(zlib.crc32(text), len(text)) + text
        self._memory[self._next : self._next + len(written)] = written
        self._next = SLOT - self._next
        return True

    def read(self) -> list[bytes]:
        """Those that are whole: the last, and the one before it, in no order."""
        return [text for at in range(0, SLOTS * SLOT, SLOT) for text in self._at(at)]

    def close(self) -> None:
        """Lets go of the file."""
        with suppress(BufferError):
            self._memory.close()

    def _at(self, start: int) -> Iterator[bytes]:
        checksum, length = HEAD.unpack_from(self._memory, start)
        first = start + HEAD.size
        text = self._memory[first : first + length]
        if length and zlib.crc32(text) == checksum:
            yield text
