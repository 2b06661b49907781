"""A disk that forgets: what a power cut may leave of a directory.

What was done to it is told by recorder.c. After a cut there is all that was synced,
and anything of what was not, as POSIX lets a file system have it:

* a file is a number of sectors, of which each has all that was synced and the first
  few, or none, of the writes since;
* a directory has the names that it had when it was synced, and the first few, or none,
  of the changes since. To sync a file does not sync its name.

SQLite's shared memory (`-shm`) is never there.
"""

import json
import os
import random
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORDER = Path(__file__).with_name("recorder.c")
HEAD = struct.Struct(
    "=IIQQQ"
)  # kind, length of the path, inode, at, length of the data
SECTOR = 512
# How much of what was not synced is there after a cut, of a file or a directory.
SHARES = (0.0, 0.5, 0.95, 1.0)


def build(directory: Path) -> Path:
    """The recorder, compiled; needs a C compiler."""
    library = directory / "recorder.so"
    flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run(["cc", *flags, "-o", library, RECORDER, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Record:
    kind: str
    path: str
    inode: int
    at: int
    data: bytes


class Journal:
    """What was done below a directory, and notes of what was seen meanwhile."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root.resolve(), path
        path.touch()

    def environ(self, library: Path) -> dict[str, str]:
        """With which a process records what it does."""
        return {
            "LD_PRELOAD": str(library),
            "POWER_ROOT": str(self.root),
            "POWER_JOURNAL": str(self.path),
        }

    def note(self, what: Mapping[str, Any]) -> None:
        data = json.dumps(what).encode()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, HEAD.pack(ord("N"), 0, 0, 0, len(data)) + data)
        finally:
            os.close(file)

    def records(self) -> Iterator[Record]:
        content = self.path.read_bytes()
        place = 0
        while place < len(content):
            kind, path, inode, at, length = HEAD.unpack_from(content, place)
            data = place + HEAD.size + path
            name = os.fsdecode(content[data - path : data])
            place = data + length
            yield Record(chr(kind), name, inode, at, content[data:place])


@dataclass
class Synced:
    """Something with a state on the disk, and changes that may not be there yet."""

    changes: list[tuple[int, Any]] = field(default_factory=list)  # with their numbers
    is_gone: bool = False

    def sync(self, before: int) -> None:
        """What was changed before that number is on the disk."""
        for number, change in self.changes:
            if number < before:
                self.apply(change)
        self.changes = [one for one in self.changes if one[0] >= before]

    def apply(self, change: Any) -> None:
        raise NotImplementedError


@dataclass
class File(Synced):
    """Changes are writes (at, data), and sizes it was cut to."""

    content: bytearray = field(default_factory=bytearray)

    def apply(self, change: Any) -> None:
        apply(self.content, change)

    def after_cut(self, dice: random.Random) -> bytes:
        share = dice.choice(SHARES)
        content, lost = bytearray(self.content), set()
        for _, change in self.changes:
            for part in sectors(change):
                sector = part if isinstance(part, int) else part[0] // SECTOR
                if sector in lost:
                    continue
                if dice.random() < share:
                    apply(content, part)
                else:
                    lost.add(sector)
        return bytes(content)


@dataclass
class Directory(Synced):
    """Changes are what became of names: what each is that of, or None."""

    names: "Names" = field(default_factory=dict)

    def apply(self, change: Any) -> None:
        self.names |= change

    def after_cut(self, dice: random.Random) -> "Names":
        share = dice.choice(SHARES)
        names = dict(self.names)
        for _, change in self.changes:
            if dice.random() >= share:
                break
            names |= change
        return names


Names = dict[str, File | Directory | None]
Change = int | tuple[int, bytes]


def apply(content: bytearray, change: Change) -> None:
    if isinstance(change, int):
        content[change:] = bytes(max(0, change - len(content)))
        return
    at, data = change
    content.extend(bytes(max(0, at - len(content))))
    content[at : at + len(data)] = data


def sectors(change: Change) -> Iterator[Change]:
    """A write in its parts, each within a sector."""
    if isinstance(change, int):
        yield change
        return
    at, data = change
    while data:
        length = SECTOR - at % SECTOR
        yield at, data[:length]
        at, data = at + length, data[length:]


class Disk:
    """What is below a directory that was empty, and synced, when the journal began."""

    def __init__(self, root: Path) -> None:
        self._root = Directory()
        self._by_inode: dict[int, File | Directory] = {root.stat().st_ino: self._root}
        self._by_path: Names = {str(root.resolve()): self._root}
        self._syncs: dict[int, int] = {}
        self._number = 0

    def replay(self, record: Record) -> None:
        self._number += 1
        match record.kind:
            case "W":
                write = (record.at, record.data)
                self._file(record.inode).changes.append((self._number, write))
            case "T":
                self._file(record.inode).changes.append((self._number, record.at))
            case "B":
                self._syncs[record.at] = self._number
            case "S":
                before = self._syncs.pop(record.at)
                if node := self._by_inode.get(record.inode):
                    node.sync(before)
            case "C" | "D":
                self._create(record)
            case "U":
                self._move(record.path, None)
            case "R":
                self._move(record.path, os.fsdecode(record.data))

    def _file(self, inode: int) -> File:
        node = self._by_inode.setdefault(inode, File())
        assert isinstance(node, File)
        return node

    def _create(self, record: Record) -> None:
        known = self._by_inode.get(record.inode)
        # Numbers are used again; but one may also have been written to before its
        # creation was told of, by a process that was quicker.
        if known is None or known.is_gone:
            known = File() if record.kind == "C" else Directory()
            self._by_inode[record.inode] = known
        self._name({record.path: known})

    def _move(self, path: str, target: str | None) -> None:
        node = self._by_path.get(path)
        if node is None:
            return  # a pipe
        replaced = node if target is None else self._by_path.get(target)
        if replaced is not None:
            replaced.is_gone = True
        self._name({path: None} | ({target: node} if target else {}))

    def _name(self, paths: Names) -> None:
        """Changes names, all in one directory, at once."""
        self._by_path |= paths
        (directory,) = {os.path.dirname(path) for path in paths}
        parent = self._by_path[directory]
        assert parent is not None
        names = {os.path.basename(path): node for path, node in paths.items()}
        parent.changes.append((self._number, names))

    def after_cut(self, dice: random.Random, target: Path) -> None:
        """Makes a directory of what a cut leaves now, as the dice have it."""
        write(self._root, target, dice)

    def without_cut(self) -> dict[str, bytes]:
        """What each file holds, by path."""
        found = {}
        for path, node in self._by_path.items():
            if isinstance(node, File):
                content = bytearray(node.content)
                for _, change in node.changes:
                    apply(content, change)
                found[path] = bytes(content)
        return found


def write(node: File | Directory, target: Path, dice: random.Random) -> None:
    if isinstance(node, File):
        target.write_bytes(node.after_cut(dice))
        return
    target.mkdir()
    for name, child in sorted(node.after_cut(dice).items()):
        if child is not None:
            write(child, target / name, dice)
