"""The settings of a Movable Ink destination: what they accept, and what they say."""

import pydantic
import pytest

from plugins.movable_ink.settings import Settings

URL = "https://collector.movableink-dmz.com/behavioral/s3cr3t-path"


def problems(**keys):
    with pytest.raises(pydantic.ValidationError) as caught:
        Settings(**keys)
    assert "s3cr3t" not in str(caught.value)
    return {
        ".".join(map(str, one["loc"])): one["msg"].removeprefix("Value error, ")
        for one in caught.value.errors()
    }


def options(**keys):
    return Settings(**{"api_key": "k", "endpoint": URL} | keys)


@pytest.mark.parametrize(
    ("keys", "url"),
    [
        ({"endpoint": URL}, URL),
        ({"endpoint": f" {URL}\n"}, URL),
        (
            {"endpoint_key": "abc"},
            "https://collector.movableink-dmz.com/behavioral/abc",
        ),
        (
            {"endpoint_key": "abc", "region": "eu"},
            "https://collector.micpn-eu.com/behavioral/abc",
        ),
        ({"endpoint_key": "a b?", "endpoint": " "}, None),
        ({"endpoint": URL, "endpoint_key": "abc", "region": "eu"}, URL),
    ],
)
def test_the_address_is_the_endpoint_or_made_of_its_key_and_region(keys, url):
    found = Settings(api_key="k", **keys).url
    assert found == (url or "https://collector.movableink-dmz.com/behavioral/a%20b%3F")


def test_the_api_key_alone_is_the_user_name_with_an_empty_password():
    assert options(api_key="key123").credentials == (b"key123", b"")
    assert options(api_key="k", api_secret="é").credentials == (b"k", "é".encode())


def test_every_missing_key_is_reported_at_once():
    found = problems()
    assert found["api_key"] == "Field required"
    assert found["endpoint_key"].startswith(
        "endpoint or endpoint_key: neither is given"
    )


@pytest.mark.parametrize("blank", ["", "  ", "\t\n"])
def test_a_blank_api_key_is_an_error(blank):
    found = problems(api_key=blank, endpoint=URL)
    assert found == {"api_key": "is blank, expected the Access Key ID of the endpoint"}


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"api_key": "s3cr3t:x"}, "api_key", "has a colon"),
        ({"endpoint": "s3cr3t.example/x"}, "endpoint", "is no full URL, expected http"),
        ({"endpoint": "ftp://s3cr3t/x"}, "endpoint", "is no full URL"),
        ({"endpoint_key": "a/s3cr3t"}, "endpoint_key", "has a slash"),
        ({"region": "mars"}, "region", "Input should be 'us' or 'eu'"),
        ({"payload": "raw"}, "payload", "Input should be 'entire_event' or"),
        ({"custom_events": "Signed Up"}, "custom_events", "expected a list of event"),
        ({"custom_events": [" "]}, "custom_events", "expected a list of event"),
        ({"event_names": "camel"}, "event_names", 'expected "segment", "snake"'),
        ({"event_names": {"Prodct Added": "x"}}, "event_names", "Prodct Added: is not"),
        ({"event_names": {"Product Added": ""}}, "event_names", "Product Added: expec"),
        ({"total_fallback": [""]}, "total_fallback", "expected names of properties"),
        ({"batch_events": 5}, "", "batch_events = 5: needs batch = true"),
        ({"batch": True, "batch_events": 1001}, "", "batch_events = 1001: too many"),
        ({"batch_bytes": 1_000_001}, "batch_bytes", "Input should be less than or eq"),
        ({"api_kye": "s3cr3t"}, "api_kye", "Extra inputs are not permitted"),
    ],
)
def test_an_error_says_what_is_wrong_and_what_was_expected(keys, key, message):
    found = problems(**{"api_key": "k", "endpoint": URL} | keys)
    assert list(found) == [key]
    assert found[key].startswith(message)


@pytest.mark.parametrize(
    ("keys", "events"),
    [
        ({}, 1),
        ({"batch_events": 1}, 1),
        ({"batch": True}, 1000),
        ({"batch": True, "batch_events": 7}, 7),
    ],
)
def test_only_a_batch_has_more_than_one_event(keys, events):
    assert options(**keys).batch_events == events


def test_a_full_batch_fits_with_its_envelope():
    assert options(batch=True).batch_bytes + len('{"events":[]}') == 1_000_000


@pytest.mark.parametrize("stars", ["*", ["*"]])
def test_a_star_means_all_custom_events(stars):
    assert options(custom_events=stars).custom_events == "*"


def test_names_may_be_overridden_for_custom_events_too():
    found = options(custom_events=["Signed Up"], event_names={"signed up": "sign_up"})
    assert found.event_names == {"signed up": "sign_up"}


def test_nothing_shows_a_secret():
    found = Settings(api_key="s3cr3t", api_secret="s3cr3t", endpoint=URL)
    keyed = Settings(api_key="s3cr3t", endpoint_key="s3cr3t")
    for one in (found, keyed):
        assert (
            "s3cr3t" not in f"{one!r} {one} {one.model_dump()} {one.model_dump_json()}"
        )


def test_every_setting_is_described_in_one_line():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description, name
