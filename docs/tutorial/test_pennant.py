"""Pennant keeps the rules of the router."""

from router.testing import Conformance


class TestPennant(Conformance):
    plugin = "pennant"
    settings = {"url": "{partner}/api/moments", "token": "a-token-for-tests"}
    batch = {"batch_events": 5}
    taken = (202, {})

    def retry_answer(self, seconds):
        return 429, {}, {"X-Retry-In-Ms": str(1000 * seconds)}

    def partial_answer(self, index, payloads):
        return 207, {"failed": [{"id": payloads[index]["id"], "error": "no"}]}
