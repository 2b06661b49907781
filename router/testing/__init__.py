"""The conformance kit: whether a plugin keeps the router's rules, told by pytest.

    from router.testing import Conformance

    class TestWebhook(Conformance):
        plugin = "webhook"
        settings = {"url": "{partner}/hook"}

`Conformance` says what else an author can tell it. Needs pytest:
`pip install event-router[testing]`.
"""

try:
    import pytest
except ModuleNotFoundError:
    raise ImportError(
        "router.testing needs pytest: pip install 'event-router[testing]'"
    ) from None

from router.testing.conformance import Conformance

__all__ = ["Conformance"]

# What a rule says is the whole message.
assert pytest
