"""Appends every event to a file a day: an archive that `grep` and `jq` can read.

It is the smallest whole plugin, and a good one to start from: settings, one mapping
for all calls, a client of its own, and `deliver`.
"""

import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from router import DestinationSettings, Retry, codec, hookimpl
from router.store import make_directory, sync


class Settings(DestinationSettings):
    """`directory` gets a file a day, such as `2024-03-04.jsonl` (UTC)."""

    directory: Path | None = Field(
        None, description="where the files go; by default data_dir/NAME"
    )
    batch_events: int = Field(500, ge=1, description="lines written at once, at most")


@hookimpl
def settings() -> type[Settings]:
    return Settings


@hookimpl
def identify(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return event


track = page = screen = group = alias = identify


@hookimpl
def connect() -> Callable[[], datetime]:
    return lambda: datetime.now(UTC)


@hookimpl
def deliver(
    payloads: Sequence[Any], settings: Settings, client: Callable[[], datetime]
) -> None:
    directory = settings.directory or settings.data_dir / settings.name
    lines = b"".join(codec.dumps(payload) + b"\n" for payload in payloads)
    try:
        make_directory(directory, 0o777)
        append(directory / f"{client():%Y-%m-%d}.jsonl", lines)
    except OSError as error:
        raise Retry(f"cannot write: {error.strerror}") from error


def append(file: Path, lines: bytes) -> None:
    """Appends whole lines or none, on disk when it returns; raises OSError."""
    # Without a buffer, which would be written at the end for all that.
    with file.open("a+b", buffering=0) as out:
        # Lanes of several processes write to the same file.
        fcntl.flock(out, fcntl.LOCK_EX)
        size = whole_lines(out.fileno())
        if size == 0:
            sync(file.parent)  # to sync a new file is not to sync its name
        try:
            if size < out.tell():
                # A writer was killed within a line. Its lane sends that event again;
                # behind what there is of it, the first of ours would be lost.
                os.ftruncate(out.fileno(), size)
            while lines:
                lines = lines[out.write(lines) :]
            os.fsync(out.fileno())
        except OSError:
            os.ftruncate(out.fileno(), size)
            raise


def whole_lines(file: int) -> int:
    """How many bytes of the open file end with a newline."""
    end = os.lseek(file, 0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
