"""The index of the log's message ids: `log/ids-00000001`, `ids-00000002`, and so on.

A new file is begun when the last is nearly full. What an entry leads to is looked at
each time, so it does no harm if the event is not there: its append was undone, or its
segment is gone. That no event is without an entry is seen to thus:

* entries are written before their events are committed;
* what a power cut may have taken of them is added again: the files say up to which
  event they are on the disk, and in which boot of the machine that was last seen to;
* what is missing, damaged or behind the log is made anew from that.
"""

import logging
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

from router.errors import Damaged, StorageUnavailable
from router.id_files import ENTRY, Header, IdFile, entry_of, make, place_in
from router.segment import Segment
from router.segments import Segments
from router.store import naming, sync

logger = logging.getLogger("router.log")

# Sizes of files, in bits: of the first; how much larger the next is; up to which one
# goes into the next as that is begun (which takes a tenth of a second); and of the
# largest, which has 256 MiB.
SMALLEST, STEP, SMALL, LARGEST = 12, 4, 16, 24
# Of max_disk: how much one may have of it.
SHARE = 40
# How many are added before the next sync, and so at most again after a power cut.
SYNC_EVERY = 1 << 18
ROWS = 1 << 16  # that are read at once

POSITION_BITS = 40
UNKNOWN_BOOT = bytes(16)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def place_of(segment: int, position: int) -> int:
    """Where an event is in the log, as a number."""
    return segment << POSITION_BITS | position


def parts_of(place: int) -> tuple[int, int]:
    """The segment and the position of a place."""
    return place >> POSITION_BITS, place & (1 << POSITION_BITS) - 1


def path_of(directory: Path, number: int) -> Path:
    """The file of that number."""
    return directory / f"ids-{number:08}"


def number_of(path: Path) -> int:
    """The number of a file."""
    return int(path.name[4:])


class IdIndex:
    """The files of the index. They are opened for each use, as they are few, and others
    begin and remove some. max_disk: bytes that the log may have.

    All methods raise StorageUnavailable.
    """

    def __init__(self, segments: Segments, max_disk: int) -> None:
        self._segments, self._directory = segments, segments.directory
        entries = max(1, max_disk // SHARE // ENTRY)
        self._bits = min(LARGEST, max(SMALLEST, entries.bit_length() - 1))
        self._boot = _boot()
        self._has_looked = False
        # What there was at the last look, and the name of the next.
        self._seen: tuple[list[Path], str] = ([], "")
        self._turn_to_sync = threading.Lock()
        self._reported: set[str] = set()

    @contextmanager
    def opened(self, end: int) -> Iterator["OpenIndex"]:
        """The index, with all that is in the log, which ends at that place; for who
        holds the log's lock."""
        with naming(self._directory / "ids"):
            files = self._open()
            index = OpenIndex(self._directory, files, self._bits)
            try:
                self._catch_up(index, end)
                header, path = index.newest.header, index.newest.path
                if header.count - header.synced_count >= SYNC_EVERY:
                    self._begin_sync(path, end, header.count)
                yield index
            finally:
                index.close()

    @contextmanager
    def whole(self) -> Iterator["OpenIndex"]:
        """The same, for who does not hold the lock, and while others do not append. The
        log is not empty."""
        with self._segments.held():
            newest = self._segments.all()[-1]
            with self.opened(place_of(newest.number, newest.last_position())) as index:
                yield index

    def places_of(self, message_id: str) -> list[int]:
        """Where events with that id may be, newest first."""
        if not self._segments.all():
            return []
        with self.whole() as index:
            (hash_,) = index.hashes([message_id])
            return sorted(index.places([hash_]).get(hash_, ()), reverse=True)

    def bytes_on_disk(self) -> int:
        """What the files take of the disk; they have holes."""
        size = 0
        with naming(self._directory):
            for path in self._paths():
                with suppress(FileNotFoundError):
                    size += path.stat().st_blocks * 512
        return size

    def drop(self) -> None:
        """Removes files that have only events of segments that are gone, but never the
        newest."""
        with self._segments.held():
            oldest = self._segments.all()[0].number
            files = self._open()
            for file in files:
                file.close()
            for file in files[:-1]:
                if parts_of(file.header.last)[0] >= oldest:
                    break
                file.path.unlink()

    def report(self, error: StorageUnavailable) -> None:
        """Says once of each segment that its ids are not known."""
        if str(error) not in self._reported:
            self._reported.add(str(error))
            logger.error("what was sent before is not known from %s", error)

    def _paths(self) -> list[Path]:
        """The files that there are, oldest first."""
        known, after = self._seen
        # More are added only at one end, and taken away at the other; or all at once.
        is_same = known and os.path.exists(known[0]) and not os.path.exists(after)
        return known if is_same else self._look()

    def _look(self) -> list[Path]:
        with suppress(FileNotFoundError):
            names = sorted(os.listdir(self._directory))
            found = [self._directory / one for one in names if one[:5] == "ids-0"]
            after = number_of(found[-1]) + 1 if found else 1
            self._seen = (found, str(path_of(self._directory, after)))
            return found
        return []

    def _open(self) -> list[IdFile]:
        """What there is, oldest first; nothing, where it cannot be used."""
        try:
            return self._opened(self._paths())
        except FileNotFoundError:  # they were made anew
            return self._opened(self._look())

    def _opened(self, paths: Sequence[Path]) -> list[IdFile]:
        files: list[IdFile] = []
        try:
            for path in paths:
                files.append(IdFile(path))
            if len({file.header.salt for file in files}) > 1:
                raise Damaged(f"{paths[-1].name}: is of another index")
            return files
        except Damaged as error:
            logger.warning("%s; the index of message ids is made anew", error)
        except BaseException:
            _close(files)
            raise
        _close(files)
        for path in paths:
            path.unlink()
        return []

    def _catch_up(self, index: "OpenIndex", end: int) -> None:
        """Adds what is in the log, but perhaps not in the index."""
        if not index.files:
            index.begin(self._boot)
        if index.newest.header.last > end:
            # Of an append that was undone; or the log is an older one than it was.
            index.set_end(end, index.newest.header.boot)
        header = index.newest.header
        is_same_boot = header.boot == self._boot
        if self._boot == UNKNOWN_BOOT:
            is_same_boot, self._has_looked = self._has_looked, True
        since = header.last if is_same_boot else header.synced
        if since < end:
            for segment in self._segments.all():
                if segment.number >= parts_of(since)[0]:
                    self._add_all(index, segment, since)
        if since < end or not is_same_boot:
            index.set_end(end, self._boot)

    def _add_all(self, index: "OpenIndex", segment: Segment, since: int) -> None:
        """Adds what a segment has behind a place."""
        number, position = parts_of(since)
        position = position if number == segment.number else 0
        while rows := self._rows(segment, position):
            positions, message_ids, instants = zip(*rows, strict=True)
            hashes, begin = index.hashes(message_ids), place_of(segment.number, 0)
            places = [begin + at for at in positions]
            index.add(list(map(entry_of, hashes, places)), max(instants))
            position = positions[-1]

    def _rows(self, segment: Segment, position: int) -> list[tuple[int, str, int]]:
        try:
            return segment.ids_after(position, ROWS)
        except Damaged as error:
            # Rather an event twice than none.
            self.report(error)
            return []

    def _begin_sync(self, newest: Path, end: int, count: int) -> None:
        """Notes, once the disk has it, that it has all up to a place, which is
        committed; nobody waits for that."""
        if self._turn_to_sync.acquire(blocking=False):
            arguments = (newest, end, count)
            threading.Thread(target=self._sync, args=arguments, daemon=True).start()

    def _sync(self, newest: Path, end: int, count: int) -> None:
        try:
            # If the file is removed meanwhile, the note goes with it.
            with suppress(OSError, Damaged), closing(IdFile(newest)) as file:
                for path in self._paths():
                    sync(path)
                file.note_synced(end, count)
        finally:
            self._turn_to_sync.release()


class OpenIndex:
    """The index for one use, by who holds the log's lock. All methods raise OSError."""

    def __init__(self, directory: Path, files: list[IdFile], most: int) -> None:
        self.files = files
        self._directory, self._most = directory, most

    def close(self) -> None:
        _close(self.files)

    @property
    def newest(self) -> IdFile:
        return self.files[-1]

    def hashes(self, message_ids: Iterable[str]) -> list[bytes]:
        """What stands for each message id: some clients' are long. Salted, so that
        nobody can choose ids that all belong in one place."""
        hash_ = partial(blake2b, digest_size=8, salt=self.newest.header.salt)
        return [hash_(one.encode()).digest() for one in message_ids]

    def places(
        self, hashes: Collection[bytes], since: int | None = None
    ) -> dict[bytes, set[int]]:
        """Where events may be that have an id with one of these hashes; without those
        that were received before an instant of milliseconds, as far as that is easy."""
        found: dict[bytes, set[int]] = {}
        for file in self.files:
            # The newest always, so that what is in it can be put in the place of.
            if file is self.newest or since is None or file.header.newest > since:
                for one, places in file.places(hashes).items():
                    found.setdefault(one, set()).update(places)
        return found

    def add(
        self,
        entries: Sequence[bytes],
        newest: int,
        instead: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Adds events, in the order of the log, of which the newest was received at an
        instant of milliseconds. instead: as in `IdFile.add`."""
        while entries:
            header = self.newest.header
            if header.room <= 0:
                self.begin()
                continue
            some, entries = entries[: header.room], entries[header.room :]
            last = place_in(some[-1])
            self.newest.add(some, instead or {})
            self.newest.note(
                replace(
                    header,
                    count=header.count + len(some),
                    last=max(header.last, last),
                    newest=max(header.newest, newest),
                )
            )

    def begin(self, boot: bytes = UNKNOWN_BOOT) -> None:
        """Begins a new file, which takes in the last, if that is small."""
        if not self.files:
            path = path_of(self._directory, 1)
            make(path, Header(os.urandom(16), boot, SMALLEST))
            self.files.append(IdFile(path))
            return
        old = self.newest
        header = old.header
        bits = min(header.bits + STEP, self._most)
        new = replace(header, bits=bits, count=0, newest=0, synced_count=0)
        if is_moved := header.bits <= SMALL and bits > header.bits:
            count = header.count
            new = replace(header, bits=bits, synced=header.last, synced_count=count)
        path = path_of(self._directory, number_of(old.path) + 1)
        make(path, new, old if is_moved else None)
        self.files.append(IdFile(path))
        if is_moved:
            self.files.remove(old)
            old.close()
            old.path.unlink()

    def set_end(self, end: int, boot: bytes) -> None:
        """Notes that it has all that is in the log, which ends there, and no more."""
        header = self.newest.header
        self.newest.note(replace(header, last=end, boot=boot))
        if header.synced > end:
            self.newest.note_synced(end, header.synced_count)


def _close(files: Iterable[IdFile]) -> None:
    for file in files:
        file.close()


def _boot() -> bytes:
    """Which boot of the machine this is."""
    try:
        return UUID(BOOT_ID.read_text().strip()).bytes
    except (OSError, ValueError):
        return UNKNOWN_BOOT
