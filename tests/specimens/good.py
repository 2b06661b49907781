"""Keeps every rule."""

from pydantic import Field, SecretStr

from router import DestinationSettings, hookimpl
from router.client import verdict
from router.requirements import number, required


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
def track(event):
    return {"id": event["messageId"], "who": event.get("userId"), **event["properties"]}


@hookimpl
def deliver(payloads, settings, client):
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    verdict(client.post_json(settings.url, payloads, headers=headers))
