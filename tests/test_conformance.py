"""Every plugin of ours keeps the rules of `router.testing`."""

from router import Rejected, Retry
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
