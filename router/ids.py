"""Which events the log does not have yet, by their message ids.

The index says where an event with such an id may be; the event there says whether it is
of the same source, and when it was received.
"""

from collections.abc import Callable, Sequence

from router.errors import StorageUnavailable
from router.events import Accepted
from router.id_files import entry_of
from router.id_index import IdIndex, OpenIndex, parts_of
from router.segments import Segments


class Dedupe:
    """Tells which events the log does not have yet. window: milliseconds for which a
    source's message id stands for one event."""

    def __init__(self, segments: Segments, index: IdIndex, window: int) -> None:
        self._segments, self._index, self._window = segments, index, window

    def new(
        self,
        index: OpenIndex,
        events: Sequence[Accepted],
        at: int,
        partition_of: Callable[[str], int],
    ) -> Sequence[Accepted]:
        """The events without the duplicates, by partition (of a user key). They are in
        the index when this returns: at the places from `at` on."""
        unique: dict[tuple[str, str], Accepted] = {}
        for event in events:
            unique.setdefault((event.source, event.message_id), event)
        ids = [message_id for _, message_id in unique]
        hashes = dict(zip(unique, index.hashes(ids), strict=True))
        taken = self._taken(index, hashes, events)
        new: list[Accepted] = []
        entries: list[bytes] = []
        instead: dict[bytes, bytes] = {}
        by_partition = sorted(
            unique.items(), key=lambda item: partition_of(item[1].user_key)
        )
        for key, event in by_partition:
            place, received_at = taken.get(key, (0, 0))
            # Of those with one id each came a window after the one before.
            if place and received_at > event.received_at - self._window:
                continue
            entries.append(entry_of(hashes[key], at + len(new)))
            if place:
                # It will not be asked for again; so an id has one entry, not a row.
                instead[entries[-1]] = entry_of(hashes[key], place)
            new.append(event)
        if new:
            index.add(entries, max(event.received_at for event in new), instead)
        return new

    def _taken(
        self,
        index: OpenIndex,
        hashes: dict[tuple[str, str], bytes],
        events: Sequence[Accepted],
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """The place of the newest event with the id of each, and when it was received,
        as far as that can matter."""
        since = min((event.received_at for event in events), default=0) - self._window
        found = index.places(set(hashes.values()), since)
        taken = {}
        for key, hash_ in hashes.items() if found else ():
            for place in sorted(found.get(hash_, ())):
                event = self._event(place)
                if event and event[:2] == key:
                    taken[key] = (place, event[2])
        return taken

    def _event(self, place: int) -> tuple[str, str, int] | None:
        """Source, message id and instant of the event at a place, if there is one."""
        number, position = parts_of(place)
        segment = self._segments.numbered(number)
        if segment is None:
            return None
        try:
            return segment.event_at(position)
        except StorageUnavailable as error:
            # Rather an event twice than none.
            self._index.report(error)
            return None
