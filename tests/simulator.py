"""A simulation of processes that run lanes on one data directory, from a seed.

Lane, Sender, Gate, Window, Ledger, Log and claims are the router's own, and so are the
files. Only time, and what gives the turns, are not (stage.py): a process is an object
with a log, a ledger and lanes of its own, and is killed by ending all that it runs
wherever it is. Real processes and threads are tried by test_lanes.py and faults/.

    python tests/simulator.py SEED

tells what happened in one simulation, and what was wrong with it.
"""

import logging
import math
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from judge_order import Judge, Placed
from moody import KINDS, Partner, Plugin, Settings, made
from pluggy import PluginManager
from stage import Process, Stage

from router.claims import claim
from router.destination import Destination
from router.gate import MENDABLE, Surroundings
from router.lane import Lane
from router.ledger import Ledger
from router.log import Log
from router.plugins import Found, manager
from router.retry import Policy

NAMES = ("shop", "mail")
SPACE = 1 << 30
# In a simulation that comes to no end, so many turns are more than enough.
MOST_TURNS = 50_000

logger = logging.getLogger("router.delivery")


class Alarms(logging.Handler):
    """Keeps what the lanes say that they must never have to."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.exc_info or "starts anew" in line or "missing" in line:
            trace = logging.Formatter().formatException(record.exc_info or (None,) * 3)
            self.said.append(f"{line}\n{trace}")


class Wrong(Exception):
    """A judge has objected."""


class Running(Process):
    """A process that delivers, with a configuration."""

    def __init__(self, world: "World") -> None:
        super().__init__(world.stage)
        self.world = world
        self.log = Log(world.data, world.partitions, SPACE)
        self.ledger = Ledger(world.data, clock=self.clock)
        self.shared = Surroundings(
            self.log, self.ledger, world.policy, self.clock, self.wait, self.thread
        )
        self.destinations = [
            Destination(name, world.settings(name, self), hooks())
            for name in world.partners
        ]
        self.lanes: list[Lane] = []
        self.is_stopping = False
        for name in world.partners:
            self.ledger.probe_now(name, MENDABLE)

    def take(self, destination: Destination, partition: int) -> None:
        """Runs a lane, unless it has an owner."""
        if self.is_stopping or self.is_killed:
            return
        held = claim(self.world.data, destination.name, partition)
        if held is None:
            return
        lane = Lane(destination, partition, held, self.shared)
        self.lanes.append(lane)
        judge = self.world.judges[destination.name]
        judge.lane_began(partition)

        def run() -> None:
            try:
                lane.run()
            finally:
                self.lanes.remove(lane)
                judge.lane_ended(partition, is_killed=self.is_killed)

        self.stage.begin(self, run)

    def stop(self) -> None:
        self.is_stopping = True
        for lane in self.lanes:
            lane.stop()

    def close(self) -> None:
        self.log.close()
        self.ledger.close()


class World:
    """What a seed makes."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.draw = draw = random.Random(seed)
        self.stage = Stage(draw)
        self.partitions = draw.randint(1, 3)
        self.data = directory / "data"
        shutil.copytree(template(directory, self.partitions), self.data)
        self.policy = Policy(
            first=0.05, longest=1.0, least=0.01, draw=draw.uniform,
            give_up_attempts=draw.choice([2, 3, 10]),
            stall_after=draw.choice([1, 3, 10]),
            slow=math.inf,  # what takes real time
            circuit_calls=draw.choice([4, 10]),
        )  # fmt: skip
        self.ledger = Ledger(self.data)
        self.log = Log(self.data, self.partitions, SPACE)
        self.users = [f"u{n}" for n in range(draw.choice([1, 2, 5, 9]))]
        self.left = draw.choice([10, 30, 60])
        self.odd = draw.choice([0.0, 0.1, 0.4])
        self.kinds: dict[str, str] = {}
        self.heads = dict.fromkeys(range(self.partitions), 0)
        names = NAMES[: 1 + (draw.random() < 0.2)]
        self.violations: list[str] = []
        attempts, wrong = self.policy.give_up_attempts, self.violations
        self.judges = {n: Judge(n, self.ledger, attempts, wrong) for n in names}
        self.partners = {
            name: Partner(self.stage, draw, self.kinds, self.judges[name].call_began)
            for name in names
        }
        self.done: Counter[str] = Counter()
        self._keys: dict[str, Mapping[str, Any]] = {}
        self._configure()
        self.processes: list[Running] = []

    def settings(self, name: str, process: Running) -> Settings:
        partner = self.partners[name]
        chosen = Settings(partner=partner, process=process, **self._keys[name])
        return chosen.placed(name, self.data)

    def _configure(self) -> None:
        draw = self.draw
        for name in self.judges:
            self._keys[name] = {
                "plugin": "moody", "timeout": "1s",
                "events": [kind for kind in KINDS if kind != "unselected"],
                "give_up_after": draw.choice(["1ms", "500ms", "5s"]),
                "batch_events": draw.choice([1, 2, 3, 5, 20]),
                "batch_bytes": draw.choice([50, 150, 100_000]),
                "concurrency": draw.randint(1, 4),
            }  # fmt: skip

    # What befalls it

    def accept(self) -> None:
        """Some events come in, and most lanes hear of it."""
        draw = self.draw
        events = []
        for _ in range(min(self.left, draw.randint(1, 12))):
            kind = draw.choice(KINDS) if draw.random() < self.odd else "good"
            number, user = len(self.kinds), draw.choice(self.users)
            event = made(draw, user, number, kind, self.stage.now)
            self.kinds[event.message_id] = kind
            partition = self.log.partition_of(user)
            place = (partition, self.heads[partition])
            self.heads[partition] += 1
            for judge in self.judges.values():
                judge.placed(Placed(event.message_id, user, *place, kind))
            events.append(event)
        self.left -= len(events)
        self.log.append(events)
        for process in self.processes:
            for lane in process.lanes:
                if draw.random() < 0.8:
                    lane.wake()

    def begin_process(self) -> None:
        if sum(not one.is_stopping for one in self.processes) < 3:
            self.processes.append(Running(self))

    def share(self) -> None:
        """A process takes a lane that may be nobody's."""
        process = self.draw.choice(self.processes)
        destination = self.draw.choice(process.destinations)
        partition = self.draw.randrange(self.partitions)
        is_free = not self.judges[destination.name].is_alive(partition)
        # To ask for one that has an owner is in vain, and takes time.
        if is_free or self.draw.random() < 0.02:
            process.take(destination, partition)

    def kill(self) -> None:
        """At once, or when it looks at the clock again, as it does before a commit."""
        process = self.draw.choice(self.processes)
        if self.draw.random() < 0.5:
            process.last_readings = self.draw.randint(1, 20)
        else:
            process.is_killed = True

    def move(self) -> None:
        lanes = self.draw.choice(self.processes).lanes
        if lanes:
            self.draw.choice(lanes).stop()

    def configure(self) -> None:
        """As HUP does: the old processes stop while new ones begin."""
        self._configure()
        for process in self.processes:
            process.stop()
        self.begin_process()

    def put_back(self) -> None:
        """An operator retries dead letters."""
        name = self.draw.choice(list(self.judges))
        found = self.ledger.dead_letters(name, state="dead")
        some = [one for one in found if self.draw.random() < 0.7]
        moved = self.ledger.letters.put_back(
            [one.id for one in some if one.id is not None], int(self.stage.now * 1000)
        )
        assert len(moved) == len(some)
        self.judges[name].put_back(one.message_id for one in some)
        self.done["letters"] += len(moved)

    # The whole

    def run(self) -> None:
        """Mischief first; then all is mended, and must come to rest. Ends with the
        first violation."""
        try:
            self._be_mischievous()
            for partner in self.partners.values():
                partner.is_mended = True
            self._come_to_rest()
            for process in self.processes:
                process.stop()
            while self.stage.take_turn():
                self._check()
            for judge in self.judges.values():
                judge.conclude(self.heads)
        except Wrong:
            for process in self.processes:
                process.is_killed = True
            while self.stage.take_turn():
                pass

    def _check(self) -> None:
        if self.violations:
            raise Wrong

    def _be_mischievous(self) -> None:
        self.begin_process()
        turns = self.draw.randint(20, 300)
        often = self.draw.choice([0.01, 0.03, 0.1])
        while turns or self.left:
            turns = max(0, turns - 1)
            self._take_turn()
            if self.draw.random() < 0.3:
                self.share()
            if self.left and (not turns or self.draw.random() < 0.1):
                self.accept()
            if turns and self.draw.random() < often:
                self._befall()

    def _befall(self) -> None:
        mischief = [self.kill, self.move, self.configure, self.put_back]
        what = self.draw.choice([*mischief, self.kill, self.begin_process])
        what()
        self.done[what.__name__] += 1

    def _take_turn(self) -> None:
        self.stage.take_turn()
        self._check()
        for process in list(self.processes):
            is_ending = process.is_killed or process.is_stopping
            if is_ending and not process.lanes:
                process.close()
                self.processes.remove(process)
        if all(one.is_stopping for one in self.processes):
            self.begin_process()

    def _come_to_rest(self) -> None:
        for turn in range(MOST_TURNS):
            self._take_turn()
            self.share()
            if turn % 20 == 0 and self._is_at_rest():
                return
        holds = [hold for name in self.judges for hold in self.ledger.holds(name)]
        self.violations.append(f"comes to no rest: {holds}")
        self._check()

    def _is_at_rest(self) -> bool:
        return all(
            {n: offset for n, (_, offset) in self.ledger.offsets(name).items()}
            == self.heads
            and not self.ledger.dead_letters(name, state="retrying", limit=1)
            for name in self.judges
        )

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.log.close()
        self.ledger.close()
        shutil.rmtree(self.data)


@dataclass(frozen=True)
class Course:
    """What happened: calls, one a line, and how often what; and what was wrong."""

    seed: int
    calls: Sequence[str]
    done: Counter[str]
    violations: Sequence[str]

    def __str__(self) -> str:
        wrong = self.violations or ["all well"]
        return "\n".join([*self.calls, f"seed {self.seed}: {dict(self.done)}", *wrong])


def simulate(seed: int, directory: Path) -> Course:
    """Runs the simulation of that seed, in a directory for many."""
    alarms = Alarms()
    logger.addHandler(alarms)
    logger.propagate = False
    world = World(seed, directory)
    try:
        world.run()
    finally:
        logger.removeHandler(alarms)
        logger.propagate = True
        world.close()
    calls = [call for partner in world.partners.values() for call in partner.calls]
    done = world.done + Counter(call.ended for call in calls)
    done["repeats"] += sum(judge.repeats for judge in world.judges.values())
    return Course(seed, list(map(str, calls)), done, world.violations + alarms.said)


def simulate_all(seeds: Iterable[int]) -> list[Course]:
    """One simulation after the other, in memory where there is such a directory."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with TemporaryDirectory(dir=place) as directory:
        return [simulate(seed, Path(directory)) for seed in seeds]


@cache
def hooks() -> PluginManager:
    return manager("moody", {"moody": Found("moody", "here", Plugin)})


@cache
def template(directory: Path, partitions: int) -> Path:
    """An empty log and ledger, to be copied, as to make them takes a while."""
    data = directory / f"template{partitions}"
    log, ledger = Log(data, partitions, SPACE), Ledger(data)
    log.settle_partitions()
    for name in NAMES:
        ledger.register(name, dict.fromkeys(range(partitions), 0))
    log.close()
    ledger.close()
    return data


if __name__ == "__main__":
    print(*simulate_all(map(int, sys.argv[1:])), sep="\n\n")
