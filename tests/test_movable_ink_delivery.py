"""What goes over the wire to Movable Ink, and what its answers mean. Case numbers are
those of the reference's tricky cases."""

import contextlib
import logging
import socket
from dataclasses import dataclass, field

import pytest

from plugins import movable_ink
from plugins.movable_ink.settings import Settings
from router import Misconfigured, Rejected, Retry, TooLarge
from router.client import Session
from router.testing.serving import serve

SECRETS = ("s3cr3t-path", "s3cr3t-key", "s3cr3t-word", "czNjcjN0")


@dataclass
class Partner:
    """A WSGI app that answers as told, and remembers what it was sent."""

    status: str = "200 OK"
    headers: list = field(default_factory=list)
    body: bytes = b"{}"
    got: list = field(default_factory=list)

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.got.append((environ, body))
        start_response(self.status, self.headers)
        return [self.body]


@contextlib.contextmanager
def delivering(partner, **keys):
    with serve(partner) as base, Session(timeout=5) as client:
        settings = options(endpoint=f"{base}/behavioral/s3cr3t-path", **keys)

        def deliver(*payloads):
            movable_ink.deliver(
                payloads=list(payloads), settings=settings, client=client
            )

        yield deliver


def options(**keys):
    return Settings(api_key="s3cr3t-key", api_secret="s3cr3t-word", **keys)


def answered(status, *headers, body=b"{}"):
    """The outcome of delivering to a partner that answers so, or None for success."""
    with delivering(Partner(status, list(headers), body)) as deliver:
        try:
            deliver({"a": 1})
        except Exception as outcome:
            return outcome
    return None


def sized(size):
    """A payload of that many bytes as JSON."""
    return {"pad": "x" * (size - len('{"pad":""}'))}


def test_one_event_is_one_object_with_basic_authentication():
    partner = Partner()
    with delivering(partner) as deliver:
        deliver({"event": "Café", "url": "https://x/p", "price": 9.5})
    ((environ, body),) = partner.got
    assert body.decode() == '{"event":"Café","url":"https://x/p","price":9.5}'
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["PATH_INFO"] == "/behavioral/s3cr3t-path"
    assert environ["CONTENT_TYPE"] == "application/json"
    token = "czNjcjN0LWtleTpzM2NyM3Qtd29yZA=="
    assert environ["HTTP_AUTHORIZATION"] == f"Basic {token}"


def test_an_api_key_alone_is_sent_with_an_empty_password():
    partner = Partner()
    with serve(partner) as base, Session(timeout=5) as client:
        settings = Settings(api_key="key123", endpoint=f"{base}/behavioral/k")
        movable_ink.deliver(payloads=[{}], settings=settings, client=client)
    assert partner.got[0][0]["HTTP_AUTHORIZATION"] == "Basic a2V5MTIzOg=="


@pytest.mark.parametrize("count", [1, 2, 3])
def test_case_18_a_batch_is_always_wrapped(count):
    partner = Partner()
    with delivering(partner, batch=True) as deliver:
        deliver(*({"n": n} for n in range(count)))
    inside = ",".join(f'{{"n":{n}}}' for n in range(count))
    assert [body.decode() for _, body in partner.got] == [f'{{"events":[{inside}]}}']


def test_case_18_a_batch_may_have_a_thousand_events_and_no_more():
    assert options(endpoint="http://x", batch=True).batch_events == 1000


@pytest.mark.parametrize("batch", [False, True])
def test_case_18_a_lone_event_over_the_limit_of_a_batch_goes_out(batch):
    partner = Partner()
    with delivering(partner, batch=batch) as deliver:
        deliver(sized(1_200_000))
    assert len(partner.got) == 1


@pytest.mark.parametrize(
    ("sizes", "is_sent"),
    [
        ([600_000, 600_000], False),
        ([400_000, 600_000 - len('{"events":[,]}')], True),
        ([400_000, 600_000 - len('{"events":[,]}') + 1], False),
        ([2_100_000], False),
        ([2_000_000 - len('{"events":[]}')], False),
        ([2_000_000 - len('{"events":[]}') - 1], True),
    ],
)
def test_case_18_the_bytes_of_the_whole_request_count(sizes, is_sent):
    partner = Partner()
    verdict = contextlib.nullcontext() if is_sent else pytest.raises(TooLarge)
    with delivering(partner, batch=True) as deliver, verdict:
        deliver(*map(sized, sizes))
    assert len(partner.got) == is_sent


def test_case_18_text_is_counted_in_bytes_not_characters():
    partner = Partner()
    with delivering(partner) as deliver, pytest.raises(TooLarge, match="2000002 bytes"):
        deliver({"pad": "é" * 999_996})
    assert partner.got == []


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("200 OK", None),
        ("202 Accepted", None),
        ("204 No Content", None),
        ("301 Moved Permanently", Misconfigured),
        ("302 Found", Misconfigured),
        ("307 Temporary Redirect", Misconfigured),
        ("400 Bad Request", Rejected),
        ("401 Unauthorized", Misconfigured),
        ("402 Payment Required", Rejected),
        ("403 Forbidden", Misconfigured),
        ("404 Not Found", Misconfigured),
        ("405 Method Not Allowed", Rejected),
        ("408 Request Timeout", Retry),
        ("409 Conflict", Rejected),
        ("410 Gone", Rejected),
        ("413 Content Too Large", TooLarge),
        ("415 Unsupported Media Type", Rejected),
        ("422 Unprocessable Content", Rejected),
        ("423 Locked", Retry),
        ("425 Too Early", Retry),
        ("429 Too Many Requests", Retry),
        ("500 Internal Server Error", Retry),
        ("501 Not Implemented", Rejected),
        ("502 Bad Gateway", Retry),
        ("503 Service Unavailable", Retry),
        ("504 Gateway Timeout", Retry),
        ("599 Whatever", Retry),
    ],
)
def test_case_19_the_status_alone_decides(status, outcome):
    body = b"" if status.startswith("204") else b'{"message": "no", "request_id": "r1"}'
    found = answered(status, ("x-request-id", "r1"), body=body)
    assert type(found) is (outcome or type(None))
    if found is not None:
        assert found.reason == f"answered {status}"
        assert '"message": "no"' in found.detail
        assert "x-request-id: r1" in found.detail


@pytest.mark.parametrize("status", ["423 Locked", "429 Too Many", "503 Unavailable"])
def test_case_19_retry_after_is_passed_on(status):
    assert answered(status, ("Retry-After", "2")).after == 2
    assert answered(status).after is None


def test_case_19_a_success_with_any_body_is_a_success():
    assert answered("200 OK", ("Content-Type", "text/html"), body=b"<p>\xff") is None


def test_case_19_a_redirect_is_not_followed():
    partner = Partner("302 Found", [("Location", "/elsewhere")])
    with delivering(partner) as deliver, pytest.raises(Misconfigured):
        deliver({})
    assert len(partner.got) == 1


def test_case_19_a_network_failure_is_retried():
    with socket.socket() as taken, Session(timeout=5) as client:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        port = taken.getsockname()[1]
        settings = options(endpoint=f"http://127.0.0.1:{port}/behavioral/s3cr3t-path")
        with pytest.raises(Retry) as caught:
            movable_ink.deliver(payloads=[{}], settings=settings, client=client)
    assert not any(secret in repr(caught.value) for secret in SECRETS)


def test_what_cannot_be_written_as_json_is_the_event_s_fault():
    with delivering(Partner()) as deliver, pytest.raises(Rejected, match="as JSON"):
        deliver({"price": float("nan")})


def test_case_19_no_outcome_and_no_log_line_holds_a_secret(caplog):
    caplog.set_level(logging.INFO)
    for status in ("400 Bad", "401 No", "404 Not Found", "429 Slow", "500 Oops"):
        outcome = answered(status)
        assert not any(s in f"{outcome!r}{outcome.detail}" for s in SECRETS)
    assert not any(secret in caplog.text for secret in SECRETS)
