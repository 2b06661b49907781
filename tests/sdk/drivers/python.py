"""Segment's and RudderStack's Python clients: MODULE URL BATCH."""

import json
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from importlib import import_module

CALLS = {
    "userId": "user_id", "anonymousId": "anonymous_id", "messageId": "message_id",
    "groupId": "group_id", "previousId": "previous_id",
}  # fmt: skip


class Size(Enum):
    LARGE = "L"


NATIVE = {
    "datetime": datetime(2024, 2, 29, 12, 0, 0, 123456, timezone(timedelta(hours=5.5))),
    "naive": datetime(2024, 2, 29, 12, 0),
    "date": date(2024, 2, 29),
    "decimal": Decimal("19.99"),
    "tuple": (1, (2, ())),
    "set": {1},
    "bytes": "né".encode(),
    "enum": Size.LARGE,
    "int": -(2**70),
    "float": 1e16,
    1: "a number as key",
    None: "none as key",
}

module, url, batch = sys.argv[1:]
errors = []
client = import_module(f"{module}.client").Client(
    "key",
    host=url,
    upload_size=int(batch),
    upload_interval=0.2,
    on_error=lambda error, events: errors.append(f"{error!r} {len(events)}"),
)
for line in sys.stdin:
    call = json.loads(line)
    if call.get("event") == "Native Values":
        call["properties"] = NATIVE
    if "timestamp" in call:
        call["timestamp"] = datetime.fromisoformat(call["timestamp"]).astimezone(UTC)
    method = getattr(client, call.pop("type"))
    method(**{CALLS.get(name, name): value for name, value in call.items()})
client.shutdown()
sys.exit("\n".join(errors) or None)
