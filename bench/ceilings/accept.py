"""The least code that keeps the promise of the router's front door: an event that was
answered with 200 is on disk.

One event: parsed, and inserted in a transaction of its own. A batch: each event is
looked at as a track call, those that are known by their messageId are left out, and the
rest is inserted, all in one transaction. It runs in gunicorn with the router's own
settings, and its SQLite has the router's: WAL, synchronous = FULL, and a writer at a
time, behind flock.
"""

import fcntl
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import falcon
import ujson

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (position INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE IF NOT EXISTS unique_events (
    position INTEGER PRIMARY KEY, message_id TEXT UNIQUE, body BLOB
);
"""
INSERT = "INSERT INTO events (body) VALUES (?)"
INSERT_NEW = "INSERT OR IGNORE INTO unique_events (message_id, body) VALUES (?, ?)"

ANSWER = b'{"success": true}'


class Store:
    """A SQLite file."""

    def __init__(self, directory: Path) -> None:
        self.lock = directory / "ceiling.lock"
        self.connection = sqlite3.connect(
            directory / "ceiling.db", isolation_level=None, check_same_thread=False
        )
        with self.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.executescript(SCHEMA)

    def append(self, insert: str, rows: Sequence[tuple[object, ...]]) -> None:
        """On disk when this returns."""
        with self.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(insert, rows)
            self.connection.execute("COMMIT")


class One:
    def __init__(self, store: Store) -> None:
        self.store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = req.bounded_stream.read()
        if not isinstance(ujson.loads(body), dict):
            raise falcon.HTTPBadRequest
        self.store.append(INSERT, [(body,)])
        resp.data = ANSWER


class Batch:
    def __init__(self, store: Store) -> None:
        self.store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        events = ujson.loads(req.bounded_stream.read())["batch"]
        good = [event for event in events if is_track(event)]
        self.store.append(
            INSERT_NEW, [(event["messageId"], ujson.dumps(event)) for event in good]
        )
        resp.data = ANSWER


def is_track(event: object) -> bool:
    return (
        isinstance(event, dict)
        and event.get("type") == "track"
        and isinstance(event.get("event"), str)
        and isinstance(event.get("messageId"), str)
        and isinstance(event.get("userId") or event.get("anonymousId"), str)
        and isinstance(event.get("properties"), dict)
    )


def create_app(store: Store) -> falcon.App:
    app = falcon.App()
    app.add_route("/v1/track", One(store))
    app.add_route("/v1/batch", Batch(store))
    return app


app = create_app(Store(Path.cwd()))
