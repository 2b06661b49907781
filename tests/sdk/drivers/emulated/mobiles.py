"""Clients for phones and desktops: what they post, read in their sources. They send no
Authorization; the write key is the last member of the body."""

import gzip
import random
import time
from collections import Counter

from emulated import numbers
from emulated.queues import Call, Emulated, Event, Filing, milliseconds, stamped
from emulated.wire import Answer, Dialect, Wire, chunked, head

# What is sent again by clients that know of it, beside 5xx (not 501, 505).
AGAIN = (408, 410, 429, 460)
LONGEST_WAIT = 300

MEMBERS = {
    "identify": ("traits",),
    "track": ("event", "properties"),
    "screen": ("name", "category", "properties"),
    "group": ("groupId", "traits"),
    "alias": ("previousId",),
}


def is_retried(status: int) -> bool:
    return status in AGAIN or (status >= 500 and status not in (501, 505))


def mobile(call: Call, library: str, version: str) -> Event:
    """An event with the members of its type, as they are given. There is no page: it
    is sent as a screen."""
    kind = "screen" if call["type"] == "page" else call["type"]
    event: Event = {"type": kind, **stamped(call)}
    ids = ("anonymousId", "userId")
    given = (*ids, *MEMBERS[kind])
    event |= {name: call[name] for name in given if name in call}
    context = {"library": {"name": library, "version": version}}
    event["context"] = context | call.get("context", {})
    event["integrations"] = call.get("integrations", {})
    return event


METADATA = {"_metadata": {"bundled": [], "unbundled": [], "bundledIds": []}}


class Settled(Filing):
    """A client that asks for its settings first, which say where to post. When it gets
    none, it posts to where it was told.
    """

    asks: tuple[str, ...]

    def __init__(self, url: str, batch: int) -> None:
        super().__init__(url, batch)
        fields = (f"Host: {self.wire.host}", *self.asks)
        answer = self.wire.exchange(head("GET /v1/projects/key/settings", *fields))
        settings = answer.json() if answer.status == 200 else {}
        self.segment = settings.get("integrations", {}).get("Segment.io", {})
        self.wire.close()
        told = f"{self.wire.host}/v1"
        host, _, self.path = self.segment.get("apiHost", told).partition("/")
        self.wire = Wire(f"http://{host}")

    def is_finished(self, file: bytes) -> bool:
        try:
            answer = self.upload(file)
        except OSError:
            return False
        return answer.status < 300 or (self.is_refused(answer) and self.forget(answer))

    def upload(self, file: bytes) -> Answer:
        raise NotImplementedError

    def is_refused(self, answer: Answer) -> bool:
        """Whether this answer makes the client forget the file."""
        raise NotImplementedError

    def forget(self, answer: Answer) -> bool:
        self.errors.append(f"{answer.status} {answer.body!r}")
        return True

    def rest(self, seconds: float) -> None:
        self.resting_until = time.monotonic() + min(seconds, LONGEST_WAIT)


class Swift(Settled):
    """analytics-swift 1.9.4: keeps a file on anything but 400, unless the settings have
    an httpConfig; with it, it does what newer clients do.
    """

    name = "analytics-swift-1.9.4"
    json = Dialect(numbers.swift, escaped="/")
    asks = (
        "Content-Type: application/json; charset=utf-8",
        "Connection: keep-alive",
        "Accept: */*",
        "User-Agent: analytics-ios/1.9.4",
        "Accept-Language: en-GB,en;q=0.9",
        "Accept-Encoding: gzip",
    )

    def event(self, call: Call) -> Event:
        return mobile(call, "analytics-swift", "1.9.4") | METADATA

    def file(self, events: list[Event]) -> bytes:
        lines = "\n,".join(self.json.dumps(event) for event in events)
        end = f'],"sentAt":"{milliseconds()}","writeKey":"key"}}'
        return f'{{ "batch": [\n{lines}\n{end}\n'.encode()

    def upload(self, file: bytes) -> Answer:
        fields = (f"Host: {self.wire.host}", *self.asks, f"Content-Length: {len(file)}")
        return self.wire.exchange(head(f"POST /{self.path}/b", *fields), file)

    def is_refused(self, answer: Answer) -> bool:
        if "httpConfig" not in self.segment:
            return answer.status == 400
        if answer.status == 429:
            after = answer.headers.get("retry-after", "")
            self.rest(int(after) if after.isdigit() else 0)
        return not is_retried(answer.status)


class ReactNative(Settled):
    """analytics-react-native 2.21.4: says how often it has tried, and waits as long as
    Retry-After says, or for a minute after a 429 without.
    """

    name = "analytics-react-native-2.21.4"
    json = Dialect(numbers.javascript, lone=None)
    asks = ("Accept-Encoding: gzip", "User-Agent: okhttp/4.12.0")

    def __init__(self, url: str, batch: int) -> None:
        super().__init__(url, batch)
        self.attempts: Counter[bytes] = Counter()

    def event(self, call: Call) -> Event:
        return mobile(call, "@segment/analytics-react-native", "2.21.4") | METADATA

    def file(self, events: list[Event]) -> bytes:
        body = {"batch": events, "sentAt": milliseconds(), "writeKey": "key"}
        return self.json.dumps(body).encode()

    def upload(self, file: bytes) -> Answer:
        tried = self.attempts[file]
        self.attempts[file] += 1
        fields = (
            *([f"X-Retry-Count: {tried}"] if tried else []),
            "Content-Type: application/json; charset=utf-8",
            f"Content-Length: {len(file)}",
            f"Host: {self.wire.host}",
            "Connection: Keep-Alive",
            *self.asks,
        )
        return self.wire.exchange(head("POST /v1/b", *fields), file)

    def is_refused(self, answer: Answer) -> bool:
        after = answer.headers.get("retry-after")
        if after is not None or answer.status == 429:
            self.rest(int(after or 60))
        return not is_retried(answer.status)


class CSharp(Settled):
    """Analytics-CSharp 2.3: gzip, and no Content-Type; a 3xx, 429 or 5xx
    waits for the next flush, without a look at Retry-After.
    """

    name = "Analytics-CSharp-2.3.4"
    json = Dialect(numbers.dotnet)
    compression = "Accept-Encoding: gzip, deflate"
    asks = ("Connection: close", "Accept: application/json", compression)

    def event(self, call: Call) -> Event:
        return (
            mobile(call, "Analytics-CSharp", "2.3.4")
            | METADATA
            | {"type": call["type"]}
        )

    def file(self, events: list[Event]) -> bytes:
        body = {"batch": events, "sentAt": milliseconds(), "writeKey": "key"}
        return self.json.dumps(body).encode()

    def upload(self, file: bytes) -> Answer:
        body = gzip.compress(file)
        fields = (
            f"Host: {self.wire.host}",
            "Connection: close",
            "Accept: text/plain",
            self.compression,
            "Content-Encoding: gzip",
            f"Content-Length: {len(body)}",
        )
        return self.wire.exchange(head(f"POST /{self.path}/b", *fields), body)

    def is_refused(self, answer: Answer) -> bool:
        return 400 <= answer.status < 500 and answer.status != 429


class Queueing(Emulated):
    """A client that posts what is first in its queue, and the same again at its next
    flush when it failed: the order is kept.
    """

    most = 100

    def flush(self) -> None:
        while batch := self.queue[: self.most]:
            try:
                answer = self.upload(batch)
            except OSError:
                return
            if 400 <= answer.status < 500 and answer.status != 429:
                self.errors.append(f"{answer.status} {answer.body!r}")
            elif answer.status >= 300:
                return
            del self.queue[: len(batch)]

    def upload(self, batch: list[Event]) -> Answer:
        raise NotImplementedError

    def body(self, batch: list[Event]) -> bytes:
        content = {"batch": batch, "sentAt": milliseconds(), "writeKey": "key"}
        return gzip.compress(self.json.dumps(content).encode())


class Ios(Queueing):
    """The classic analytics-ios 4.1: gzip, and members in the order of a hash."""

    name = "analytics-ios-4.1.8"
    json = Dialect(numbers.foundation, escaped="/")

    def event(self, call: Call) -> Event:
        members = list(mobile(call, "analytics-ios", "4.1.8").items())
        random.Random(str(members)).shuffle(members)
        return dict(members)

    def upload(self, batch: list[Event]) -> Answer:
        body = self.body(batch)
        fields = (
            f"Host: {self.wire.host}",
            "Content-Type: application/json",
            "Connection: keep-alive",
            "Accept: */*",
            "User-Agent: analytics-ios/4.1.8",
            "Content-Encoding: gzip",
            f"Content-Length: {len(body)}",
            "Accept-Language: en-gb",
            "Accept-Encoding: gzip",
        )
        return self.wire.exchange(head("POST /v1/batch", *fields), body)


class Android(Queueing):
    """The classic analytics-android 4.11: gzip in chunks, of which the first is gzip's
    own header, and a connection a request.
    """

    name = "analytics-android-4.11.3"
    json = Dialect(numbers.java, "\u2028\u2029", lone="?")
    header, chunk = 10, 512

    def event(self, call: Call) -> Event:
        return mobile(call, "analytics-android", "4.11.3")

    def upload(self, batch: list[Event]) -> Answer:
        body = self.body(batch)
        starts = range(self.header, len(body), self.chunk)
        pieces = [body[start : start + self.chunk] for start in starts]
        fields = (
            "Content-Type: application/json",
            "User-Agent: analytics-android/4.11.3",
            "Content-Encoding: gzip",
            "Transfer-Encoding: chunked",
            f"Host: {self.wire.host}",
            "Connection: Keep-Alive",
            "Accept-Encoding: gzip",
        )
        start = head("POST /v1/import", *fields)
        try:
            return self.wire.exchange(start, chunked([body[: self.header], *pieces]))
        finally:
            self.wire.close()
