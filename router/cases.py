"""Cases: an event and what a plugin makes of it, as files to look at and to test by.

    {"event": {...}, "settings": {...}, "outcome": "deliver",
     "requests": [{"method": "POST", "url": "...", "headers": {...}, "body": {...}}]}
    {"event": {...}, "settings": {...}, "outcome": "skipped",
     "code": "unsupported_event", "reason": "...", "problems": []}

A plugin that is a folder keeps them in `cases/`, one that is a file NAME.py in
`NAME_cases/` beside it. `router explain --save` writes them, `router.testing` runs
them.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from requests.utils import default_headers

from router import codec
from router.destination import Destination
from router.explain import MASK, explain
from router.ledger import Ledger
from router.log import Record
from router.settings import DestinationSettings

# Words in the name of a header that holds the clock, or what a secret makes of it.
FLEETING = {"date", "time", "timestamp", "nonce", "signature", "hmac"}
WORD = re.compile("[a-z]+")

# What a case says of an event that is not sent; and of one that is, one of these.
WHY = ("code", "reason", "problems")
SENT = ("requests", "payload")

# Settings that have no part in what one event becomes.
ELSEWHERE = {"plugin", "enabled", "sources", "start", "timeout", "give_up_after"}


def folder(plugin: Any) -> Path | None:
    """Where a plugin keeps its cases; None for one that is no module."""
    file = Path(getattr(plugin, "__file__", None) or "")
    if file.name == "__init__.py":
        return file.with_name("cases")
    return file.with_name(f"{file.stem}_cases") if file.suffix == ".py" else None


def files(plugin: Any) -> list[Path]:
    """The plugin's cases, by name."""
    place = folder(plugin)
    return sorted(place.glob("*.json")) if place else []


def explain_and_save(
    directory: Path,
    destination: Destination,
    record: Record,
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """What `explain` says, and with it as `saved` the file that now holds the case.

    Headers that would not be the same another time are left out of it. Raises OSError.
    """
    row = explain(destination, record, ledger)
    settings = open_settings(destination.settings)
    case = {"event": record.event, "settings": settings, **shown(row)}
    again = shown(explain(destination, record))
    pairs = zip(case.get("requests", ()), again.get("requests", ()), strict=False)
    for request, other in pairs:
        request["headers"] = _lasting(request["headers"], other["headers"])
    return row | {"saved": str(_written(case, directory))}


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a case says of a row of `explain`."""
    if row["outcome"] != "deliver":
        return {name: row[name] for name in ("outcome", *WHY)}
    found: dict[str, Any] = {"outcome": row["outcome"]}
    if "payload" in row:
        found["payload"] = row["payload"]
    else:
        found["requests"] = [_request(one) for one in row["requests"]]
    return found


def open_settings(settings: DestinationSettings) -> dict[str, Any]:
    """The settings that were given, but for secrets, as conf.d has them."""
    fields = type(settings).model_fields
    secret = {name for name in fields if "SecretStr" in str(fields[name].annotation)}
    named = settings.model_fields_set - secret - ELSEWHERE
    return settings.model_dump(mode="json", include=named)


def differences(expected: Any, came: Any, place: str = "") -> Iterator[str]:
    """Where what came is not as a case expects it, a line each.

    Of headers only those are looked at that the case names.
    """
    if isinstance(expected, Mapping) and isinstance(came, Mapping):
        others = () if place.endswith("headers") else came
        for name in dict.fromkeys([*expected, *others]):
            where = f"{place}.{name}" if place else name
            if name not in came:
                yield f"{where}: expected {_text(expected[name])}; came nothing"
            elif name not in expected:
                yield f"{where}: expected nothing; came {_text(came[name])}"
            else:
                yield from differences(expected[name], came[name], where)
    elif (
        isinstance(expected, list)
        and isinstance(came, list)
        and len(expected) == len(came)
    ):
        for index, pair in enumerate(zip(expected, came, strict=True)):
            yield from differences(*pair, f"{place}[{index}]")
    elif codec.dumps(expected) != codec.dumps(came):
        yield f"{place}: expected {_text(expected)}; came {_text(came)}"


def _lasting(headers: Mapping[str, str], again: Mapping[str, str]) -> dict[str, str]:
    """Those that are the same another time; again: as they were the next time."""
    return {
        name: value
        for name, value in headers.items()
        if again.get(name) == value and not FLEETING & {*WORD.findall(name.lower())}
    }


def _request(request: Mapping[str, Any]) -> dict[str, Any]:
    """As it is shown, without what is the client's and not the plugin's."""
    usual = default_headers()
    headers = {
        name: value
        for name, value in request["headers"].items()
        if name != "Content-Length" and usual.get(name) != value
    }
    # Of an address with a secret in it the rest says where it is used.
    url = MASK if MASK in request["url"] else request["url"]
    body = request["body"]
    with suppress(ValueError):
        body = codec.loads(body)
    return {**request, "url": url, "headers": headers, "body": body}


def _written(case: Mapping[str, Any], directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    event = case["event"]
    words = [str(event.get("event") or event["type"])]
    words += [case["code"]] if case["outcome"] != "deliver" else []
    name = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-") or "event"
    for number in count(1):
        file = directory / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
        with suppress(FileExistsError), file.open("xb") as out:
            out.write(codec.dumps(case, indent=2) + b"\n")
            return file
    raise AssertionError("numbers do not end")


def _text(value: Any) -> str:
    return codec.dumps(value).decode()
