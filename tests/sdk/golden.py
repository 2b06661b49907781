"""What arrived, as text that is the same at every run, and the files it is compared
with: golden/NAME.json."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"

TIMES = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
UTC_MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
EPOCH_MILLISECONDS = re.compile(r"\b1\d{12}\b")
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True)
class Run:
    """When a client ran, and against which address."""

    url: str
    began: datetime
    ended: datetime

    def spans(self, time: datetime) -> bool:
        # Clients may cut off what is below a millisecond, or a second.
        return self.began - timedelta(seconds=1) <= time <= self.ended

    def spans_milliseconds(self, number: int) -> bool:
        began = self.began.timestamp() * 1000
        return began - 1000 <= number <= self.ended.timestamp() * 1000


def text(events: Iterable[Mapping[str, Any]], run: Run) -> str:
    """The events as JSON: a user's in their order, volatile values as placeholders."""
    by_user = sorted(
        events, key=lambda event: event.get("anonymousId") or event["userId"]
    )
    settled = [_settled(event, run) for event in by_user]
    return json.dumps(settled, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _settled(event: Mapping[str, Any], run: Run) -> Any:
    """The event with a placeholder for each value that changes from run to run.

    Only a value that is right gets one: a time must be within the run, and `timestamp`
    be exactly receivedAt - (sentAt - originalTimestamp); anything else stays as it is.
    """
    for name in TIMES:
        assert UTC_MILLISECONDS.fullmatch(event[name]), (name, event[name])
    at = {name: datetime.fromisoformat(event[name]) for name in TIMES}
    assert run.spans(at["receivedAt"]), event["receivedAt"]
    settled = _replaced(event, run)
    if at["timestamp"] == at["receivedAt"] - (at["sentAt"] - at["originalTimestamp"]):
        settled["timestamp"] = "<corrected>"
    return settled


def _replaced(value: Any, run: Run) -> Any:
    if isinstance(value, Mapping):
        return {name: _replaced(member, run) for name, member in value.items()}
    if isinstance(value, list):
        return [_replaced(item, run) for item in value]
    if isinstance(value, int) and run.spans_milliseconds(value):
        return "<ms>"
    if not isinstance(value, str):
        return value

    def time(match: re.Match[str]) -> str:
        return "<time>" if run.spans(datetime.fromisoformat(match[0])) else match[0]

    def milliseconds(match: re.Match[str]) -> str:
        return "<ms>" if run.spans_milliseconds(int(match[0])) else match[0]

    if len(value) > 200:
        digest = sha256(value.encode()).hexdigest()
        return f"<{len(value)} characters, sha256 {digest[:16]}>"
    value = value.replace(run.url, "<router>")
    value = UUID.sub("<uuid>", TIME.sub(time, value))
    return EPOCH_MILLISECONDS.sub(milliseconds, value)
