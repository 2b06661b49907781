"""Dead letters: the deliveries that were given up, as a queue of work.

    given up -> dead -----put back-----> retrying -> delivered or skipped
                 ^ \\-drop-> dropped <-drop-/ |
                 +-------- given up ---------+

A letter that is given up again is the same letter, with one more line of history. Each
step moves the letter and the ledger's counts in one transaction, so that the ledger
adds up at any instant: a letter put back counts as `retrying`, which is pending.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from router import codec
from router.events import user_key
from router.log import Record
from router.store import Database
from router.timestamps import parse

DEAD, RETRYING, DROPPED = "dead", "retrying", "dropped"
OPEN = (DEAD, RETRYING)

# The state of what the log no longer had when the destination came to it, and codes of
# it: older than the retention; lost, with a file of the log.
EXPIRED, MISSING = "expired", "missing"

# A letter that a script retries all day keeps its first line and its last ones.
LONGEST_HISTORY = 100
# Milliseconds for which a letter is kept once it is delivered, skipped or dropped.
KEPT_CLOSED = 7 * 24 * 3600 * 1000


@dataclass(frozen=True)
class DeadLetter:
    """A delivery that was given up, and what became of it.

    died_at, and closed_at when no more is to be done for it, in milliseconds since the
    epoch. history: what befell it, in order: at, state, code and reason. replay: the id
    of the replay that it was given up in, or 0.
    """

    destination: str
    partition: int
    offset: int
    source: str
    message_id: str
    code: str
    reason: str
    problems: Sequence[str]
    detail: str
    attempts: int
    died_at: int
    body: bytes
    id: int | None = None
    state: str = DEAD
    closed_at: int | None = None
    history: Sequence[Mapping[str, Any]] = ()
    replay: int = 0

    @property
    def event(self) -> Any:
        """The event that was not delivered; None for one that was dropped."""
        return codec.unpack(self.body)

    @property
    def record(self) -> "Retried":
        """Its event, for its lane to try again."""
        place = (self.partition, self.offset, self.source, self.message_id)
        said = parse(self.event.get("receivedAt"))
        received_at = self.died_at if said is None else said
        return Retried(*place, received_at, self.body, self)


@dataclass
class Retried(Record):
    """The event of a letter that was put back to work."""

    letter: DeadLetter


@dataclass(frozen=True)
class Alike:
    """How many open letters of a destination have one code and reason; newest: the id
    of the last of them."""

    destination: str
    code: str
    reason: str
    count: int
    first: int
    last: int
    newest: int


NAMES = [field.name for field in fields(DeadLetter)]
IN_CONTENTS = ("detail", "body")
IN_LETTERS = [name for name in NAMES if name not in IN_CONTENTS]
BOTH = "dead_letters LEFT JOIN letter_contents USING (id)"
LETTERS = f"SELECT {', '.join(NAMES)} FROM {BOTH}"
INSERT = (
    f"INSERT INTO dead_letters ({', '.join(IN_LETTERS)}) "
    f"VALUES ({', '.join('?' * len(IN_LETTERS))})"
)
# Of a destination, if any was put back.
ANY_RETRYING = "SELECT 1 FROM dead_letters WHERE destination = ? AND state = 'retrying'"


class Letters:
    """The dead letters in the ledger's database. All methods raise
    StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(
        self,
        destination: str | None = None,
        *,
        letter_id: int | None = None,
        message_id: str | None = None,
        code: str | None = None,
        state: str | None = None,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Dead letters that match all that is given, newest first."""
        where, values = _where(
            destination=destination, id=letter_id, message_id=message_id, code=code,
            state=state,
        )  # fmt: skip
        query = f"{LETTERS} WHERE {where} ORDER BY id DESC LIMIT ?"
        return [_from_row(row) for row in self._db.rows(query, *values, limit)]

    def alike(self, destination: str | None = None) -> list[Alike]:
        """The dead letters that nobody has seen to, by destination, code and reason."""
        where, values = _where(destination=destination, state=DEAD)
        columns = "destination, code, reason"
        numbers = "count(*), min(died_at), max(died_at), max(id)"
        query = f"SELECT {columns}, {numbers} FROM dead_letters"
        rows = self._db.rows(f"{query} WHERE {where} GROUP BY {columns}", *values)
        return [Alike(*row) for row in rows]

    def dead(
        self, destination: str | None = None, code: str | None = None
    ) -> list[tuple[int, str]]:
        """Ids and reasons of dead letters, in the order of the log."""
        where, values = _where(destination=destination, code=code, state=DEAD)
        query = f"SELECT id, reason FROM dead_letters WHERE {where}"
        ordered = f"{query} ORDER BY destination, partition, offset"
        return [(n, reason) for n, reason in self._db.rows(ordered, *values)]

    def put_back(
        self, ids: Sequence[int], now: int, body: bytes | None = None
    ) -> list[int]:
        """Puts dead letters back to work; the ids of those that were dead.

        now: in milliseconds. body: of the event that is to be sent instead.
        """
        said = "" if body is None else "with another event"
        entry = {"at": now, "state": RETRYING, "code": RETRYING, "reason": said}
        columns = {"state": RETRYING} | ({} if body is None else {"body": body})
        return self._move(ids, (DEAD,), columns, entry)

    def drop(self, ids: Sequence[int], now: int, note: str) -> list[int]:
        """Closes letters that are dead or retrying, which are never sent then; the ids
        of those that were. Their events and details are not kept, to make room."""
        columns = {"state": DROPPED, "code": DROPPED, "reason": note}
        entry = {"at": now, **columns}
        return self._move(ids, OPEN, columns | {"closed_at": now}, entry)

    def retrying(
        self,
        destination: str,
        partition: int,
        offset: int,
        limit: int,
        max_bytes: int,
        users: Collection[str] | None = None,
    ) -> list[Retried]:
        """What a lane is to try again, from an offset on, in the order of the log: at
        most `limit` events, and no more once their bodies reach `max_bytes`.

        users: the user keys of those whose events are wanted; none given: of all.
        """
        records: list[Retried] = []
        size = 0
        index, where = "dead_letters_retrying", "destination = ? AND partition = ?"
        values: list[Any] = [destination, partition]
        if users is not None:
            index = "dead_letters_retrying_of"
            where += " AND user_key IN (SELECT value FROM json_each(?))"
            values.append(_dumped(list(users)))
        where += " AND offset >= ? AND state = 'retrying' ORDER BY offset LIMIT ?"
        # Left to itself SQLite walks through the letters of all, for lack of figures.
        found = f"SELECT id FROM dead_letters INDEXED BY {index} WHERE {where}"
        query = f"{LETTERS} WHERE id IN ({found})"
        values += [offset, limit]
        with self._db.read() as connection:
            for row in connection.execute(f"{query} ORDER BY offset", values):
                records.append(_from_row(row).record)
                size += len(records[-1].body)
                if size >= max_bytes:
                    break
        return records

    def settle(self, letters: Iterable[DeadLetter], now: int) -> None:
        """What became of letters that were retrying: each as it is now.

        One that was dropped meanwhile stays so.
        """
        with self._db.write() as connection:
            for one in letters:
                changing = ("state", "code", "reason", "detail", "attempts", "died_at")
                columns = {name: getattr(one, name) for name in changing}
                entry = {"at": now, **{name: columns[name] for name in changing[:3]}}
                columns |= {"problems": _dumped(one.problems)}
                columns |= {"closed_at": one.closed_at}
                _move(connection, one.id, (RETRYING,), columns, entry)

    def _move(
        self,
        ids: Sequence[int],
        states: Sequence[str],
        columns: Mapping[str, Any],
        entry: Mapping[str, Any],
    ) -> list[int]:
        with self._db.write() as connection:
            moved = [n for n in ids if _move(connection, n, states, columns, entry)]
        # Nobody would do again what was asked for, and a power cut has undone.
        self._db.sync()
        self._db.sign.change()
        return moved


def insert(connection: sqlite3.Connection, letters: Iterable[DeadLetter]) -> None:
    """Adds new letters, in the caller's transaction."""
    for one in letters:
        letter_id = connection.execute(INSERT, _to_row(one)).lastrowid
        contents = (letter_id, one.detail, one.body)
        connection.execute("INSERT INTO letter_contents VALUES (?, ?, ?)", contents)


def add_counts(
    connection: sqlite3.Connection,
    destination: str,
    partition: int,
    counts: Mapping[tuple[str, str], int],
) -> None:
    """Adds to how many events there are by (state, code), in the caller's
    transaction."""
    connection.executemany(
        "INSERT INTO counts VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET number = number + excluded.number",
        [(destination, partition, *key, n) for key, n in counts.items()],
    )


def _move(
    connection: sqlite3.Connection,
    letter_id: int | None,
    states: Sequence[str],
    columns: Mapping[str, Any],
    entry: Mapping[str, Any],
) -> bool:
    """Gives a letter that is in one of these states its new columns, a line of history,
    and its new place in the counts; whether it was."""
    names = "destination, partition, state, code, replay, body"
    query = f"SELECT {names} FROM {BOTH} WHERE id = ?"
    found = connection.execute(query, (letter_id,)).fetchone()
    if found is None or found[2] not in states:
        return False
    destination, partition, state, code, replay, body = found
    if columns["state"] == RETRYING:
        columns = {**columns, "user_key": user_key(codec.unpack(body))}
    contents = {name: columns[name] for name in IN_CONTENTS if name in columns}
    rest = {name: value for name, value in columns.items() if name not in contents}
    full = "json_array_length(history) >= ?"
    lines = f"CASE WHEN {full} THEN json_remove(history, '$[1]') ELSE history END"
    history = f"history = json_insert({lines}, '$[#]', json(?))"
    connection.execute(
        f"UPDATE dead_letters SET {_sets(rest)}, {history} WHERE id = ?",
        (*rest.values(), LONGEST_HISTORY, _dumped(entry), letter_id),
    )
    if columns["state"] == DROPPED:
        connection.execute("DELETE FROM letter_contents WHERE id = ?", (letter_id,))
    elif contents:
        update = f"UPDATE letter_contents SET {_sets(contents)} WHERE id = ?"
        connection.execute(update, (*contents.values(), letter_id))
    name = account(destination, replay)
    now = _counted_as(columns["state"], columns.get("code", ""))
    add_counts(connection, name, partition, {_counted_as(state, code): -1})
    add_counts(connection, name, partition, {now: 1})
    return True


def account(destination: str, replay: int = 0) -> str:
    """The name in the ledger of a destination, or of a replay to it; no destination of
    conf.d has a # in its name."""
    return f"{destination}#{replay}" if replay else destination


def _counted_as(state: str, code: str) -> tuple[str, str]:
    """As what the ledger counts a letter."""
    if state == DROPPED:
        return DEAD, DROPPED
    if state == RETRYING:
        return RETRYING, RETRYING
    return (EXPIRED, EXPIRED) if code == EXPIRED else (state, code)


def _where(**wanted: Any) -> tuple[str, list[Any]]:
    given = {name: value for name, value in wanted.items() if value is not None}
    return " AND ".join(f"{name} = ?" for name in given) or "1", list(given.values())


def _sets(columns: Iterable[str]) -> str:
    return ", ".join(f"{name} = ?" for name in columns)


def _dumped(value: Any) -> str:
    return codec.dumps(value).decode()


def _to_row(letter: DeadLetter) -> tuple[Any, ...]:
    names = ("state", "code", "reason")
    born = {"at": letter.died_at, **{name: getattr(letter, name) for name in names}}
    texts = {"problems": _dumped(list(letter.problems)), "history": _dumped([born])}
    values = vars(letter) | texts
    return tuple(values[name] for name in IN_LETTERS)


def _from_row(row: Sequence[Any]) -> DeadLetter:
    letter = DeadLetter(*row)
    problems, history = map(codec.loads, (str(letter.problems), str(letter.history)))
    letter = replace(letter, problems=problems, history=history)
    if letter.body is None:  # it was dropped
        return replace(letter, detail="", body=b"null")
    return letter
