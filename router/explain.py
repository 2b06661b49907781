"""What each destination would get of an event, byte for byte, or why not.

The same code runs as in a lane, up to the network: there an adapter notes the request
instead of sending it.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import requests
from pydantic import BaseModel, SecretStr
from requests.adapters import BaseAdapter
from requests.utils import requote_uri

from router import codec
from router.destination import PLUGIN_ERROR, Delivery, Destination
from router.errors import InvalidEvent, Unreadable
from router.events import Arrival, accept, new_id
from router.ledger import Ledger
from router.letters import DEAD, DROPPED, RETRYING
from router.log import Record
from router.plugins import describe
from router.settings import DestinationSettings
from router.timestamps import parse

# An event as it stands in a file, and the batch around it.
Sent = tuple[Any, Mapping[str, Any]]

MASK = "***"
PERCENT = re.compile("%[0-9A-F]{2}")

# What there is to say where `deliver` does not come to its end.
ENDED = (
    "a rehearsal answers each request with 200 and {}, and this one ended there; what "
    "would be sent after it, as the events after a token, is not shown"
)

# Where an event stands by the state of its letter.
STATES = {DEAD: "dead", RETRYING: "pending", DROPPED: "dropped"}

# A secret shorter than this may stand in a body, or in a sentence, by chance.
SHORTEST_IN_TEXT = 4

# What of a row somebody has said, be it the partner or the plugin.
SAID = ("reason", "problems", "detail", "history", "raised", "note")

# The last place of a traceback, with its lines of code.
PLACE = re.compile(r'^  File "(.+)", line (\d+).*\n(?: (?! File ).*\n)*', re.MULTILINE)


class Notebook(BaseAdapter):
    """Notes requests, and answers each with an empty 200."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[requests.PreparedRequest] = []

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        self.requests.append(request)
        response = requests.Response()
        response.status_code, response._content = 200, b"{}"
        response.request, response.url = request, request.url
        return response

    def close(self) -> None:
        """There is nothing to close."""


def read_events(text: bytes) -> Iterator[Sent]:
    """Each event of a file, with the batch around it; raises Unreadable."""
    try:
        content = codec.loads(text)
    except ValueError:
        content = [_loads_line(*line) for line in enumerate(text.splitlines(), 1)]
    envelope = content if isinstance(content, dict) and "batch" in content else {}
    found = envelope.get("batch", content)
    for raw in found if isinstance(found, list) else [found]:
        yield raw, envelope


def explain_file(
    destinations: Sequence[Destination],
    sent: Iterable[Sent],
    source: str,
    explained: Callable[[Destination, Record], dict[str, Any]],
) -> list[dict[str, Any]]:
    """The outcomes of events as if this source sent them; received when they say so,
    or else now.

    explained: what makes a row of them, as `explain` does.
    """
    rows = []
    for raw, envelope in sent:
        fields = raw if isinstance(raw, dict) else {}
        said = parse(fields.get("receivedAt"))
        received_at = int(time.time() * 1000) if said is None else said
        try:
            event = accept(raw, source, Arrival(received_at, envelope=envelope), new_id)
        except InvalidEvent as error:
            rows.append(outcome_row(None, fields.get("messageId"), "refused", error))
        else:
            record = Record(0, 0, *event.columns())
            rows += [explained(destination, record) for destination in destinations]
    return rows


def explain(
    destination: Destination, record: Record, ledger: Ledger | None = None
) -> dict[str, Any]:
    """The outcome for one event, with the request if one would be made; with a ledger
    also where it stands, for an event of the log."""
    delivery = destination.prepare(record)
    shown = {} if delivery.state else _rehearsed(destination, delivery)
    outcome = delivery.state or "deliver"
    row = outcome_row(destination.name, record.message_id, outcome, delivery) | shown
    if delivery.detail and delivery.code == PLUGIN_ERROR:
        row["raised"] = raised(delivery.detail)
    row = hidden(row, destination.settings)
    return row | {"state": state(destination.name, record, ledger)} if ledger else row


def raised(detail: str) -> str:
    """What a traceback ends with, for a plugin's author: the class, what the exception
    said, and the file and line."""
    place, said = "", detail
    for found in PLACE.finditer(detail):
        place, said = f" ({found[1]}:{found[2]})", detail[found.end() :]
    return " ".join(said.split()) + place


def state(destination: str, record: Record, ledger: Ledger) -> str:
    """Where an event of the log stands with a destination now."""
    start, offset = ledger.offsets(destination).get(record.partition, (0, 0))
    if record.offset < start:
        return "before its start"
    if record.offset >= offset:
        return "pending"
    letters = ledger.dead_letters(destination, message_id=record.message_id, limit=1)
    return STATES.get(letters[0].state, "passed") if letters else "passed"


def _loads_line(number: int, line: bytes) -> Any:
    try:
        return codec.loads(line)
    except ValueError as error:
        raise Unreadable(f"line {number} is no JSON: {error}") from None


def outcome_row(
    destination: str | None, message_id: Any, outcome: str, why: Any
) -> dict[str, Any]:
    """What `explain` and `dead-letters` print of one event."""
    return {
        "destination": destination,
        "messageId": message_id,
        "outcome": outcome,
        "code": why.code or outcome,
        "reason": why.reason,
        "problems": list(getattr(why, "problems", ())),
        "changes": list(getattr(why, "changes", ())),
    }


def _rehearsed(destination: Destination, delivery: Delivery) -> dict[str, Any]:
    """What would be sent; or the delivery has failed before."""
    notebook, note = Notebook(), dict[str, str]()
    try:
        client = destination.connect()
        if not destination.uses_client or not isinstance(client, requests.Session):
            # It would deliver by other means.
            return {"payload": delivery.payload}
        client.adapters.clear()
        for scheme in ("http://", "https://"):
            client.mount(scheme, notebook)
        destination.deliver([delivery], client)
    except Exception as error:
        # What it says of our empty answer says nothing of the event.
        if not notebook.requests:
            delivery.fail(error)
            return {}
        note = {"note": f"deliver raised {describe(error)}: {ENDED}"}
    secrets = secrets_of(destination.settings)
    return {"requests": [_shown(one, secrets) for one in notebook.requests], **note}


def _shown(request: requests.PreparedRequest, secrets: list[str]) -> dict[str, Any]:
    sent = request.body or b""
    text = sent.decode(errors="replace") if isinstance(sent, bytes) else sent
    headers = {name: without(str(v), secrets) for name, v in request.headers.items()}
    if "Authorization" in headers:
        headers["Authorization"] = MASK
    url = without(str(request.url), secrets)
    body = without(text, _long(secrets))
    return {"method": request.method, "url": url, "headers": headers, "body": body}


def hidden(row: dict[str, Any], settings: DestinationSettings) -> dict[str, Any]:
    """The row of an event without secrets in what the plugin or the partner said."""
    secrets = _long(secrets_of(settings))
    said = {name: row[name] for name in SAID if name in row}
    return row | {name: _without_any(value, secrets) for name, value in said.items()}


def _without_any(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        return without(value, secrets)
    if isinstance(value, list):
        return [_without_any(one, secrets) for one in value]
    if isinstance(value, dict):
        return {name: _without_any(one, secrets) for name, one in value.items()}
    return value


def _long(secrets: list[str]) -> list[str]:
    return [one for one in secrets if len(one) >= SHORTEST_IN_TEXT]


def secrets_of(settings: DestinationSettings) -> list[str]:
    """Every secret that is set, in lists and tables too, in each way in which it may be
    written in a request; the longest first."""
    found = set(chain.from_iterable(_secrets(value) for _, value in settings))
    found |= set(chain.from_iterable(map(_spellings, found)))
    return sorted(found, key=len, reverse=True)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr) and value.get_secret_value():
        yield value.get_secret_value()
    elif isinstance(value, list | tuple | set):
        yield from chain.from_iterable(map(_secrets, value))
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(_secrets, value.values()))
    elif isinstance(value, BaseModel):
        yield from chain.from_iterable(_secrets(member) for _, member in value)


def _spellings(secret: str) -> Iterator[str]:
    """How an address, a form and JSON write it."""
    # An address is sent in another way than it is given: `http://h?k` as `http://h/?k`.
    with suppress(ValueError):  # which it is if it is no address
        yield str(requests.Request("POST", secret).prepare().url)
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield PERCENT.sub(lambda found: found[0].lower(), quoted)
    yield requote_uri(secret)
    for is_ascii in (True, False):
        escaped = json.dumps(secret, ensure_ascii=is_ascii)[1:-1]
        yield from (escaped, escaped.replace("/", "\\/"))


def without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _mask(secret))
    return text


def _mask(secret: str) -> str:
    """What is shown in its place: of an address the host."""
    with suppress(ValueError):  # which it is if it is no address
        address = urlsplit(secret)
        if host := address.netloc.rpartition("@")[2]:
            return f"{address.scheme}://{host}/{MASK}"
    return MASK
