"""Clients for servers: what they post, read in their sources."""

import random
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from emulated import numbers
from emulated.queues import Call, Emulated, Event
from emulated.wire import Answer, Dialect, head

BASIC = f"Authorization: Basic {b64encode(b'key:').decode()}"


class Ruby(Emulated):
    """analytics-ruby 2.5.0: Basic authentication only, POST /v1/import, and a body of
    JSON expected of every answer, an object: anything else is sent again, up to 10
    times in all, without a look at Retry-After.
    """

    name = "analytics-ruby-2.5.0"
    json = Dialect(numbers.ruby)
    zone = timezone(-timedelta(hours=3, minutes=30))

    def event(self, call: Call) -> Event:
        at = datetime.fromisoformat(call["timestamp"]) if "timestamp" in call else None
        context = call.get("context", {})
        event = {
            "context": context
            | {"library": {"name": "analytics-ruby", "version": "2.5.0"}},
            "messageId": call.get("messageId", str(uuid4())),
            "timestamp": self.time(at),
        }
        ids = ("userId", "anonymousId", "integrations")
        event |= {name: call[name] for name in ids if name in call}
        event["type"] = call["type"]
        match call["type"]:
            case "track":
                return (
                    event | {"event": call["event"]} | self.object(call, "properties")
                )
            case "page":
                # The category of a page is not passed on.
                name = {"name": call.get("name", "")}
                return event | name | self.object(call, "properties")
            case "screen":
                return event | {"name": call["name"]} | self.object(call, "properties")
            case "group":
                group = {"groupId": call["groupId"]}
                return event | group | self.object(call, "traits")
            case "alias":
                return event | {"previousId": call["previousId"]}
        return event | self.object(call, "traits")

    def object(self, call: Call, name: str) -> dict[str, Any]:
        return {name: call.get(name, {})}

    def time(self, at: datetime | None = None) -> str:
        """Milliseconds and the local offset."""
        at = at or datetime.now(UTC)
        return at.astimezone(self.zone).isoformat(timespec="milliseconds")

    def flush(self) -> None:
        if not self.queue:
            return
        batch, self.queue = self.queue[: self.batch], self.queue[self.batch :]
        wait = 0.1
        for _ in range(10):
            error = self.attempt(batch)
            if error is None:
                return
            time.sleep(wait * random.uniform(0.5, 1.5))
            wait = min(wait * 1.5, 10)
        self.errors.append(f"gave up {len(batch)} events: {error}")

    def attempt(self, batch: list[Event]) -> str | None:
        """Posts a batch; why it has to be sent again, or None."""
        try:
            answer = self.wire.exchange(*self.request(batch))
            refusal = answer.json().get("error")
        # Net::HTTP's errors, and what JSON.parse(body)["error"] raises.
        except (OSError, ValueError, AttributeError) as error:
            return repr(error)
        if answer.status >= 500 or answer.status == 429:
            return str(answer.status)
        if answer.status != 200:
            self.errors.append(f"{answer.status} {refusal}")
        return None

    def request(self, batch: list[Event]) -> tuple[bytes, bytes]:
        body = self.json.dumps({"sentAt": self.time(), "batch": batch}).encode()
        return (
            head(
                "POST /v1/import",
                "Accept: application/json",
                "Content-Type: application/json",
                "User-Agent: analytics-ruby/2.5.0",
                "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
                BASIC,
                f"Host: {self.wire.host}",
                f"Content-Length: {len(body)}",
            ),
            body,
        )


class Php(Emulated):
    """analytics-php 3.8.2 with an old libcurl: Expect: 100-continue above 1 KiB, a
    connection a request, seconds in times. Anything but 200 below 400 is sent again at
    once and for ever; 5xx and 429 after 0.1 s, doubling to 10 s; when the connection
    fails the batch is given back to the program.
    """

    name = "analytics-php-3.8.2"
    json = Dialect(numbers.php, "/\x80-\ud7ff\ue000-\U0010ffff", lone=r"\ufffd")

    def event(self, call: Call) -> Event:
        event = {name: self.array(value) for name, value in call.items()}
        member = {"alias": None, "identify": "traits", "group": "traits"}
        if named := member.get(call["type"], "properties"):
            event[named] = event.get(named) or {}
        library = {"name": "analytics-php", "version": "3.8.2", "consumer": "LibCurl"}
        event["context"] = {"library": library} | (event.get("context") or {})
        at = datetime.fromisoformat(call["timestamp"]) if "timestamp" in call else None
        event["timestamp"] = self.time(at)
        event["messageId"] = call.get("messageId", str(uuid4()))
        return event | {"type": call["type"]}

    def array(self, value: Any) -> Any:
        """An array that is empty is a list: only the outermost is made an object."""
        if isinstance(value, dict):
            return {name: self.array(item) for name, item in value.items()} or []
        if isinstance(value, list):
            return [self.array(item) for item in value]
        return value

    def time(self, at: datetime | None = None) -> str:
        return (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")

    def flush(self) -> None:
        if not self.queue:
            return
        batch, self.queue = self.queue[: self.batch], self.queue[self.batch :]
        body = self.json.dumps({"batch": batch, "sentAt": self.time()}).encode()
        wait = 0.1
        while wait < 10:
            try:
                answer = self.attempt(body)
            except OSError:
                # flush() is false: a careful program makes its calls again, later.
                self.queue = batch + self.queue
                return
            if answer.status == 200:
                return
            if answer.status >= 500 or answer.status == 429:
                time.sleep(wait)
                wait *= 2
            elif answer.status >= 400:
                self.errors.append(f"{answer.status} {answer.body!r}")
                return
        self.errors.append(f"gave up {len(batch)} events")

    def attempt(self, body: bytes) -> Answer:
        fields = [
            f"Host: {self.wire.host}",
            BASIC,
            "Accept: */*",
            "Content-Type: application/json",
            "User-Agent: analytics-php/3.8.2",
            f"Content-Length: {len(body)}",
        ]
        try:
            if len(body) <= 1024:
                return self.wire.exchange(head("POST /v1/batch", *fields), body)
            fields.append("Expect: 100-continue")
            self.wire.send(head("POST /v1/batch", *fields))
            # libcurl waits for a second, and then sends all the same.
            if self.wire.is_answered(1):
                answer = self.wire.receive()
                if answer.status >= 200:
                    return answer
            self.wire.send(body)
            answer = self.wire.receive()
            return self.wire.receive() if answer.status < 200 else answer
        finally:
            self.wire.close()
