"""Destinations beside each other, in a real router: one that hangs costs no other."""

from conftest import CONF, Router, eventually

from router.testing.scripted import scripted

PLUGIN = """
from pydantic import Field

from router import DestinationSettings, hookimpl
from router.client import verdict


class Settings(DestinationSettings):
    url: str = Field(description="where events go")


@hookimpl
def settings():
    return Settings


@hookimpl
def track(event):
    return {"id": event["messageId"]}


@hookimpl
def deliver(payloads, settings, client):
    verdict(client.post_json(settings.url, payloads))
"""


def batch(start: int, many: int) -> dict[str, list[dict[str, object]]]:
    """Events of forty users, so that all lanes have some."""
    return {
        "batch": [
            {
                "type": "track",
                "event": "Seen",
                "userId": f"u{n % 40}",
                "messageId": f"m{n}",
            }
            for n in range(start, start + many)
        ]
    }


def test_while_one_hangs_clients_are_answered_and_others_get_all(router: Router):
    (router.directory / "more").mkdir()
    (router.directory / "more/hanging.py").write_text(PLUGIN)
    with scripted((600.0,)) as partner:
        router.configure(
            CONF.replace("sandbox = true", 'sandbox = true\nplugin_dirs = ["more"]')
            + f'[destinations.hanging]\nurl = "{partner.url}"\ntimeout = "1s"\n'
        )
        with router.running("--workers", "2"):
            sent = 0

            def circuit() -> list[dict[str, object]]:
                """Its hold, while events go on coming in and out."""
                nonlocal sent
                assert router.post("/v1/batch", batch(sent, 80)).ok
                sent += 80
                eventually(lambda: len(router.archived()) == sent)
                holds = router.row("status", "hanging")["holds"]
                return [one for one in holds if one["kind"] == "circuit_open"]

            (hold,) = eventually(circuit, 60)
            assert hold["reason"] == "no answer: ReadTimeout"
            assert hold["partition"] is None
            assert circuit()
            printed = router.run("status")
            row = router.row("status", "hanging")
            assert (row["state"], row["pending"]) == ("retrying", sent)
            assert (row["delivered"], row["dead"]) == (0, {})
    assert "hanging: circuit_open since " in printed
    assert "no answer: ReadTimeout; tried again at " in printed
    assert "remedy: none needed: the partner is probed" in printed
    # Both processes may find out at the same instant.
    opened = router.log().count("hanging: circuit open, one call at a time: ")
    assert 1 <= opened <= 2
