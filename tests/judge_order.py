"""What must hold at each call to a partner, at the end of each lane, and in the end.

Of a user and a destination:

* A call with an event of the log begins when each earlier one has had its end in the
  same life of the lane: committed, taken, or refused for good while alone. So the
  partner sees no event for the first time after a later one, and what is repeated is
  repeated from its beginning on, in order.
* One call at a time is under way.
* Letters that were put back go in the order of the log, and before all events of the
  log that were not in the window under way when they were.

Of a lane: what was committed is never sent again. What was taken and is not committed
when it ends, which will be repeated, is one batch for each stream, at most; after a
stop it is only what stands after something that was not taken.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from moody import (
    DELIVERED,
    MAPPING_BUG,
    REFUSED,
    TAKEN,
    UNDER_WAY,
    UNSENT,
    Call,
    Client,
)

from router.ledger import Ledger, surplus
from router.letters import DeadLetter

# How an event ended in the life of a lane; or may have, as what was given up looks the
# same to the partner as what waits.
REFUSED_FOR_GOOD, PERHAPS = "refused", "perhaps"
FOR_GOOD = {code for _, code in REFUSED.values()}
EVERYTHING = (10_000, 1 << 30)


@dataclass(frozen=True)
class Placed:
    """An event and where the log has it."""

    id: str
    user: str
    partition: int
    offset: int
    kind: str

    @property
    def is_sent(self) -> bool:
        """Whether it has a payload, for certain."""
        return self.kind not in UNSENT and self.kind != MAPPING_BUG


@dataclass
class Life:
    """Of a lane, from its start to its end. calls: with each event, in order. attempts:
    before an event is given up."""

    began: int
    attempts: int
    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))

    def end_of(self, event_id: str, since: int = 0) -> str:
        """TAKEN, REFUSED_FOR_GOOD or PERHAPS; empty when it is to be tried again. Only
        calls from a number on count."""
        calls = [call for call in self.calls.get(event_id, ()) if call.number >= since]
        how = calls[-1].ended if calls else ""
        if how == TAKEN or not calls or len(calls[-1].ids) > 1:
            return TAKEN * (how == TAKEN)
        if how in ("rejected", "event_too_large"):
            return REFUSED_FOR_GOOD
        failures = sum(call.ended == how for call in calls)
        is_given_up = how == "retries_exhausted" and failures >= self.attempts
        return PERHAPS if is_given_up or how == "plugin_error" else ""


@dataclass
class PutBack:
    """Of a letter. order: which were together, and which later. calls: how many there
    had been. overtook: which events of the log of its user were in a call since."""

    order: int
    calls: int
    overtook: set[str] = field(default_factory=set)


class Judge:
    """Of one destination, whose events are given up after so many attempts."""

    def __init__(
        self, name: str, ledger: Ledger, attempts: int, violations: list[str]
    ) -> None:
        self._name, self._ledger, self._attempts = name, ledger, attempts
        self._violations = violations
        self.repeats = 0
        self.events: dict[str, Placed] = {}
        self._of_user: dict[str, list[Placed]] = defaultdict(list)
        self._lives: dict[int, Life] = {}
        self._calls: list[Call] = []
        self._of_letters: set[int] = set()  # numbers of calls
        self._put_back: dict[str, PutBack] = {}
        self._order = count()

    def placed(self, event: Placed) -> None:
        self.events[event.id] = event
        self._of_user[event.user].append(event)

    def put_back(self, ids: Iterable[str]) -> None:
        now = next(self._order), len(self._calls)
        self._put_back |= {one: PutBack(*now) for one in ids}

    def lane_began(self, partition: int) -> None:
        if partition in self._lives:
            self._object(None, f"two lanes read partition {partition}")
        self._lives[partition] = Life(len(self._calls), self._attempts)

    def is_alive(self, partition: int) -> bool:
        return partition in self._lives

    def call_began(self, call: Call) -> None:
        events = [self.events[one] for one in call.ids]
        partition = events[0].partition
        committed = self._ledger.offsets(self._name)[partition][1]
        retrying = self._retrying(partition)
        are_letters = {one.offset < committed for one in events}
        if len(are_letters) > 1:
            self._object(call, "letters and events of the log in one call")
        if are_letters == {True}:
            self._of_letters.add(call.number)
        by_user: dict[str, list[Placed]] = defaultdict(list)
        for event in events:
            by_user[event.user].append(event)
        for user, mine in by_user.items():
            self._check_one_at_a_time(call, user)
            if [one.offset for one in mine] != sorted(one.offset for one in mine):
                self._object(call, f"{user} out of order within a call")
            if are_letters == {True}:
                self._check_letters(call, mine, retrying)
            else:
                self._check_log(call, mine, committed, retrying)
        self._calls.append(call)
        for one in call.ids:
            self._lives[partition].calls[one].append(call)

    def _retrying(self, partition: int) -> list[str]:
        if not self._put_back:
            return []
        lane = (self._name, partition)
        found = self._ledger.letters.retrying(*lane, 0, *EVERYTHING)
        return [one.message_id for one in found]

    def _check_one_at_a_time(self, call: Call, user: str) -> None:
        for other in self._calls[-50:]:
            users = {self.events[one].user for one in other.ids}
            if other.ended == UNDER_WAY and user in users:
                self._object(call, f"{user} is in call {other.number} too")

    def _check_log(
        self, call: Call, mine: Sequence[Placed], committed: int, retrying: list[str]
    ) -> None:
        life = self._lives[mine[0].partition]
        for one in self._of_user[mine[0].user]:
            is_between = committed <= one.offset < mine[-1].offset
            is_passed = is_between and one.is_sent and one not in mine
            if is_passed and not life.end_of(one.id):
                self._object(call, f"overtakes {one.id}")
        for letter in retrying:
            if self.events[letter].user != mine[0].user:
                continue
            put_back = self._put_back[letter]
            put_back.overtook |= {one.id for one in mine}
            most = call.client.settings.batch_events
            if life.began > put_back.calls or len(put_back.overtook) > most:
                self._object(call, f"overtakes the letter {letter}")

    def _check_letters(
        self, call: Call, mine: Sequence[Placed], retrying: list[str]
    ) -> None:
        life = self._lives[mine[0].partition]
        for one in mine:
            if one.id not in retrying:
                self._object(call, f"{one.id} had been settled")
                return
        order = self._put_back[mine[-1].id].order
        for letter in retrying:
            other = self.events[letter]
            is_before = other.user == mine[0].user and other.offset < mine[-1].offset
            if (
                is_before
                and other.is_sent
                and other not in mine
                and self._put_back[letter].order <= order
                and not life.end_of(letter, self._since(letter))
            ):
                self._object(call, f"overtakes {letter}, both as letters")

    def lane_ended(self, partition: int, *, is_killed: bool) -> None:
        life = self._lives.pop(partition, Life(0, 0))
        committed = self._ledger.offsets(self._name)[partition][1]
        retrying = self._retrying(partition)
        again: dict[Client, list[str]] = defaultdict(list)
        for one, calls in life.calls.items():
            is_open = self.events[one].offset >= committed or one in retrying
            call = calls[-1]
            if is_open and life.end_of(one, self._since(one)) == TAKEN:
                again[call.client].append(one)
                self.repeats += 1
                behind = self._is_behind(one, life, committed, retrying)
                if not is_killed and not behind:
                    self._object(call, f"{one} was taken and not committed at a stop")
        for client, ids in again.items():
            calls = [life.calls[one][-1] for one in ids]
            last = max(calls, key=lambda call: call.number)
            only = client.settings.concurrency == 1
            if len(ids) > client.settings.batch_events:
                self._object(last, f"more than a batch will be repeated: {ids}")
            if only and not set(ids) <= set(last.ids):
                self._object(last, f"more than the last call will be repeated: {ids}")

    def _is_behind(
        self, event_id: str, life: Life, committed: int, retrying: list[str]
    ) -> bool:
        """Whether it stands after something of its window that has not had its end."""
        event = self.events[event_id]
        are_letters = event_id in retrying
        return any(
            life.end_of(one.id, self._since(one.id)) in ("", PERHAPS)
            for one in self.events.values()
            if one.partition == event.partition and one.offset < event.offset
            if (one.id in retrying if are_letters else one.offset >= committed)
        )

    def _since(self, event_id: str) -> int:
        """The number of the first call that can be for it, as a letter if it is one."""
        put_back = self._put_back.get(event_id)
        return put_back.calls if put_back else 0

    def _object(self, call: Call | None, what: str) -> None:
        self._violations.append(f"{call or self._name}: {what}")

    def conclude(self, heads: Mapping[int, int]) -> None:
        """Looks at what has become of everything, once all lanes are at rest."""
        offsets, counts = self._ledger.balance(self._name)
        if {n: offset for n, (_, offset) in offsets.items()} != heads:
            self._object(None, f"comes to no end: {offsets}, the log: {heads}")
            return
        if surplus(offsets, counts) or counts.total() != len(self.events):
            self._object(None, f"does not add up: {offsets} {counts}")
        letters = {
            letter.message_id: letter
            for letter in self._ledger.dead_letters(self._name, limit=10_000)
        }
        fates = {
            one.id: self._fate(one, letters.get(one.id)) for one in self.events.values()
        }
        if Counter(fates.values()) != +counts:
            self._object(None, f"counted {counts}, should be {Counter(fates.values())}")
        self._check_first_sights()

    def _fate(self, event: Placed, letter: DeadLetter | None) -> tuple[str, str]:
        """What has become of an event, which the partner must explain."""
        calls = [call for call in self._calls if event.id in call.ids]
        how = calls[-1].ended if calls else None
        fate = DELIVERED if letter is None else (letter.state, letter.code)
        if letter is None and event.kind in UNSENT:
            fate = UNSENT[event.kind]
        if event.kind in UNSENT:
            is_explained = fate == UNSENT[event.kind] and not calls
        elif fate == DELIVERED:
            is_explained = how == TAKEN
        elif event.kind == MAPPING_BUG and not calls:
            is_explained = fate == ("dead", "plugin_error")
        else:
            is_alone = bool(calls) and len(calls[-1].ids) == 1
            is_explained = is_alone and fate == ("dead", how)
        if not is_explained:
            self._object(calls[-1] if calls else None, f"{event} is {fate}, was {how}")
        return fate

    def _check_first_sights(self) -> None:
        seen: dict[str, int] = defaultdict(lambda: -1)
        sights: set[str] = set()
        for call in self._calls:
            # What was refused alone had its turn, though it may be taken when repeated.
            is_refused = len(call.ids) == 1 and call.ended in FOR_GOOD
            for one in call.ids if is_refused else call.ids[: call.seen]:
                event = self.events[one]
                is_new = one not in sights and call.number not in self._of_letters
                if is_new and event.offset < seen[event.user]:
                    self._object(call, f"{one} is first seen after a later one")
                sights.add(one)
                if call.number not in self._of_letters:
                    seen[event.user] = max(seen[event.user], event.offset)
