"""What only pages do, in a real Chromium."""

import pytest

from sdk import golden
from sdk.clients import BEACON, CLIENTS
from sdk.conftest import CONF, Stage

SEGMENT = next(one for one in CLIENTS if one.name.startswith("segment-analytics-next"))
EVENT = {"type": "track", "event": "Seen", "anonymousId": "a"}


@pytest.mark.parametrize("stage", [BEACON], indirect=True, ids=["beacon"])
def test_by_beacon_arrives_what_arrives_otherwise(stage: Stage) -> None:
    file = golden.GOLDEN / f"{BEACON.golden}.json"
    assert stage.every_call(batch=1) == file.read_text()


@pytest.mark.parametrize("stage", [SEGMENT], indirect=True, ids=["listed"])
def test_a_page_of_an_origin_that_is_listed_can_send(stage: Stage) -> None:
    stage.router.configure(CONF + '[ingest]\norigins = ["http://shop.example"]')
    with stage.router.running():
        with stage.run() as driver:
            driver.call(EVENT)
        assert stage.arrived(1)


@pytest.mark.parametrize("stage", [SEGMENT], indirect=True, ids=["not listed"])
def test_a_page_of_another_origin_cannot(stage: Stage) -> None:
    stage.router.configure(CONF + '[ingest]\norigins = ["https://shop.example"]')
    with stage.router.running():
        with pytest.raises(AssertionError, match="blocked by CORS policy"), stage.run():
            pass
        assert not stage.router.archived()
