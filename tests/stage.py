"""Time and turns of a simulation: lanes and their streams, one of which runs at a time.

Each is a greenlet, which gives its turn back where it would wait: for an event, for a
while, for a partner's answer. Whose turn is next is drawn, and time passes only when
all wait. So one seed is one course of events, to the last, and an hour takes no time.
"""

import random
import threading
from collections.abc import Callable
from contextlib import suppress

from greenlet import getcurrent, greenlet

EPOCH = 1_700_000_000.0


class Killed(BaseException):
    """What is raised in all that a process runs when it is killed. It passes through
    every `except Exception`, and what it then leaves is what `kill -9` leaves: the
    files as they are, and no lock."""


class Process:
    """Stands for an operating system's: it can be killed, as a whole, at any moment.

    last_readings: so many more times it reads the clock, and is killed at the last.
    """

    def __init__(self, stage: "Stage") -> None:
        self.stage = stage
        self.is_killed = False
        self.last_readings: int | None = None

    def clock(self) -> float:
        """Epoch seconds."""
        if self.last_readings is not None:
            self.last_readings -= 1
            self.is_killed |= self.last_readings <= 0
        self.check()
        return self.stage.now

    def check(self) -> None:
        if self.is_killed:
            raise Killed

    def thread(self, target: Callable[..., None], args: tuple, **_: object) -> "Stream":
        """What a lane makes its streams with, in place of threading.Thread."""
        return Stream(self, lambda: target(*args))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """In place of threading.Event.wait."""
        self.stage.give_turn(event, seconds)
        self.check()
        return event.is_set()


class Stream:
    """Has what a lane uses of a thread."""

    def __init__(self, process: Process, run: Callable[[], None]) -> None:
        self._process = process
        self.run = run
        self._ended = threading.Event()

    def start(self) -> None:
        def run() -> None:
            try:
                self.run()
            finally:
                self._ended.set()

        self._process.stage.begin(self._process, run)

    def join(self) -> None:
        self._process.wait(self._ended, float("inf"))


class Actor:
    """Something that runs in turns: until a time, or an event, it need not have one."""

    def __init__(self, process: Process, turns: greenlet, until: float) -> None:
        self.process, self.turns, self.until = process, turns, until
        self.event: threading.Event | None = None

    def is_ready(self, now: float) -> bool:
        return self.until <= now or (self.event is not None and self.event.is_set())


class Stage:
    """Gives the turns."""

    def __init__(self, draw: random.Random) -> None:
        self.now = EPOCH
        self._draw = draw
        self._hub = getcurrent()
        self._actors: dict[greenlet, Actor] = {}

    def begin(self, process: Process, run: Callable[[], None]) -> None:
        def runs() -> None:
            with suppress(Killed):
                run()
            del self._actors[getcurrent()]

        turns = greenlet(runs, self._hub)
        self._actors[turns] = Actor(process, turns, self.now)

    def give_turn(self, event: threading.Event, seconds: float) -> None:
        """Called in an actor: returns when it is its turn again."""
        actor = self._actors[getcurrent()]
        actor.event, actor.until = event, self.now + seconds
        self._hub.switch()

    def take_turn(self) -> bool:
        """Lets one go on that can; else lets time pass until one can. False when there
        is nobody left."""
        actors = list(self._actors.values())
        # What is killed is killed as a whole, before anybody else has a turn.
        ready = [one for one in actors if one.process.is_killed]
        ready = ready or [one for one in actors if one.is_ready(self.now)]
        if ready:
            self._draw.choice(ready).turns.switch()
        elif actors:
            self.now = min(one.until for one in actors)
        return bool(self._actors)
