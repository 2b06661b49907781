"""Keeps every rule; the others are this one but for what they break.

`FAILS` of a specimen says which tests of the kit fail, and what their messages hold.
"""

from collections.abc import Sequence

import falcon
from pydantic import Field, SecretStr

from router import DestinationSettings, Rejected, codec, hookimpl
from router.client import verdict
from router.requirements import number, required

FAILS: dict[str, str] = {}


class Settings(DestinationSettings):
    url: str = Field(description="where events are posted")
    token: SecretStr = Field(description="the bearer token")


@hookimpl
def settings():
    return Settings


@hookimpl
def requirements():
    return {"Product Added": [required("name"), number("price")]}


@hookimpl
def identify(event):
    return {"id": event["messageId"], "who": event.get("userId"), **event["traits"]}


@hookimpl
def track(event):
    return {"id": event["messageId"], "who": event.get("userId"), **event["properties"]}


@hookimpl
def deliver(payloads, settings, client):
    read(post(payloads, settings, client), payloads)


def post(payloads, settings, client):
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    return client.post_json(settings.url, payloads, headers=headers)


def read(response, payloads: Sequence):
    try:
        verdict(response)
    except Rejected as refusal:
        raise Rejected(refusal.reason, response.json().get("bad")) from None


@hookimpl
def sandbox():
    app = falcon.App()
    app.add_sink(take)
    return app


def take(req, resp):
    resp.media = {"taken": len(codec.loads(req.bounded_stream.read()))}
