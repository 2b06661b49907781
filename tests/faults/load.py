"""Clients that send without a pause, each the events of its own users."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import requests

from faults.judge import CANARY

USERS = 200
CLIENTS = 4
PAUSE = 0.1


def make(user: str, number: int, name: str | None) -> dict[str, Any]:
    event: dict[str, Any] = {
        "anonymousId": user,
        "messageId": f"{user}:{number}",
        "properties": {"sku": f"{CANARY}-{number}"},
    }
    if name is None:
        return event | {"type": "page"}
    if name == "Product Viewed":
        event["properties"]["url"] = "https://shop.example/p/1"
    return event | {"type": "track", "event": name}


class Load:
    """obligations: ids answered with 200, in that order. answers: how often which."""

    def __init__(self, url: str, seed: int) -> None:
        self.obligations: list[str] = []
        self.answers: Counter[int | str] = Counter()
        self._url = url
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(n, random.Random(f"{seed}/{n}")))
            for n in range(CLIENTS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int, dice: random.Random) -> None:
        users = [f"u{n}" for n in range(client, USERS, CLIENTS)]
        sent: Counter[str] = Counter()
        with requests.Session() as session:
            while not self._stopping.wait(PAUSE):
                batch = []
                for user in dice.choices(users, k=dice.randint(1, 20)):
                    names = ("Product Viewed", "Product Added", "Refused", None)
                    (name,) = dice.choices(names, (85, 5, 5, 5))
                    batch.append(make(user, sent[user], name))
                    sent[user] += 1
                self._send(session, batch, again=dice.random() < 0.05)

    def _send(
        self, session: requests.Session, batch: list[dict[str, Any]], *, again: bool
    ) -> None:
        """Sends until it is answered, as SDKs do, and sometimes once more."""
        while self._once(session, batch) != 200:
            if self._stopping.wait(PAUSE):
                return
        with self._lock:
            self.obligations += [event["messageId"] for event in batch]
        if again:
            self._once(session, batch)

    def _once(self, session: requests.Session, batch: list[dict[str, Any]]) -> Any:
        try:
            answer: Any = session.post(
                f"{self._url}/v1/batch",
                json={"batch": batch},
                auth=(f"{CANARY}-key", ""),
                timeout=5,
            ).status_code
        except requests.RequestException as error:
            answer = type(error).__name__
        with self._lock:
            self.answers[answer] += 1
        return answer


def until(claim: Callable[[], bool], seconds: float, every: float = 0.5) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
