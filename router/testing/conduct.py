"""Rules for how a plugin behaves: settings that explain themselves, secrets that stay
secret, nothing left behind; and a sandbox that agrees with the mapping."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from router import cases, codec
from router.destination import Delivery, Destination
from router.explain import explain, secrets_of
from router.settings import DestinationSettings
from router.testing.examples import arrived
from router.testing.kit import Kit, applies, has_cases, has_sandbox, networked
from router.testing.scripted import RESET, Partner, Script, answer
from router.testing.serving import serve
from router.testing.trial import attempt, beside, fail, placed, words

# What settings are called that nobody else may know. Not every key is one: an event has
# a user_key, a table a sort_key.
SECRET = re.compile(
    r"(^|_)(secret|token|password|passwd|passphrase|credential)s?$"
    r"|^keys?$|(^|_)(access|account|api|auth|encryption|license|master|private|read|rest"
    r"|secret|server|service|shared|signing|storage|write)_?keys?$",
    re.IGNORECASE,
)
# Where a name in camelCase has an underscore in another spelling.
HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Shorter ones stand in a sentence by chance.
SHORTEST_SECRET = 8


class ConductRules(Kit):
    """What operators and other destinations may rely on."""

    def test_settings_are_described(self, tmp_path: Path) -> None:
        """Each setting says what it is, in `router plugins NAME`."""
        with self.trial(tmp_path) as trial:
            fields = type(trial.destination().settings).model_fields
        silent = [name for name, field in fields.items() if not field.description]
        if silent:
            fail(
                f"the settings {', '.join(silent)}", "a description each", "none",
                'url: str = Field(description="where events are posted")',
            )  # fmt: skip

    def test_secrets_are_secret(self, tmp_path: Path) -> None:
        """A setting that holds a secret is a SecretStr, which no message shows."""
        with self.trial(tmp_path) as trial:
            fields = type(trial.destination().settings).model_fields
        open_ones = [
            name
            for name, field in fields.items()
            if SECRET.search(name) and "SecretStr" not in str(field.annotation)
        ]
        if open_ones:
            fail(
                f"the settings {', '.join(open_ones)}", "SecretStr, by their names",
                "a type that shows its value in every message",
                "api_key: SecretStr = Field(...), and .get_secret_value() where it is "
                "sent",
            )  # fmt: skip

    def test_events_are_taken(self, tmp_path: Path) -> None:
        """Every event that has a payload can be delivered."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            for event, delivery in self.sent(destination):
                outcome = attempt(destination, [delivery])
                if outcome is not None:
                    fail(
                        f"delivering {event['type']} {event.get('event', '')!r}",
                        "that it is taken", words(outcome),
                        "return when the partner has said yes, else raise an outcome; "
                        "refuse in the mapping, with a reason, what cannot be sent; "
                        "say in `taken` what this partner answers, if that is not "
                        "200 with {}, and in `other_answer` what it says to requests "
                        "that deliver nothing, as for a token",
                    )  # fmt: skip

    def test_payloads_are_not_changed(self, tmp_path: Path) -> None:
        """`deliver` leaves its payloads alone: after a Retry they are sent again."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination(**self.batch)
            for event, delivery in self.sent(destination):
                before = codec.dumps(delivery.payload)
                attempt(destination, [delivery])
                if codec.dumps(delivery.payload) != before:
                    fail(
                        f"the payload of {event['type']} after deliver",
                        "what it was", f"{delivery.payload!s:.300}",
                        "build what is sent anew: `{**payload, ...}`",
                    )  # fmt: skip

    def test_nothing_is_left_running(self, tmp_path: Path) -> None:
        """No thread is left when deliver has returned and its client is closed."""
        with self.trial(tmp_path) as trial:
            destination = trial.destination()
            _, delivery = self.sent(destination)[0]
            with beside(trial.partner) as left:
                attempt(destination, [delivery], times=3)
            if left:
                fail(
                    "three calls of deliver", "no thread that is left of them",
                    f"{len(left)}: {', '.join(sorted(one.name for one in left))}",
                    "deliver is called in a thread of its own, and may wait: it needs "
                    "no others; join those that it starts",
                )  # fmt: skip

    @applies(networked)
    def test_no_secret_is_told(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """No secret stands in a log line, in what is printed, in what deliver raises,
        in a dead letter, or in the text of the settings, whatever the partner does. A
        token that it tells in `other_answer` is one."""
        caplog.set_level(logging.DEBUG)
        for script in self._moods():
            with self.trial(tmp_path, script) as trial:
                destination = trial.destination(timeout="300ms")
                _, delivery = self.sent(destination)[0]
                outcome = attempt(destination, [delivery])
                secrets = {*_secrets(destination), *_sent_secrets(trial.partner)}
                secrets |= {*_told_secrets(trial.partner)}
                told = [*_told(destination, delivery, outcome), *_lines(caplog)]
                printed = capfd.readouterr()
                told += [("what is printed", f"{printed.out}{printed.err}")]
            for where, text in told:
                for secret in secrets:
                    if secret in text:
                        fail(
                            where, "no secret of the settings",
                            text.replace(secret, "***"),
                            "name no address and no credential in what is raised or "
                            "logged; the status is enough, as router.client.verdict "
                            "says it",
                        )  # fmt: skip

    def _moods(self) -> Iterator[Script]:
        for status in (self.taken[0], 400, 401, 404, 413, 429, 500):
            yield self.said(status, self.taken[1] if status < 300 else {})
        yield answer("302 Moved", "Location: /elsewhere")
        yield b"this is no HTTP\r\n\r\n"
        yield self.said(200, "")[:-2] + b"no JSON"
        yield (RESET,)
        yield (60.0,)

    @applies(has_cases)
    def test_case(self, case: Path, tmp_path: Path) -> None:
        """A case in the plugin's folder is what becomes of its event."""
        with self.trial(tmp_path) as trial:
            try:
                said = placed(codec.loads(case.read_bytes()), trial.url)
                event, settings = said.pop("event"), said.pop("settings", {})
            except (ValueError, KeyError, AttributeError) as error:
                fail(
                    case.name, "a JSON object with `event` and what becomes of it",
                    repr(error), "write it with `router explain --save DIR FILE`",
                )  # fmt: skip
            destination = trial.destination(**settings)
            came = cases.shown(explain(destination, arrived(event)))
            if found := list(cases.differences(said, came)):
                fail(
                    case.name, "the event to become what the case says",
                    "\n  ".join(["", *found]),
                    "mend the mapping; or, if the change is meant, write the case anew "
                    "with `router explain --save`, and leave out headers that differ "
                    "each time",
                )  # fmt: skip

    @applies(has_sandbox)
    def test_sandbox(self, tmp_path: Path) -> None:
        """The sandbox takes what the mapping sends, one by one and in batches."""
        with self.trial(tmp_path) as trial:
            apps: list[Any] = []
            with serve(lambda *request: apps[-1](*request)) as url:
                trial.url = url
                for more in ({}, self.batch) if self.batch else ({},):
                    destination = trial.destination(**more)
                    apps.append(destination.sandbox())
                    if not callable(apps[-1]):
                        fail(
                            "the hook `sandbox`", "a WSGI app", repr(apps[-1]),
                            "return the app; without one leave the hook out",
                        )  # fmt: skip
                    self._are_taken(destination)

    def _are_taken(self, destination: Destination) -> None:
        deliveries = [delivery for _, delivery in self.sent(destination)]
        size = min(destination.settings.batch_events, len(deliveries))
        for start in range(0, len(deliveries), size):
            batch = deliveries[start : start + size]
            outcome = attempt(destination, batch)
            if outcome is not None:
                names = [one.record.event.get("event", "") for one in batch]
                fail(
                    f"the sandbox, asked to take {names}", "that it takes them",
                    f"{words(outcome)} {getattr(outcome, 'detail', '')[:300]}",
                    "sandbox and mapping must agree on what the partner takes: look "
                    "its contract up, and mend the one that is wrong",
                )  # fmt: skip


def _secrets(destination: Destination) -> Iterator[str]:
    for secret in secrets_of(destination.settings):
        if len(secret) < SHORTEST_SECRET:
            fail(
                "the secrets in `settings`", f"{SHORTEST_SECRET} characters or more",
                f"one of {len(secret)}", "give longer ones, that can be looked for",
            )  # fmt: skip
        yield secret
        address = urlsplit(secret)
        if address.netloc and len(address.path) >= SHORTEST_SECRET:
            yield address.path


def _sent_secrets(partner: Partner) -> Iterator[str]:
    """What a request gave as credentials, in the form in which it was sent."""
    for request in [*partner.requests, *partner.asides]:
        given = request.headers.get("authorization", "").split()
        yield from (one for one in given if len(one) >= SHORTEST_SECRET)


def _told_secrets(partner: Partner) -> Iterator[str]:
    """What the partner told that goes by the name of a secret, as `access_token`."""
    for said in partner.told:
        with suppress(ValueError):
            yield from _named_secrets(codec.loads(said.partition(b"\r\n\r\n")[2]))


def _named_secrets(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _named_secrets(member, HUMP.sub("_", key))
    elif isinstance(value, list):
        for member in value:
            yield from _named_secrets(member, name)
    elif SECRET.search(name) and len(str(value)) >= SHORTEST_SECRET:
        yield str(value)


def _told(
    destination: Destination, delivery: Delivery, outcome: BaseException | None
) -> Iterator[tuple[str, str]]:
    settings: DestinationSettings = destination.settings
    yield "the text of the settings", f"{settings!r} {settings}"
    if outcome is not None:
        yield "what deliver raised", f"{outcome!r} {outcome}"
        delivery.fail(outcome)
        yield "the dead letter", f"{delivery.reason} {delivery.detail}"


def _lines(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[str, str]]:
    """As they are written, with the traceback of an exception."""
    written = logging.Formatter()
    for one in caplog.records:
        yield f"a log line of {one.name}", written.format(one)
