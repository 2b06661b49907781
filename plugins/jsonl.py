"""Appends every event to a file a day: an archive that `grep` and `jq` can read.

It is a small whole plugin, and a good one to start from: settings, one mapping for all
calls, and `deliver`, which takes no client. docs/jsonl.md tells of the files.
"""

import fcntl
import gzip
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from pydantic import Field

from router import DestinationSettings, Retry, codec, hookimpl, store
from router.settings import Size

# gzip's own default: the higher ones take several times as long for a few percent.
LEVEL = 6
# A day's file, or one of a day that is closed; whatever else is there is not ours.
NAME = re.compile(r"\d{4}-\d\d-\d\d(\.\d+)?\.jsonl")


class Settings(DestinationSettings):
    """`directory` gets a file a day, such as `2024-03-04.jsonl` (UTC)."""

    payloads_as_json = True

    directory: Path | None = Field(
        None, description="where the files go; by default data_dir/NAME"
    )
    max_file: Size | None = Field(
        None, description="bytes at which a file is closed and the day gets another"
    )
    compress: bool = Field(False, description="true: gzip the files that are closed")
    sync: bool = Field(True, description="false: a batch does not wait for the disk")
    batch_events: int = Field(500, ge=1, description="lines written at once, at most")


@hookimpl
def settings() -> type[Settings]:
    return Settings


@hookimpl
def identify(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return event


track = page = screen = group = alias = identify


@hookimpl
def deliver(payloads: Sequence[Any], settings: Settings) -> None:
    archive(payloads, settings, datetime.now(UTC))


def archive(payloads: Sequence[Any], settings: Settings, now: datetime) -> None:
    """Appends the payloads to the file of the day; raises Retry."""
    directory = settings.directory or settings.data_dir / settings.name
    lines = b"".join(line + b"\n" for line in codec.dump_each(payloads))
    file = directory / f"{now:%Y-%m-%d}.jsonl"
    try:
        store.make_directory(directory, 0o777)
        if settings.compress:
            compress_one(directory, file)
        append(file, lines, settings.max_file, sync=settings.sync)
    except OSError as error:
        raise Retry(f"cannot write: {error.strerror}") from error


def append(
    file: Path, lines: bytes, most: int | None = None, *, sync: bool = True
) -> None:
    """Appends whole lines or none, on disk when it returns; raises OSError.

    A file that reaches most bytes is closed: the next lines begin another.
    """
    with held(file, "a+") as out:
        size = cut(out)
        if sync and not size:
            store.sync(file.parent)  # to sync a new file is not to sync its name
        try:
            while lines:
                lines = lines[out.write(lines) :]
            if sync:
                os.fsync(out.fileno())
            if most and out.tell() >= most:
                file.rename(numbered(file))
        except OSError:
            os.ftruncate(out.fileno(), size)
            raise


def compress_one(directory: Path, current: Path) -> None:
    """Compresses the oldest file that is closed, if there is one; raises OSError.

    One, so that a batch need not wait for many.
    """
    ours = filter(NAME.fullmatch, os.listdir(directory))
    for name in sorted(name for name in ours if name != current.name)[:1]:
        # Another lane compresses it, or has.
        with suppress(BlockingIOError, FileNotFoundError):
            compress(directory / name)


def compress(file: Path) -> None:
    with held(file, "r+", fcntl.LOCK_NB) as closed:
        cut(closed)
        closed.seek(0)
        if "." not in file.stem:
            # A day that is over: what is late for it gets another file.
            file = file.rename(numbered(file))
        part = file.with_suffix(".part")
        try:
            with part.open("wb") as out:
                with gzip.GzipFile(file.name, "wb", LEVEL, out) as zipped:
                    shutil.copyfileobj(closed, zipped)
                out.flush()
                os.fsync(out.fileno())
            # Only now it is called what readers look for.
            part.rename(f"{file}.gz")
        except OSError:
            part.unlink(missing_ok=True)
            raise
        store.sync(file.parent)
        file.unlink()


def numbered(file: Path) -> Path:
    """What the file of a day is called when it is closed: by the second of its last
    line, so that no name is used again after its file was taken away."""
    number = int(file.stat().st_mtime)
    while any(file.parent.glob(f"{file.stem}.{number}.*")):
        number += 1
    return file.with_name(f"{file.stem}.{number}.jsonl")


@contextmanager
def held(file: Path, mode: str, how: int = 0) -> Iterator[FileIO]:
    """The file, open and locked, as lanes of several processes write to it."""
    while True:
        # Without a buffer, which would be written at the end for all that.
        with FileIO(file, mode) as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | how)
            try:
                is_there = os.path.samestat(os.fstat(opened.fileno()), file.stat())
            except FileNotFoundError:
                is_there = False
            # Else another has closed it while we waited.
            if is_there:
                yield opened
                return


def cut(out: FileIO) -> int:
    """Cuts off what a writer that was killed left of a line; returns the length.

    Its lane sends that event again; behind half a line it would be lost.
    """
    end = size = out.seek(0, os.SEEK_END)
    newline = -1
    while size and newline < 0:
        start = max(0, size - 65536)
        newline = os.pread(out.fileno(), size - start, start).rfind(b"\n")
        size = start + newline + 1
    if size < end:
        os.ftruncate(out.fileno(), size)
    return size
