"""What a router stands on, made to fail: the disk below its data, and the clock."""

import contextlib
import errno
import resource
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Of the small filesystem: enough for what a trial of a few minutes logs.
SIZE = "128m"
BLOCK = bytes(1 << 16)


class Disk:
    """The filesystem of a data directory: a small one of its own, where this user may
    mount one (root, in most places). is_mounted: whether it is that."""

    def __init__(self, data: Path, workers: Callable[[], list[int]]) -> None:
        self._data, self._workers = data, workers
        data.mkdir()
        self._aside = data.parent / "aside"
        self._aside.mkdir()
        self.is_mounted = _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", data)
        # What the sandbox has taken is a partner's memory, not the router's.
        (data.parent / "sandbox").mkdir()
        (data / "sandbox").symlink_to(data.parent / "sandbox")

    def close(self) -> None:
        if self.is_mounted:
            _unmount(self._data)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Without room for one more byte; not mounted, no file of the workers grows."""
        if not self.is_mounted:
            with self._files_that_cannot_grow():
                yield
            return
        ballast = self._data / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                for size in (len(BLOCK), 1):
                    _fill(file.write, BLOCK[:size])
                yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """For whatever is opened from now on; not mounted, the files of the log.

        What is open for writing stays so, and a filesystem with such files cannot be
        made read-only: it is mounted over itself instead.
        """
        if not self.is_mounted:
            with self._write_protected():
                yield
            return
        # Made aside, so that nobody opens a file for writing before it is complete.
        assert _mount("--bind", self._data, self._aside)
        assert _mount("-o", "remount,bind,ro", self._aside)
        assert _mount("--bind", self._aside, self._data)
        _unmount(self._aside)
        try:
            yield
        finally:
            _unmount(self._data)

    @contextmanager
    def _files_that_cannot_grow(self) -> Iterator[None]:
        limited = [(pid, _limit_files(pid, 0)) for pid in self._workers()]
        try:
            yield
        finally:
            for pid, before in limited:
                _limit_files(pid, before)

    @contextmanager
    def _write_protected(self) -> Iterator[None]:
        self._change_modes(0o400)
        try:
            yield
        finally:
            # SQLite has made more of them meanwhile, as read-only as the first.
            self._change_modes(0o600)

    def _change_modes(self, mode: int) -> None:
        for file in self._data.glob("log/*"):
            with contextlib.suppress(FileNotFoundError):
                file.chmod(mode)


class Clock:
    """The time of day of processes that are started with `environ`; all their waits go
    by another clock. is_ours: whether there was a C compiler to make it; without,
    nothing happens."""

    def __init__(self, directory: Path) -> None:
        self._offset = directory / "clock"
        self.set(0)
        library = directory / "clock.so"
        source = Path(__file__).with_name("clock.c")
        compiler = shutil.which("cc")
        self.is_ours = compiler is not None
        self.environ: dict[str, str] = {}
        if compiler is not None:
            make = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
            subprocess.run(make, check=True)
            self.environ = {
                "LD_PRELOAD": str(library),
                "CLOCK_OFFSET": str(self._offset),
            }

    def set(self, seconds: int) -> None:
        """So far before the true time, or behind it when negative; at once."""
        mode = "r+b" if self._offset.exists() else "w+b"
        with self._offset.open(mode) as file:
            file.write(struct.pack("=q", seconds))


def _mount(*arguments: str | Path) -> bool:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return done.returncode == 0


def _unmount(directory: Path) -> None:
    """Also while processes have files of it open."""
    subprocess.run(["umount", "--lazy", directory], check=True)


def _fill(write: Callable[[bytes], int], block: bytes) -> None:
    while True:
        try:
            write(block)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return


def _limit_files(pid: int, size: int) -> int:
    """What it was before; the same for a process that has gone."""
    try:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    except ProcessLookupError:
        return size
    return soft
