"""Who may send: the sources, found by their write keys."""

import base64
from collections.abc import Mapping
from hashlib import sha256

from router.config import SourceSettings
from router.errors import Refused


class Sources:
    """All sources. Keys are looked up by digest: how long that takes says nothing of
    the key."""

    def __init__(self, sources: Mapping[str, SourceSettings]) -> None:
        self._by_digest = {
            _digest(source.write_key.get_secret_value()): (name, source.enabled)
            for name, source in sources.items()
        }

    def name(self, key: str | None) -> str:
        """The name of the source with that write key, or "", whether it may send or
        not."""
        return self._by_digest.get(_digest(key or ""), ("", False))[0]

    def admit(self, key: str) -> str:
        """The name of the source with that write key; raises Refused."""
        name, is_enabled = self._by_digest.get(_digest(key), ("", False))
        if not name:
            raise Refused(401, "invalid_write_key", "no source has this write key")
        if not is_enabled:
            what = f"source {name} is disabled"
            raise Refused(403, "source_disabled", what, source=name)
        return name


def basic_user(authorization: str | None) -> str | None:
    """The user of Basic authentication; None for anything else."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8
        return None
    return user.partition(":")[0]


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()
