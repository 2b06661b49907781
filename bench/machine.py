"""The machine: what the benchmark needs of it, and whether it is quiet."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
CACHE = HERE / ".cache"
EVENT = HERE / "event.json"

CORES = len(os.sched_getaffinity(0))

# Beyond it something else is running, as a share of the cores.
BUSY = 0.25


class Unable(Exception):
    """The benchmark cannot run here; says what is missing."""


def tool(name: str) -> Path:
    """The compiled program of `bench/NAME.c`; raises Unable."""
    source, made = HERE / f"{name}.c", CACHE / name
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc")
        if compiler is None:
            raise Unable("needs a C compiler: apt-get install build-essential")
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            # Another may make it too, or run it.
            new = Path(directory) / name
            subprocess.run([compiler, "-O2", "-Wall", "-o", new, source], check=True)
            new.rename(made)
    return made


def file_system(path: Path) -> str:
    """The kind of the file system that path is on, such as ext4."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    within = [m for m in mounts if path.resolve().is_relative_to(m[1])]
    return max(within, key=lambda mount: len(mount[1]))[2]


def check_disk(path: Path) -> None:
    """Raises Unable where nothing is ever durable."""
    kind = file_system(path)
    if kind in ("tmpfs", "ramfs"):
        raise Unable(f"{path} is in memory ({kind}): name a directory on a disk")


def warnings() -> list[str]:
    """What makes the machine's figures doubtful before anything runs."""
    load = os.getloadavg()[0]
    if load > BUSY * CORES:
        return [f"the machine was busy at the start: load {load:.1f} on {CORES} cores"]
    return []
