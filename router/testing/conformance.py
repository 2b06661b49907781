"""The class that an author's tests inherit: all rules in one."""

import pytest

from router.testing.answers import AnswerRules, forms, statuses
from router.testing.batches import BatchRules
from router.testing.conduct import ConductRules
from router.testing.kit import cases_of
from router.testing.mapping import MappingRules


class Conformance(MappingRules, AnswerRules, BatchRules, ConductRules):
    """Judges a plugin with a partner on loopback that does what partners do.

        class TestWebhook(Conformance):
            plugin = "webhook"
            settings = {"url": "{partner}/hook"}

    What a subclass says:

    plugin: its name, as in conf.d.
    plugin_dirs: folders to look for it, beside the usual places.
    settings: its keys, as in conf.d. "{partner}" stands for the partner's address.
    batch: more of them, for a plugin that sends several events in one request: with
        `batch_events`, best a small number. Without it no rule of batches is tried, so
        it must be there where `batch_events` is more than 1.
    events: events that it sends, as clients write them, beside the kit's own.
    outcomes: status -> outcome, where this partner means something else by it than
        HTTP does; None for taken: `{409: None, 423: Retry}`.
    taken: the status and JSON body with which this partner takes events.
    network: False for a plugin that talks to no partner, as `jsonl`.
    partial_answer(index, payloads): what the partner says to a batch of which that
        payload is bad.
    took_others: whether it took the other payloads with that answer; by default, if the
        status is 2xx.
    retry_answer(seconds): what the partner says when it asks to be left alone for so
        long, if not by Retry-After; a third member are headers:
        `return 429, {}, {"X-Wait-Ms": str(1000 * seconds)}`.
    other_answer(request): what the partner says to a request that delivers nothing, as
        one for a token; None to one that delivers. It has a `line`, as "POST /token
        HTTP/1.1", `headers` with names in lower case, and `content`, in bytes.

    Each failure says what was expected, what came, and how to mend it.
    """

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        if metafunc.function.__name__ == "test_status":
            metafunc.parametrize("status", statuses(cls))
        elif metafunc.function.__name__ == "test_retry_after":
            metafunc.parametrize("form", forms(cls))
        elif metafunc.function.__name__ == "test_case":
            metafunc.parametrize("case", cases_of(cls), ids=lambda case: case.stem)
