"""Rules for what a partner's answer, or the lack of one, leads to."""

import gzip
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest

from router import codec
from router.errors import Misconfigured, Outcome, Partial, Rejected, Retry, TooLarge
from router.testing.kit import Expected, Kit, applies, networked
from router.testing.scripted import CLOSE, RESET, Script, answer, drip, scripted
from router.testing.trial import attempt, fail, words

# The outcome of each status, as `router.client.verdict` gives it, and why.
STATUSES: dict[int, tuple[Expected, str]] = {
    200: (None, "the partner took it"),
    202: (None, "the partner took it, and does the rest later"),
    207: (None, "a partner that tells of each event says so in its body"),
    400: (Rejected, "the event is at fault: a dead letter, and the next one goes out"),
    401: (Misconfigured, "every event would fail alike: hold them, lose none"),
    403: (Misconfigured, "every event would fail alike: hold them, lose none"),
    404: (Misconfigured, "the address is wrong, and with it every event"),
    408: (Retry, "the partner was slow, which passes"),
    409: (Rejected, "the event is at fault: a dead letter, and the next one goes out"),
    413: (TooLarge, "the request is over the limit: the router halves the batch"),
    422: (Rejected, "the event is at fault: a dead letter, and the next one goes out"),
    429: (Retry, "the partner asks for time"),
    500: (Retry, "the partner is unwell, which passes"),
    503: (Retry, "the partner is unwell, which passes"),
}

REDIRECTS = (301, 302, 303, 307, 308)

VERDICT = "hand the response to router.client.verdict"
SESSION = (
    "call the partner through the `client` that deliver gets, a router.client.Session, "
    "and let what it raises pass"
)
SHORT = "300ms"
ASKED = 600


def name_of(expected: Expected) -> str:
    return "nothing raised (taken)" if expected is None else expected.__name__


def statuses(kit: type[Kit]) -> list[int]:
    """Those of the table, and those of which the plugin has something to say."""
    return sorted(STATUSES.keys() | kit.outcomes.keys())


def expected_of(kit: Kit | type[Kit], status: int) -> tuple[Expected, str]:
    if status in kit.outcomes:
        return kit.outcomes[status], "`outcomes` says so"
    return STATUSES[status]


def forms(kit: type[Kit]) -> list[str]:
    """The forms in which the partner asks for time."""
    own = ["own"] if kit.retry_answer is not Kit.retry_answer else []
    return (["seconds", "date"] if expected_of(kit, 429)[0] is Retry else []) + own


def waits_when_asked(kit: type[Kit]) -> bool:
    return kit.network and bool(forms(kit))


class AnswerRules(Kit):
    """Each answer has one right outcome, which decides over waiting, dead letter or
    hold."""

    def _outcome(self, directory: Path, script: Script, **more: Any) -> Any:
        """What the plugin makes of a partner that does this."""
        with self.trial(directory, script) as trial:
            destination = trial.destination(**more)
            _, delivery = self.sent(destination)[0]
            outcome = attempt(destination, [delivery])
            if not trial.partner.requests:
                fail(
                    "deliver", "a request to {partner}", f"none, but {words(outcome)}",
                    "send what payloads hold to the address that the settings give",
                )  # fmt: skip
            return outcome

    def _judge(
        self, what: str, outcome: Any, right: Expected, why: str, mend: str
    ) -> None:
        is_right = outcome is None if right is None else type(outcome) is right
        if not is_right:
            fail(what, f"{name_of(right)} ({why})", words(outcome), mend)

    @applies(networked)
    def test_status(self, status: int, tmp_path: Path) -> None:
        """A status has its one outcome: taken, wait, dead letter, halve or hold."""
        body = self.taken[1] if status < 300 else {"message": "no"}
        outcome = self._outcome(tmp_path, self.said(status, body))
        right, why = expected_of(self, status)
        came = None if outcome is None else type(outcome).__name__
        mend = VERDICT if status not in self.outcomes else "read it as `outcomes` says"
        if not isinstance(outcome, Partial):
            mend += (
                "; or, if this partner means something else by it, say in the test "
                f"class: outcomes = {{{status}: {came}}}"
            )
        if not isinstance(outcome, Outcome | None):
            mend = "read an answer so that one of another shape is no bug"
        self._judge(f"answer {status}", outcome, right, why, mend)

    @applies(waits_when_asked)
    def test_retry_after(self, form: str, tmp_path: Path) -> None:
        """What the partner asks for, by Retry-After in seconds or as a date, or in its
        own way, is how long the router waits."""
        made = self.retry_answer if form == "own" else super().retry_answer
        status, body, *more = made(ASKED)
        headers = dict(more[0]) if more else {}
        if form == "date":
            headers["Retry-After"] = formatdate(time() + ASKED, usegmt=True)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        outcome = self._outcome(tmp_path, self.said(status, body, *lines))
        after = getattr(outcome, "after", None)
        # An instant is written in whole seconds, and was a while ago when it is read.
        is_near = ASKED / 2 < (after or 0) <= ASKED + 1
        if not (after == ASKED if form == "seconds" else is_near):
            told = ", ".join([*lines, *([str(body)] if form == "own" else [])])
            fail(
                f"answer {status} with {told}",
                f"Retry with after = {ASKED}, the seconds until then (the router waits "
                "so long with all events of the destination)",
                f"{words(outcome)}, after = {after}",
                "give Retry as `after` the seconds that the partner asks for; mind "
                "their unit" if form == "own" else
                f"{VERDICT}; or give Retry what router.retry.retry_after reads",
            )  # fmt: skip

    @applies(networked)
    def test_timeout(self, tmp_path: Path) -> None:
        """A partner that says nothing is tried again when `timeout` has passed."""
        outcome = self._outcome(tmp_path, (60.0,), timeout=SHORT)
        self._judge("no answer", outcome, Retry, "it may have been taken", SESSION)

    @applies(networked)
    def test_slow_drip(self, tmp_path: Path) -> None:
        """`timeout` is for the whole call: an answer that drips on after it is none."""
        slow = list(drip(self.yes(), 0.03))
        outcome = self._outcome(tmp_path, slow, timeout=SHORT)
        why = f"a whole call ends at `timeout`, here {SHORT}"
        mend = f"{SESSION}: the timeout of requests counts each read, not the call"
        self._judge("an answer byte by byte", outcome, Retry, why, mend)

    @applies(networked)
    def test_reset(self, tmp_path: Path) -> None:
        """A connection that the partner breaks off is tried again."""
        outcome = self._outcome(tmp_path, (RESET,))
        self._judge("a reset", outcome, Retry, "the network is unwell", SESSION)

    @applies(networked)
    def test_half_a_body(self, tmp_path: Path) -> None:
        """An answer that ends within its body is none, whatever its status."""
        whole = self.said(200, {"message": "as long as it takes"})
        outcome = self._outcome(tmp_path, (whole[:-9], CLOSE))
        self._judge("half an answer", outcome, Retry, "the rest may say no", SESSION)

    @applies(networked)
    @pytest.mark.parametrize("status", REDIRECTS)
    def test_redirect(self, status: int, tmp_path: Path) -> None:
        """A redirect is not followed, and nothing is sent to where it leads: it holds
        the destination, whose address is wrong."""
        with scripted(self.yes()) as elsewhere:
            moved = answer(f"{status} Moved", f"Location: {elsewhere.url}/there")
            outcome = self._outcome(tmp_path, moved)
            if elsewhere.requests:
                fail(
                    f"answer {status}", "no request to where it leads",
                    "one, with " + ", ".join(sorted(elsewhere.requests[0].headers)),
                    f"{SESSION}; it follows none, which would resend credentials",
                )  # fmt: skip
        why = "the address in the settings is wrong"
        self._judge(f"answer {status}", outcome, Misconfigured, why, VERDICT)

    @applies(networked)
    def test_gzip(self, tmp_path: Path) -> None:
        """An answer in gzip is read as any other."""
        status, body = self.taken
        said = answer(
            f"{status} Said", "Content-Type: application/json",
            "Content-Encoding: gzip", body=gzip.compress(codec.dumps(body)),
        )  # fmt: skip
        outcome = self._outcome(tmp_path, said)
        mend = "read the answer by response.content or .json(), which inflate it"
        why = "the partner took it, and says so in gzip"
        self._judge(f"answer {status} in gzip", outcome, None, why, mend)
