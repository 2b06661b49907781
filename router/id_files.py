"""A file of the index of message ids: a hash table.

After a header come buckets of 16 entries of 16 bytes: the hash of an id, and the place
of its event in the log. What a bucket has no room for is in the next. So to look for an
id or to add one is to read one bucket, however many ids there are.

Files are read, not mapped: pages of a map would count as the memory of the process.
"""

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from router.errors import Damaged
from router.store import naming, sync

MAGIC = b"ids\0\0\0\0\1"  # the last byte is the format
# Magic, salt, boot, bits, count, last, newest, synced, synced count.
HEADER = struct.Struct("<8s16s16sQQQqQQ")
SYNCED = struct.Struct("<QQ")
SYNCED_AT = HEADER.size - SYNCED.size
BEGIN = 4096  # of the buckets

ENTRY, BUCKET = 16, 256
BUCKET_BITS = 4  # entries in a bucket
# What is read and written at once if many entries are added. No more than a page: the
# kernel would keep what is written together together, and a small write to such a block
# of pages takes it ten times as long.
PAGE = 4096
COPIED = 1 << 16  # bytes that are copied to a new file at once
NUMBERS = struct.Struct("<32Q")
FREE = bytes(8)  # no place is 0


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    salt: of the hashes. boot: of the machine, when all that was lost before was added
    again. bits: it is of 2 ** bits entries. count: how many it has, at most. last: the
    place farthest in the log that it has. newest: when the newest of its events was
    received, in milliseconds. synced: all up to that place is on the disk, in this file
    and those before; synced_count: how many it had then.
    """

    salt: bytes
    boot: bytes
    bits: int
    count: int = 0
    last: int = 0
    newest: int = 0
    synced: int = 0
    synced_count: int = 0

    def packed(self) -> bytes:
        return HEADER.pack(MAGIC, *vars(self).values())

    @property
    def size(self) -> int:
        return BEGIN + (ENTRY << self.bits)

    @property
    def room(self) -> int:
        """How many more it takes: ten sixteenths, so that few buckets are full."""
        return (10 << self.bits) // 16 - self.count


class IdFile:
    """A file, open. Whoever has it open holds the lock of the log.

    All methods raise OSError; Damaged, for a file that is not as it was made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR)
        self._read_already: dict[int, bytes] = {}
        try:
            # Nothing is read ahead, for the same reason as PAGE is small.
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)
            self.header = self._header()
        except BaseException:
            self.close()
            raise
        self._shift = 64 + BUCKET_BITS - self.header.bits
        self._buckets = 1 << self.header.bits - BUCKET_BITS

    def close(self) -> None:
        os.close(self._file)

    def places(self, hashes: Iterable[bytes]) -> dict[bytes, list[int]]:
        """Where the log may have the ids of some hashes: those that are here."""
        found: dict[bytes, list[int]] = {}
        read, known, shift = self._read, self._read_already, self._shift
        for one in hashes:
            at = BEGIN + (int.from_bytes(one, "big") >> shift) * BUCKET
            for _ in range(self._buckets):
                bucket = known[at] = read(at, BUCKET)
                if one in bucket:
                    entries = (bucket[n : n + ENTRY] for n in range(0, BUCKET, ENTRY))
                    places = [place_in(entry) for entry in entries if entry[:8] == one]
                    found[one] = found.get(one, []) + places
                if bucket[-8:] == FREE:
                    break
                at = self._behind(at)
        return found

    def add(self, entries: Sequence[bytes], instead: Mapping[bytes, bytes]) -> None:
        """Adds entries, so far as they are not there; instead: of an entry that is no
        use any more."""
        # As much is read and written at once as has some of them.
        step = PAGE if len(entries) * PAGE > self.header.size * 8 else BUCKET
        start, block, was = 0, bytearray(), b""
        for entry in sorted(entries):
            at = BEGIN + (int.from_bytes(entry[:8], "big") >> self._shift) * BUCKET
            for _ in range(self._buckets):
                if not start <= at < start + len(block):
                    if block != was:
                        self._write(block, start)
                    start = at - (at - BEGIN) % step
                    was = self._read_already.pop(start, b"")
                    if len(was) != step:
                        was = self._read(start, step)
                    block = bytearray(was)
                slot = _slot(block, at - start, instead.get(entry, entry))
                if slot >= 0:
                    block[slot : slot + ENTRY] = entry
                    break
                at = self._behind(at)
        if block != was:
            self._write(block, start)
        self._read_already.clear()

    def note(self, header: Header) -> None:
        """Writes the header, but for what it says of syncs."""
        self._write(header.packed()[:SYNCED_AT], 0)
        self.header = header

    def note_synced(self, place: int, count: int) -> None:
        self._write(SYNCED.pack(place, count), SYNCED_AT)
        self.header = replace(self.header, synced=place, synced_count=count)

    def entries(self) -> Iterable[list[bytes]]:
        """All entries, some at a time, in their order."""
        for at in range(BEGIN, self.header.size, COPIED):
            block = self._read(at, min(COPIED, self.header.size - at))
            some = [block[n : n + ENTRY] for n in range(0, len(block), ENTRY)]
            yield [one for one in some if one[8:] != FREE]

    def _behind(self, bucket: int) -> int:
        """Where what a bucket has no room for goes on."""
        behind = bucket + BUCKET
        return behind if behind < self.header.size else BEGIN

    def _header(self) -> Header:
        found = os.pread(self._file, HEADER.size, 0)
        if len(found) == HEADER.size and found.startswith(MAGIC):
            header = Header(*HEADER.unpack(found)[1:])
            if header.bits < 64 and os.fstat(self._file).st_size == header.size:
                return header
        raise Damaged(f"{self.path.name}: is damaged")

    def _read(self, at: int, size: int) -> bytes:
        found = os.pread(self._file, size, at)
        if len(found) < size:
            raise Damaged(f"{self.path.name}: has been cut off")
        return found

    def _write(self, data: bytes | bytearray, at: int) -> None:
        # A disk that is nearly full takes some of it, and says so only the next time.
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written


def _slot(block: bytearray, bucket: int, wanted: bytes) -> int:
    """Where in a bucket an entry is, or there is room for one; -1 for neither."""
    found = block.find(wanted, bucket, bucket + BUCKET)
    if found >= 0 and found % ENTRY == 0:
        return found
    places = NUMBERS.unpack_from(block, bucket)[1::2]
    return bucket + ENTRY * places.index(0) if 0 in places else -1


def entry_of(hash_: bytes, place: int) -> bytes:
    """What is in the files for an event."""
    return hash_ + place.to_bytes(8, "little")


def place_in(entry: bytes) -> int:
    """The place of an entry's event."""
    return int.from_bytes(entry[8:], "little")


def make(path: Path, header: Header, smaller: IdFile | None = None) -> None:
    """A new file, with what is in a smaller one; it gets its name when that is on the
    disk. Raises OSError."""
    new = path.with_name("ids-new")
    with naming(path):
        new.unlink(missing_ok=True)  # of a process that died here
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(file, header.size)
            os.pwrite(file, header.packed(), 0)
        finally:
            os.close(file)
        if smaller:
            larger = IdFile(new)
            try:
                for some in smaller.entries():
                    larger.add(some, {})
            finally:
                larger.close()
        sync(new)
        new.rename(path)
        sync(path.parent)
