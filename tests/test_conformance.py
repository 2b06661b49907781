"""Every plugin of ours keeps the rules of `router.testing`."""

from time import time

from router import Misconfigured, Rejected, Retry
from router.testing import Conformance


class TestJsonl(Conformance):
    plugin = "jsonl"
    network = False


class TestMovableInk(Conformance):
    plugin = "movable_ink"
    settings = {
        "endpoint": "{partner}/behavioral/s3cr3t-path",
        "api_key": "s3cr3t-key",
        "api_secret": "s3cr3t-word",
    }
    batch = {"batch": True, "batch_events": 5}
    outcomes = {423: Retry, 501: Rejected}


class TestMovableInkNormalized(TestMovableInk):
    settings = TestMovableInk.settings | {"payload": "normalized"}


class TestWebhook(Conformance):
    plugin = "webhook"
    settings = {
        "url": "{partner}/hooks/s3cr3t-path",
        "headers": {"X-Token": "s3cr3t-token"},
        "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    }
    batch = {"batch_events": 5}
    outcomes = {410: Misconfigured}


class TestBraze(Conformance):
    plugin = "braze"
    settings = {"endpoint": "{partner}", "api_key": "s3cr3t-key", "currency": "EUR"}
    batch = {"batch_events": 5}
    taken = (201, {"message": "success"})

    def partial_answer(self, index, payloads):
        error = {"type": "x", "input_array": "events", "index": index}
        return 201, {"message": "success", "errors": [error]}

    def retry_answer(self, seconds):
        return 429, {}, {"X-RateLimit-Reset": str(round(time()) + seconds)}


class TestBrazePages(TestBraze):
    settings = TestBraze.settings | {"pages": True}
