"""A copy of a log and its ledger, while a router is at work on them."""

from pathlib import Path

from router.errors import StorageUnavailable
from router.gate import Surroundings


def back_up(shared: Surroundings, directory: Path) -> int:
    """Makes a new data directory with what is on disk now; returns its bytes.

    The ledger comes first: so in the copy no destination is ahead of the log, and what
    was delivered meanwhile is delivered again. The directory gets its name when it is
    complete. Raises StorageUnavailable, which names a file that is damaged.
    """
    partial = directory.with_name(directory.name + ".partial")
    try:
        partial.mkdir(mode=0o700, parents=True)
        shared.ledger.copy(partial)
        shared.log.copy(partial)
        partial.rename(directory)
    except OSError as error:
        raise StorageUnavailable(f"{directory}: {error}") from error
    return sum(file.stat().st_size for file in directory.rglob("*.db"))
