"""Everything the router raises on purpose.

RouterError
├── ConfigError          the configuration cannot be used; lists every problem
├── PluginError          a plugin cannot be found, imported or registered
├── Unreadable           a file of events is no JSON
├── InvalidEvent         one event cannot be accepted (code, message)
├── Refused              a whole request cannot be accepted (status, code, message)
├── StorageUnavailable   the disk is full, read-only or failing
│   └── Damaged          what is in a file is not what was written
├── Fenced               (ledger) another lane has moved the offset
└── Outcome              what a plugin says of a delivery that was not taken
    ├── Retry            the partner is unwell: wait, then send the same again
    ├── Rejected         this event is at fault: dead letter
    ├── Partial          some are at fault, the others were taken
    ├── TooLarge         the partner's limit: halve, or dead letter
    └── Misconfigured    credentials or endpoint are wrong: hold the destination
        └── CannotConnect  the plugin's `connect` has a bug
"""

from collections.abc import Mapping, Sequence


class RouterError(Exception):
    """The root of all errors that the router raises on purpose."""


class ConfigError(RouterError):
    """The configuration cannot be used.

    problems: one line each, with file, table, key, value and what was expected.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        title = f"{count} problem{'s' if count != 1 else ''} in the configuration:"
        super().__init__("\n  ".join([title, *self.problems]))


class PluginError(RouterError):
    """A plugin cannot be used; the message names it, its file and what is known.

    safe: the same without what the plugin's own exception says, which may be a secret.
    """

    def __init__(self, message: str, safe: str | None = None) -> None:
        super().__init__(message)
        self.safe = message if safe is None else safe


class InvalidEvent(RouterError):
    """One event cannot be accepted.

    code is Segment's discard code where there is one (`no_user_anon_id`, ...).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = message


class Unreadable(RouterError):
    """A file of events is no JSON; the message says where."""


class Refused(RouterError):
    """A whole request cannot be accepted.

    retry_after: seconds after which the client may try again, or None. source: the name
    of the source that sent it, as far as that is known.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        retry_after: int | None = None,
        source: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.source = source


class StorageUnavailable(RouterError):
    """The disk is full, read-only or failing; what was asked for was not done."""


class Damaged(StorageUnavailable):
    """What is in a file is not what was written: no waiting will mend it."""


class Outcome(RouterError):
    """Why a delivery was not taken; raised by `deliver`, handled by the engine.

    reason: a short sentence for the operator. It is logged and shown, so it must
    hold no secret and nothing of a customer but ids. detail: what the partner
    answered, kept with the dead letter and never logged. code: of the dead letter.
    """

    code = "outcome"

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Retry(Outcome):
    """The partner is unwell: network, timeout, 408, 425, 429, 5xx.

    after: seconds that the partner asked for (Retry-After), or None.
    """

    code = "retries_exhausted"

    def __init__(
        self, reason: str, after: float | None = None, *, detail: str = ""
    ) -> None:
        super().__init__(reason, detail=detail)
        # What is no number is the plugin's bug, and said to be where it is made.
        self.after = None if after is None else float(after)


class Rejected(Outcome):
    """The event is at fault, and nothing of the batch was taken.

    index: the position of the guilty payload in the batch, where the partner says
    so; without it the batch is halved until the guilty ones stand alone. A mapping
    hook may raise it too.
    """

    code = "rejected"

    def __init__(
        self, reason: str, index: int | None = None, *, detail: str = ""
    ) -> None:
        super().__init__(reason, detail=detail)
        self.index = index


class Partial(Outcome):
    """The partner took the batch, but for some of its payloads.

    rejected: position in the batch -> why that payload was refused. All others count
    as delivered, and none is sent again; so name one here only if the partner has
    judged it, and not because it is unwell.
    """

    code = "partial"

    def __init__(self, rejected: Mapping[int, Rejected]) -> None:
        # What is none is the plugin's bug, and said to be where it is made.
        if not all(isinstance(one, Rejected) for one in rejected.values()):
            raise TypeError("Partial takes a Rejected for each position")
        super().__init__(f"{len(rejected)} of the batch were rejected")
        self.rejected = dict(rejected)


class TooLarge(Outcome):
    """The request is over the partner's limit, and nothing of it was taken."""

    code = "event_too_large"


class Misconfigured(Outcome):
    """Credentials or endpoint are wrong: every event would fail alike."""

    code = "misconfigured"


class CannotConnect(Misconfigured):
    """The plugin's `connect` has a bug, which is none of any event: every event would
    fail alike. Raised by the router."""

    code = "plugin_error"
