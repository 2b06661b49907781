"""What proxies in front say of a request: where it came from, and where it was sent."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def client_address(
    peer: str, forwarded_for: str | None, trusted: Sequence[Network]
) -> str | None:
    """The address that a request came from, or None where it cannot be known.

    Each proxy appends its own peer to `X-Forwarded-For`, so the header is read from
    its end, and only as far as those who wrote it are trusted: what is before that
    the client may have made up.
    """
    # The peer of a Unix socket has no address; it is on this machine.
    address = _address(peer or "127.0.0.1")
    hops = forwarded_for.split(",") if forwarded_for else []
    while hops and address and any(address in network for network in trusted):
        address = _address(hops.pop())
    return str(address) if address else None


def public_host(public_url: str, scheme: str, host: str) -> tuple[str, str]:
    """The protocol, and host with port and path, at which clients reach the router.

    public_url: as configured, or "". scheme and host: those of the request, or of
    its proxies' headers, which hold one value for each proxy, the client's first.
    """
    if public_url:
        parts = urlsplit(public_url)
        return parts.scheme, parts.netloc + parts.path.rstrip("/")
    is_secure = scheme.partition(",")[0].strip() == "https"
    return "https" if is_secure else "http", host.partition(",")[0].strip()


def _address(text: str) -> Address | None:
    """An address, which some proxies write with its port; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # So that 10.0.0.1 is trusted on a socket that takes both kinds of address.
    return getattr(address, "ipv4_mapped", None) or address
