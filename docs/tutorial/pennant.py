"""Events as moments at Pennant, which takes 20 and 64 KiB in a request. It answers 202;
207, with the ids of those it refuses; 429, with the time to wait in X-Retry-In-Ms.
A moment whose id, of 100 characters at most, it has already is taken and ignored.
"""

from datetime import datetime
from hashlib import sha256

from pydantic import Field, SecretStr

from router import DestinationSettings, Partial, Rejected, Retry, hookimpl
from router.client import verdict


class Settings(DestinationSettings):
    url: str = Field(description="Pennant's address, with /api/moments")
    token: SecretStr = Field(description="the token of the account")
    batch_events: int = Field(20, ge=1, le=20, description="moments in one request")
    batch_bytes: int = Field(65_000, ge=1, le=65_000, description="bytes of moments")


@hookimpl
def settings():
    return Settings


@hookimpl
def identify(event):
    return moment(event, "$set", set=event["traits"]) if event.get("traits") else None


@hookimpl
def track(event):
    return moment(event, event["event"]) | {"extra": event.get("properties", {})}


def moment(event, verb, **actor):
    name = event["messageId"]
    return {
        "id": name if len(name) <= 100 else sha256(name.encode()).hexdigest(),
        "actor": {"id": event.get("userId") or event.get("anonymousId"), **actor},
        "verb": verb,
        "happened": int(datetime.fromisoformat(event["timestamp"]).timestamp()),
    }


@hookimpl
def deliver(payloads, settings, client):
    headers = {"Authorization": f"Token {settings.token.get_secret_value()}"}
    answer = client.post_json(settings.url, {"moments": payloads}, headers=headers)
    wait = answer.headers.get("X-Retry-In-Ms", "")
    if answer.status_code == 429 and wait.isdecimal():
        raise Retry("Pennant asks for time", after=int(wait) / 1000)
    verdict(answer)
    failed = answer.json().get("failed", []) if answer.status_code == 207 else []
    reasons = {one["id"]: Rejected("is refused", detail=one["error"]) for one in failed}
    bad = {at: reasons[m["id"]] for at, m in enumerate(payloads) if m["id"] in reasons}
    if bad:
        raise Partial(bad)
