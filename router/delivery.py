"""The lanes that this process runs: claimed, shared with its neighbours, woken.

One thread looks after them. Every process takes an even share of each destination's
lanes; what a dead process leaves, the others take at their next look.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from router.claims import claim
from router.config import Broken
from router.destination import Destination
from router.episodes import Episode
from router.errors import StorageUnavailable
from router.gate import MENDABLE, Surroundings
from router.lane import Lane
from router.ledger import Fenced, surplus
from router.replaying import Replayed, ReplayLane
from router.wakeup import Ear, count_workers
from router.watch import Watch

logger = logging.getLogger("router.delivery")

# Seconds between two looks at the claims: a lane changes hands well within a second.
LOOK_EVERY = 0.2
# Seconds between two syncs of the ledger: what was delivered since, is delivered again
# after a power cut.
SYNC_EVERY = 1.0


class Lanes:
    """Runs its share of the lanes of all destinations, from start() to stop()."""

    def __init__(
        self, destinations: Iterable[Destination], shared: Surroundings, data_dir: Path
    ) -> None:
        self._destinations = list(destinations)
        self._shared = shared
        self._data_dir = data_dir
        self._lanes: list[Lane] = []
        self._replayed: dict[int, Replayed] = {}
        self._watch = Watch(shared)
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lanes", daemon=True)
        self._syncer = threading.Thread(target=self._sync, name="sync", daemon=True)

    def start(self) -> None:
        """Starts to claim and run lanes, in threads."""
        self._keeper.start()
        self._syncer.start()

    def stop(self, within: float | None = None) -> None:
        """Ends the requests that are under way, commits, releases all claims, and says
        where the ledger does not add up.

        May take as long as the slowest request, or `within` seconds; the threads are
        daemons, so a process that cannot wait may end."""
        self._stopping.set()
        self._keeper.join(within)
        self._syncer.join(within)

    def _keep(self) -> None:
        waiting = Episode(logger, "lanes are looked after again")
        try:
            while not self._stopping.is_set():
                try:
                    register(self._destinations, self._shared)
                    for destination in self._destinations:
                        self._shared.ledger.probe_now(destination.name, MENDABLE)
                    waiting.end()
                    self._look_after()
                except (StorageUnavailable, OSError) as error:
                    # The lanes there are wait by themselves, with what they have sent.
                    waiting.begin("lanes are not looked after: %s", error)
                    self._stopping.wait(1.0)
        finally:
            self._end()
        self._check_ledger()

    def _sync(self) -> None:
        while not self._stopping.wait(SYNC_EVERY):
            for lane in self._lanes:
                with suppress(StorageUnavailable, Fenced):  # which the lane sees to
                    lane.commit()
            with suppress(StorageUnavailable):
                self._shared.ledger.sync()
        self._shared.ledger.close()

    def _look_after(self) -> None:
        with closing(Ear(self._data_dir)) as ear:
            while not self._stopping.is_set():
                self._share()
                self._watch.look(self._lanes)
                next_look = time.monotonic() + LOOK_EVERY
                while (left := next_look - time.monotonic()) > 0:
                    grown = ear.listen(left)
                    for lane in self._lanes:
                        if lane.partition in grown:
                            lane.wake()

    def _end(self) -> None:
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join()
        self._lanes = []
        self._shared.ledger.close()

    def _check_ledger(self) -> None:
        """Other processes may go on meanwhile: it adds up at any instant."""
        try:
            for destination in self._destinations:
                off = surplus(*self._shared.ledger.balance(destination.name))
                if off:
                    line = "%s: the ledger is off by %+d: events passed less counted"
                    logger.error(line, destination.name, off)
        except StorageUnavailable as error:
            logger.error("the ledger cannot be checked: %s", error)
        finally:
            self._shared.ledger.close()

    def _share(self) -> None:
        """Claims up to an even share of the lanes of each destination and replay; gives
        back more."""
        self._lanes = [lane for lane in self._lanes if lane.is_alive()]
        for destination in self._destinations:
            partitions = range(self._shared.log.partitions)
            self._take_share(destination, partitions, partial(Lane, destination))
        self._look_for_replays()
        for replayed in self._replayed.values():
            lane = partial(ReplayLane, replayed)
            self._take_share(replayed, replayed.spans, lane)

    def _take_share(
        self,
        destination: Destination,
        partitions: Collection[int],
        make: Callable[..., Lane],
    ) -> None:
        share = math.ceil(len(partitions) / max(1, count_workers(self._data_dir)))
        mine = [lane for lane in self._lanes if lane.destination is destination]
        for lane in mine[share:]:
            lane.stop()
        missing = {*partitions} - {lane.partition for lane in mine}
        for partition in sorted(missing):
            if len(mine) >= share:
                break
            held = claim(self._data_dir, destination.name, partition)
            if held is not None:
                lane = make(partition, held, self._shared)
                lane.start()
                mine.append(lane)
                self._lanes.append(lane)

    def _look_for_replays(self) -> None:
        """Notes which there are to work on, ends those that are through, and stops the
        lanes of the others."""
        replays, known = self._shared.ledger.replays, self._replayed
        running: dict[int, Replayed] = {}
        for replay in replays.running():
            spans = replays.spans(replay)
            if not spans and replays.finish(replay, int(self._shared.clock() * 1000)):
                logger.info("%s: replay %d is done", replay.destination, replay.id)
            for destination in self._destinations:
                if spans and destination.name == replay.destination:
                    one = known.get(replay.id) or Replayed(destination, replay, spans)
                    one.spans = spans
                    running[replay.id] = one
        self._replayed = running
        for lane in self._lanes:
            if isinstance(lane, ReplayLane) and lane.replay not in running:
                lane.stop()


def register(
    destinations: Iterable[Destination | Broken], shared: Surroundings
) -> None:
    """Gives each new destination its place in the log: the end, or the beginning.

    First sees to it that the log does not end before where destinations are."""
    if shared.log.go_on_from(shared.ledger.farthest()):
        logger.error(
            "the log ended before where destinations are: its newest events are lost "
            "(a damaged file, or an older copy); it goes on from there"
        )
    heads, starts_of_log = shared.log.heads(), shared.log.starts()
    for destination in destinations:
        is_latest = destination.settings.start == "latest"
        starts = heads if is_latest else starts_of_log
        shared.ledger.register(destination.name, starts)
