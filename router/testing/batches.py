"""Rules for what goes out over time: whole, in order, in batches within their limits.

The events go through the router's own lanes, from a log on disk.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from router import codec
from router.destination import DELIVERED, Destination
from router.errors import Partial, Rejected, TooLarge
from router.testing.answers import expected_of
from router.testing.kit import Kit, applies, has_batches, networked, tells_partly
from router.testing.marks import Marks
from router.testing.scripted import RESET, Request, Step
from router.testing.trial import Drained, Trial, attempt, fail, prepared, words

# Without batches so many events are sent in a row.
IN_A_ROW = 7
# Bytes by which bodies may differ for what is not of the payloads, as a time in them.
SLACK = 16

# RFC 6839: what ends in +json is JSON. For lines of it there is no standard.
JSON = re.compile(r"(application|text)/(json|[^/]+\+json)")
LINES = "x-ndjson", "ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines"
JSON_LINES = {f"application/{name}" for name in (*LINES, "stream+json")}

ONE_REQUEST = (
    "send all payloads of a call in one request, or none: what was taken before "
    "another fails would be sent again; tell in `other_answer` of requests that "
    "deliver nothing, as for a token"
)


def halves(kit: type[Kit]) -> bool:
    return has_batches(kit) and expected_of(kit, 413)[0] is TooLarge


def refuses(kit: type[Kit]) -> bool:
    """Whether 400 is for what the partner has not taken."""
    return has_batches(kit) and expected_of(kit, 400)[0] in (Rejected, Partial)


def not_as_said(content_type: str, content: bytes) -> str:
    """Why the content is not of that type, if it is one of JSON; or nothing."""
    kind = content_type.partition(";")[0].strip().lower()
    is_lines = kind in JSON_LINES
    if not content or not (is_lines or JSON.fullmatch(kind)):
        return ""
    lines = [line for line in content.splitlines() if line.strip()]
    for part in lines if is_lines else [content]:
        try:
            codec.loads(part)
        except ValueError as error:
            return f"{part.decode(errors='replace'):.300} ({error})"
    return ""


class Run:
    """Events of one kind, and what the partner was sent of them."""

    def __init__(self, kit: Kit, destination: Destination, count: int) -> None:
        self.destination = destination
        self.events = kit.several(destination, count)
        self.deliveries = [prepared(destination, event) for event in self.events]
        self.marks = Marks(self.deliveries)
        self.taken: list[list[int]] = []

    def takes(self, request: Request) -> None:
        """Notes a request that the partner takes."""
        self.taken.append(self.marks.within(request))

    def drained(self, trial: Trial) -> Drained:
        return trial.drain(self.destination, self.events)


class BatchRules(Kit):
    """Each event reaches the partner, after those before it, within the limits."""

    def _run(self, directory: Path, script: Any, **more: Any) -> tuple[Run, Drained]:
        """Lanes deliver to a partner that answers as `script(run, request)` says."""
        runs: list[Run] = []

        def answering(request: Request) -> Iterable[Step]:
            return script(runs[0], request) if runs else [self.yes()]

        with self.trial(directory, answering) as trial:
            destination = trial.destination(**{**self.batch, **more})
            limit = destination.settings.batch_events
            if self.batch and limit < 2:
                fail(
                    "`batch`", "settings with which batch_events is more than 1",
                    f"batch_events = {limit}", 'say `batch = {"batch_events": 5}`',
                )  # fmt: skip
            run = Run(self, destination, 2 * limit + 1 if limit > 1 else IN_A_ROW)
            runs.append(run)
            return run, run.drained(trial)

    @applies(networked)
    def test_events_arrive_whole(self, tmp_path: Path) -> None:
        """What deliver takes without an error is at the partner, every event of it."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination(**self.batch)
            limit = destination.settings.batch_events
            if limit > 1 and not self.batch:
                fail(
                    "`batch`", "settings to try batches with",
                    f"none, and batch_events = {limit}",
                    'say `batch = {"batch_events": 5}` in the test class',
                )  # fmt: skip
            run = Run(self, destination, min(limit, 20))
            outcome = attempt(destination, run.deliveries)
            if outcome is not None:
                fail(
                    f"a batch of {len(run.events)}", "that it is taken", words(outcome),
                    "return when the partner has said yes; say in `taken` what it "
                    "answers, if that is not 200 with {}, and in `other_answer` what "
                    "it says to requests that deliver nothing, as for a token",
                )  # fmt: skip
            sent = {n for one in trial.partner.requests for n in run.marks.within(one)}
            if missing := set(range(len(run.events))) - sent:
                fail(
                    f"a batch of {len(run.events)}", "each payload in a request",
                    f"none for {sorted(missing)}, which count as delivered",
                    "send all of `payloads`, or raise for what is not sent",
                )  # fmt: skip

    @applies(networked)
    def test_body_is_what_it_says(self, tmp_path: Path) -> None:
        """A body that its Content-Type calls JSON is one value, and one that it calls
        JSON lines has a value in each."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination(**self.batch)
            most = destination.settings.batch_events
            attempt(destination, Run(self, destination, min(most, 3)).deliveries)
            for request in trial.partner.requests:
                said = request.headers.get("content-type", "")
                if wrong := not_as_said(said, request.content):
                    fail(
                        f"a body of {said!r}", "what that says", wrong,
                        "join JSON lines with a newline after each, write JSON with "
                        "client.post_json or router.codec.dumps, and give the "
                        "Content-Type that the partner asks for; if it wants just "
                        "this, say `test_body_is_what_it_says = None`",
                    )  # fmt: skip

    @applies(networked)
    def test_order_is_kept(self, tmp_path: Path) -> None:
        """Events arrive in the order in which they were accepted, and once, also when
        the partner fails now and then."""
        attempts: list[int] = []

        def script(run: Run, request: Request) -> Iterable[Step]:
            attempts.append(1)
            if len(attempts) in (2, 5):
                return [RESET]
            run.takes(request)
            return [self.yes()]

        run, drained = self._run(tmp_path, script)
        self._all_are_delivered(run, drained)
        came = [number for taken in run.taken for number in taken]
        if came != list(range(len(run.events))):
            fail(
                "events in a row", "each once, in their order", f"{came}",
                "send `payloads` as they come, in one request of one thread: neither "
                "sorted, nor grouped, nor one by one",
            )  # fmt: skip

    def _all_are_delivered(self, run: Run, drained: Drained) -> None:
        if drained.counts.get((DELIVERED, DELIVERED)) != len(run.events):
            said = [f"{one.code}: {one.reason}" for one in drained.letters[:3]]
            fail(
                f"{len(run.events)} good events", "that all are delivered",
                f"{dict(drained.counts)} {said}",
                "raise Rejected only for what the partner refuses; a batch is sent "
                "again whole, or in halves, with the same payloads",
            )  # fmt: skip

    @applies(has_batches)
    def test_batch_events(self, tmp_path: Path) -> None:
        """A request has at most `batch_events` events, and a batch is one request."""

        def script(run: Run, request: Request) -> Iterable[Step]:
            run.takes(request)
            return [self.yes()]

        run, drained = self._run(tmp_path, script)
        self._all_are_delivered(run, drained)
        limit = run.destination.settings.batch_events
        sizes = [len(taken) for taken in run.taken]
        if sizes != [limit, limit, 1]:
            fail(
                f"{len(run.events)} events with batch_events = {limit}",
                f"requests with {limit}, {limit} and 1", f"requests with {sizes}",
                ONE_REQUEST,
            )  # fmt: skip

    @applies(has_batches)
    def test_batch_bytes(self, tmp_path: Path) -> None:
        """A request has at most `batch_bytes` bytes of payload, and what is added in
        `deliver` does not grow with their number."""
        bodies: list[tuple[list[int], int]] = []

        def script(run: Run, request: Request) -> Iterable[Step]:
            bodies.append((run.marks.within(request), len(request.content)))
            return [self.yes()]

        with self.trial(tmp_path / "size") as trial:
            sized = Run(self, trial.destination(**self.batch), 9).deliveries
        # Room for two; the router counts a comma for each.
        most = 2 * (max(one.size for one in sized) + 1)
        run, drained = self._run(tmp_path, script, batch_bytes=most)
        self._all_are_delivered(run, drained)
        beyond = {
            len(found): size - sum(run.deliveries[n].size for n in found) - len(found)
            for found, size in bodies
        }
        most_events = max(beyond, default=0)
        if most_events != 2 or beyond[2] > beyond.get(1, beyond[2]) + SLACK:
            came = [f"{size} bytes beyond {n} payloads" for n, size in beyond.items()]
            fail(
                f"batches with batch_bytes = {most}",
                "two payloads in a body, and as many bytes around them as around one",
                ", ".join(came) or "no request",
                "shape a payload in the mapping to its last byte, so that its size "
                "counts, and write bodies with client.post_json or router.codec.dumps, "
                "which is how the router measures",
            )  # fmt: skip

    @applies(halves)
    def test_batch_is_halved(self, tmp_path: Path) -> None:
        """A batch that the partner finds too large arrives in smaller ones."""

        def script(run: Run, request: Request) -> Iterable[Step]:
            if len(run.marks.within(request)) > 2:
                return [self.said(413, {"message": "too large"})]
            run.takes(request)
            return [self.yes()]

        run, drained = self._run(tmp_path, script)
        self._all_are_delivered(run, drained)
        came = [number for taken in run.taken for number in taken]
        if sorted(came) != list(range(len(run.events))):
            fail(
                "a batch that is answered with 413", "each event once",
                f"{came}", "send all of `payloads` in one request, raise TooLarge, and "
                "leave halving to the router",
            )  # fmt: skip

    @applies(tells_partly)
    @pytest.mark.parametrize("place", ["first", "middle", "last"])
    def test_partial_answer(self, place: str, tmp_path: Path) -> None:
        """Of a batch with a bad event that one becomes a dead letter, and the others
        are delivered; once, if the partner took them in the same answer."""
        guilty = 0

        def script(run: Run, request: Request) -> Iterable[Step]:
            nonlocal guilty
            limit = run.destination.settings.batch_events
            guilty = {"first": 0, "middle": limit // 2, "last": limit - 1}[place]
            found = run.marks.within(request)
            if guilty not in found:
                run.takes(request)
                return [self.yes()]
            payloads = [run.deliveries[number].payload for number in found]
            status, body = self.partial_answer(found.index(guilty), payloads)
            if status < 300 if self.took_others is None else self.took_others:
                run.taken.append([number for number in found if number != guilty])
            return [self.said(status, body)]

        run, drained = self._run(tmp_path, script)
        what = f"an answer that blames the {place} of a batch"
        self._one_dies(what, guilty, run, drained)

    @applies(refuses)
    def test_batch_is_refused(self, tmp_path: Path) -> None:
        """A batch that the partner refuses with 400, as one event of it is bad, costs
        that event only."""
        guilty = 1

        def script(run: Run, request: Request) -> Iterable[Step]:
            if guilty in run.marks.within(request):
                return [self.said(400, {"message": "no"})]
            run.takes(request)
            return [self.yes()]

        run, drained = self._run(tmp_path, script)
        self._one_dies("answer 400 to a batch with a bad event", guilty, run, drained)

    def _one_dies(self, what: str, guilty: int, run: Run, drained: Drained) -> None:
        right = [f"message-{guilty:04}"]
        dead = [letter.message_id for letter in drained.letters]
        if dead != right:
            fail(
                what, f"a dead letter for {right[0]} alone", f"for {dead or 'none'}",
                "raise Rejected, with the `index` that the partner names, if it does, "
                "counted from 0 in `payloads`; or Partial, where the partner took the "
                "others",
            )  # fmt: skip
        times = _times(run.taken)
        if twice := [number for number in times if times[number] > 1]:
            fail(
                what, "each of the others once", f"{twice} again",
                "send the payloads of a call in one request; and where the partner "
                "took the others of it, raise Partial, as Rejected says that nothing "
                "was taken; if it took none, say `took_others = False`",
            )  # fmt: skip
        if lost := set(range(len(run.events))) - times.keys() - {guilty}:
            fail(
                what, "that the others are at the partner",
                f"that it has not taken {sorted(lost)}, which count as delivered",
                "send all of `payloads`, and raise Rejected with the `index`: Partial "
                "says that the others were taken; if this answer means so, say "
                "`took_others = True`",
            )  # fmt: skip


def _times(taken: Sequence[Sequence[int]]) -> Counter[int]:
    return Counter(number for numbers in taken for number in numbers)
