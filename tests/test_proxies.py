"""Where a request came from and was sent to, whatever stands in front of the router."""

from ipaddress import ip_network

import pytest

from router.proxies import client_address, public_host

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9 , 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        ("2001:db8::1", "2a00::7", "2a00::7"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2a00::7]:4711", "2a00::7"),
        ("10.0.0.1", "unknown", None),
        ("10.0.0.1", "203.0.113.9, unknown", None),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", ",", None),
    ],
)
def test_forwarded_for_is_believed_as_far_as_those_who_wrote_it_are_trusted(
    peer: str, forwarded: str | None, expected: str | None
) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected


def test_the_peer_of_a_unix_socket_counts_as_this_machine() -> None:
    here = [ip_network("127.0.0.1")]
    assert client_address("", "203.0.113.9", here) == "203.0.113.9"
    assert client_address("", "203.0.113.9", []) == "127.0.0.1"


@pytest.mark.parametrize(
    ("public_url", "scheme", "host", "expected"),
    [
        ("", "http", "127.0.0.1:8000", ("http", "127.0.0.1:8000")),
        ("", "https", "e.shop.example", ("https", "e.shop.example")),
        ("", "https, http", "a.example, b.example", ("https", "a.example")),
        ("", "wss", "a.example", ("http", "a.example")),
        ("https://e.shop.example", "http", "10.0.0.1", ("https", "e.shop.example")),
        ("http://x:81/events/", "https", "y", ("http", "x:81/events")),
    ],
)
def test_the_public_host_is_the_configured_or_the_one_that_was_asked_for(
    public_url: str, scheme: str, host: str, expected: tuple[str, str]
) -> None:
    assert public_host(public_url, scheme, host) == expected
