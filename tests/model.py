"""Children that write to a log or a ledger until they are killed.

They acknowledge on stdout what is written, a number a line.
"""

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from router.errors import StorageUnavailable
from router.events import Accepted
from router.gate import Surroundings
from router.ledger import DeadLetter, Ledger
from router.log import Log
from router.retention import Retention

ROOT = Path(__file__).parent.parent
PARTITIONS = 3
PLENTY = 1 << 30
# What Python tells of before it does it.
# Source: https://docs.python.org/3/library/audit_events.html
FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "sqlite3.connect")


def start(*command: Any) -> "subprocess.Popen[bytes]":
    """Starts one of the programs below."""
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, command)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def output(*command: Any) -> Any:
    """What a program prints, as JSON."""
    with start(*command) as child:
        said, _ = child.communicate(timeout=60)
        assert child.returncode == 0
    return json.loads(said)


def kill_after(child: "subprocess.Popen[bytes]", lines: int) -> list[int]:
    """Kills a child once it has acknowledged so many; returns all that it has."""
    assert child.stdout is not None
    with child:
        first = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said = b"".join(first) + child.stdout.read()
    return numbers(said)


def numbers(said: bytes) -> list[int]:
    """The acknowledged numbers; a line that was cut off does not count."""
    return [int(line) for line in said.split(b"\n")[:-1]]


def batch(writer: str, number: int) -> list[Accepted]:
    """A writer's batch of that number: one to five events of three users."""
    return [
        accepted(f"{writer}:{number}:{n}", user=f"{writer}{n % 3}")
        for n in range(1 + number % 5)
    ]


def accepted(message_id: str, user: str = "u", size: int = 100) -> Accepted:
    return Accepted("web", message_id, user, 1_700_000_000_000, b"x" * size)


def letter(partition: int, offset: int, destination: str = "shop") -> DeadLetter:
    return DeadLetter(
        destination=destination,
        partition=partition,
        offset=offset,
        source="web",
        message_id=f"{partition}:{offset}",
        code="rejected",
        reason="not that one",
        problems=["properties.total: required"],
        detail="",
        attempts=1,
        died_at=1_700_000_000_000,
        body=b'{"type":"track"}',
    )


def shares(seed: int, number: int) -> tuple[dict[tuple[str, str], int], int]:
    """What becomes of the events of a commit: counts, and how many of them died."""
    draw = random.Random(f"{seed}:{number}")
    delivered, skipped, dead = (draw.randrange(4) for _ in range(3))
    counts = {
        ("delivered", "delivered"): delivered,
        ("skipped", "unsupported_event"): skipped,
        ("dead", "rejected"): dead,
    }
    return {key: n for key, n in counts.items() if n}, dead


def append(directory: str, writer: str, first: str) -> None:
    """Appends batches without end."""
    log = Log(Path(directory), PARTITIONS, PLENTY)
    for number in count(int(first)):
        log.append(batch(writer, number))
        acknowledge(number)


def append_small(directory: str, writer: str, first: str) -> None:
    """Appends batches without end, each to a new segment."""
    log = Log(Path(directory), PARTITIONS, PLENTY, segment=1)
    for number in count(int(first)):
        log.append(batch(writer, number))
        acknowledge(number)


def append_some(directory: str, writer: str, many: str) -> None:
    log = Log(Path(directory), PARTITIONS, PLENTY)
    for number in range(int(many)):
        log.append(batch(writer, number))


def append_and_count(directory: str, writer: str, many: str) -> None:
    """Appends batches, and prints how many of their events the log had already."""
    log = Log(Path(directory), PARTITIONS, PLENTY)
    print(sum(log.append(batch(writer, n)).duplicates for n in range(int(many))))


def append_until_full(directory: str, limit: str) -> None:
    """Appends batches until the kernel kills it, at a write beyond `limit` bytes."""
    die_beyond(int(limit))
    append(directory, "w", "0")


def append_and_drop(directory: str, moments: str) -> None:
    """Appends batches, each to a new segment, and drops all but one or two in between;
    for each of the first moments of its work with files a process that dies then, with
    a directory of its own. It writes to `said` what it appended, and before it drops,
    -n: batches before n will no longer be there."""
    for moment in range(int(moments)):
        place = Path(directory, str(moment))
        place.mkdir()
        if os.fork() == 0:
            os.dup2(os.open(place / "said", os.O_WRONLY | os.O_CREAT), 1)
            die_at(moment, place)
            append_until_dead(Log(place, PARTITIONS, PLENTY, segment=1))
        _, status = os.wait()
        assert os.WTERMSIG(status) == signal.SIGKILL


def append_until_dead(log: Log) -> None:
    for number in count():
        if number % 3 == 2:
            acknowledge(-(number - 1))
            log.drop(log.heads())
        log.append(batch("w", number))
        acknowledge(number)


def expire(directory: str, moments: str) -> None:
    """Lets what is in a log expire, for each of the first moments in a process that
    dies then, with a copy of the data directory; the last of them goes to the end."""
    for moment in range(int(moments) + 1):
        place = Path(directory, f"at{moment}")
        shutil.copytree(Path(directory, "data"), place)
        if os.fork() == 0:
            if moment < int(moments):
                die_at(moment, place)
            shared = Surroundings(Log(place, PARTITIONS, PLENTY), Ledger(place))
            Retention(shared, place, 0.0).look()
            os._exit(0)
        os.wait()


def die_at(moment: int, directory: Path) -> None:
    """Kills this process when it is for the so-manieth time about to do something with
    a file of that directory."""
    left = count(moment, -1)

    def hook(event: str, arguments: object) -> None:
        if event in FILE_EVENTS and str(directory) in str(arguments) and not next(left):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def commit(directory: str, seed: str, limit: str) -> None:
    """Commits to every partition in turn, without end; killed beyond `limit` bytes."""
    ledger = Ledger(Path(directory))
    ledger.register("shop", dict.fromkeys(range(PARTITIONS), 0))
    die_beyond(int(limit))
    for number in count():
        partition = number % PARTITIONS
        start = ledger.offsets("shop")[partition][1]
        counts, dead = shares(int(seed), number)
        end = start + sum(counts.values())
        letters = [letter(partition, offset) for offset in range(end - dead, end)]
        ledger.commit("shop", partition, (start, end), counts, letters)
        acknowledge(number)


def work_the_queue(directory: str, seed: str, limit: str) -> None:
    """Events die, are retried and dropped, without end; killed beyond `limit` bytes."""
    ledger = Ledger(Path(directory))
    ledger.register("shop", {0: 0})
    draw = random.Random(seed)
    die_beyond(int(limit))
    for number in count():
        span = (2 * number, 2 * number + 2)
        dead = [letter(0, offset) for offset in range(*span)]
        ledger.commit("shop", 0, span, {("dead", "rejected"): 2}, dead)
        ids = [letter_id for letter_id, _ in ledger.letters.dead("shop")]
        ledger.letters.put_back(draw.sample(ids, len(ids) // 2), number)
        ledger.letters.drop(draw.sample(ids, len(ids) // 8), number, "no use")
        tried = [
            one.letter for one in ledger.letters.retrying("shop", 0, 0, 50, PLENTY)
        ]
        outcome = draw.choice(["dead", "delivered"])
        after = [replace(one, state=outcome, code=outcome) for one in tried]
        ledger.letters.settle(after, number)
        acknowledge(number)


def commit_while_full(directory: str) -> None:
    """Commits while the disk is full, and once it no longer is."""
    ledger = Ledger(Path(directory))
    ledger.register("shop", {0: 0})
    refused = passed = 0

    def write() -> bool:
        span = (passed, passed + 1)
        counts = {("dead", "rejected"): 1}
        return tries(
            lambda: ledger.commit("shop", 0, span, counts, [letter(0, passed)])
        )

    for room in (0, 4000, 9000):
        largest = max(os.path.getsize(file) for file in Path(directory).rglob("*"))
        limit_files(largest + room)
        while write():
            passed += 1
        refused += 1
        limit_files(resource.RLIM_INFINITY)
        assert write()
        passed += 1
    print(json.dumps({"refused": refused, "passed": passed}))


def probe(directory: str, holds: str) -> None:
    """Waits for a line, then tries to be the one that probes, for each hold."""
    ledger = Ledger(Path(directory))
    known = {n: ledger.holds(f"shop{n}")[0] for n in range(int(holds))}
    acknowledge(0)
    sys.stdin.readline()
    won = [n for n, hold in known.items() if ledger.take_probe(hold, 10_000.0)]
    print(json.dumps(won))


def fill(directory: str) -> None:
    """Appends until the disk is full, at ever other places, and once it is not."""
    log = Log(Path(directory), PARTITIONS, PLENTY)
    stored: list[int] = []
    refused: list[int] = []

    def write(number: int) -> None:
        written = tries(lambda: log.append(batch("w", number)))
        (stored if written else refused).append(number)

    numbers = count()
    write(next(numbers))
    for room in (0, 1, 24, 4000, 4120, 4500, 9000, 13_000):
        largest = max(os.path.getsize(file) for file in Path(directory).rglob("*"))
        limit_files(largest + room)
        full = len(refused) + 1
        while len(refused) < full:
            write(next(numbers))
        limit_files(resource.RLIM_INFINITY)
        write(next(numbers))
    print(json.dumps([stored, refused]))


def write_again_when_full(directory: str) -> None:
    """Appends until the disk is full, then what was refused again, twice; prints how
    many duplicates there were each time."""
    log = Log(Path(directory), PARTITIONS, PLENTY)
    said = []
    numbers = count(4, 5)
    log.append(batch("w", next(numbers)))
    for room in (0, 1, 24, 4000, 4120, 4500, 9000, 13_000):
        largest = max(os.path.getsize(file) for file in Path(directory).rglob("*"))
        limit_files(largest + room)
        number = next(numbers)
        while tries(partial(log.append, batch("w", number))):
            number = next(numbers)
        limit_files(resource.RLIM_INFINITY)
        again, third = (log.append(batch("w", number)).duplicates for _ in range(2))
        said.append({"again": again, "third": third})
    print(json.dumps(said))


def open_until_full(directory: str, room: str) -> None:
    """Opens the log; killed at a write beyond `room` bytes of any file."""
    die_beyond(int(room))
    Log(Path(directory), PARTITIONS, PLENTY).settle_partitions()


def write_protect(directory: str) -> None:
    """Appends before, while and after the log's files are read-only."""
    mortal()
    log = Log(Path(directory), PARTITIONS, PLENTY)
    said = []
    for number, mode in enumerate((0o600, 0o400, 0o600)):
        if number:
            log.close()
            for file in Path(directory).glob("log/*"):
                file.chmod(mode)
        said.append(tries(partial(log.append, batch("w", number))))
    print(json.dumps(said))


def acknowledge(number: int) -> None:
    os.write(1, b"%d\n" % number)


def tries(action: Callable[[], Any]) -> bool:
    try:
        action()
    except StorageUnavailable:
        return False
    return True


def limit_files(size: int) -> None:
    """A file that would grow beyond it fails to, as on a full disk."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def die_beyond(size: int) -> None:
    """A write beyond it kills this process on the spot."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    limit_files(size)


def mortal() -> None:
    """Gives up root's right to write to what is read-only."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0


PROGRAMS: Sequence[Callable[..., None]] = (
    append,
    append_small,
    append_some,
    append_and_count,
    append_until_full,
    append_and_drop,
    expire,
    commit,
    work_the_queue,
    commit_while_full,
    probe,
    fill,
    write_again_when_full,
    open_until_full,
    write_protect,
)

if __name__ == "__main__":
    {program.__name__: program for program in PROGRAMS}[sys.argv[1]](*sys.argv[2:])
