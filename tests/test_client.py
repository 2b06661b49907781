"""The client against partners that do what partners do: late, wrong or too much."""

import gzip
import logging
import shutil
import ssl
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path

import pytest
from urllib3.exceptions import InsecureRequestWarning

from router import Misconfigured, Rejected, Retry, TooLarge
from router.client import LONGEST_ANSWER, Session, verdict
from router.errors import Outcome
from router.testing.scripted import CLOSE, RESET, answer, drip, scripted

ROOT = Path(__file__).parent.parent
OK = answer()
CANARY = "c4n4ry"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

# A deadline, and what a call may take over it on a busy machine.
DEADLINE = 0.4
LATE = 1.5


@pytest.fixture(autouse=True)
def nothing_of_the_environment(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client():
    with Session(timeout=10) as session:
        yield session


@contextmanager
def ends_at_the_deadline():
    begun = time.monotonic()
    with pytest.raises(Retry, match=r"^no answer: "):
        yield
    assert DEADLINE - 0.05 <= time.monotonic() - begun <= LATE


def post(url, timeout=DEADLINE, **options):
    with Session(timeout) as session:
        return session.post(url, data=b"{}", **options)


# What is sent.


def test_json_goes_out_in_the_routers_own_bytes(client):
    with scripted(OK) as partner:
        client.post_json(f"{partner.url}/x/y", {"name": "Café", "url": "https://a/b"})
    (request,) = partner.requests
    assert request.line == "POST /x/y HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.body.decode() == '{"name":"Café","url":"https://a/b"}'


def test_a_call_may_have_headers_and_authentication_of_its_own(client):
    with scripted(OK) as partner:
        client.post_json(partner.url, {}, headers={"X-A": "b"}, auth=("key", "secret"))
        client.post_json(partner.url, {})
    first, second = partner.requests
    assert first.headers["x-a"] == "b"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["authorization"] == "Basic a2V5OnNlY3JldA=="
    assert "x-a" not in second.headers
    assert "authorization" not in second.headers


def test_credentials_in_an_address_are_not_sent_nor_replace_a_header(client):
    with scripted(OK) as partner:
        url = partner.url.replace("://", "://user:c4n4ry@")
        client.post_json(url, {}, headers={"Authorization": "Bearer mine"})
        client.post_json(url, {})
    first, second = partner.requests
    assert first.headers["authorization"] == "Bearer mine"
    assert "authorization" not in second.headers


def test_connections_are_reused(client):
    with scripted(answer(body=b"x" * 100_000)) as partner:
        for _ in range(20):
            assert len(client.post_json(partner.url, {}).content) == 100_000
    assert partner.connections == 1
    assert len(partner.requests) == 20


def test_an_answer_that_is_refused_or_failed_leaves_the_connection_in_use(client):
    with scripted(
        answer("500 Oops", body=b"x" * 1000), answer("400 No"), OK
    ) as partner:
        for _ in range(3):
            client.post_json(partner.url, {})
    assert partner.connections == 1


def test_a_large_answer_that_closes_its_connection_is_read_whole(client):
    body = bytes(range(256)) * 20_000
    script = (answer("200 OK", "Connection: close", body=body), CLOSE)
    with scripted(script) as partner:
        assert client.post_json(partner.url, {}).content == body
        assert client.post_json(partner.url, {}).content == body
    assert partner.connections == 2


def test_an_answer_without_a_length_is_read_to_its_end(client):
    script = (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 300_000, 0.05, b"z", CLOSE)
    with scripted(script) as partner:
        assert client.post_json(partner.url, {}).content == b"a" * 300_000 + b"z"


def test_a_connection_that_the_partner_closed_meanwhile_is_opened_again(client):
    with scripted((OK, CLOSE), OK) as partner:
        client.post_json(partner.url, {})
        time.sleep(0.1)
        client.post_json(partner.url, {})
    assert partner.connections == 2
    assert len(partner.requests) == 2


# One deadline for the whole call.

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param((60.0,), id="no answer at all"),
        pytest.param((*drip(b"HTTP/1.1 200 OK\r\n" * 50, 0.05),), id="slow status"),
        pytest.param((HEAD, *drip(b"X-A: b\r\n" * 50, 0.05)), id="slow headers"),
        pytest.param((HEAD + b"\r\n", *drip(b"x" * 1000, 0.05)), id="slow body"),
        pytest.param((CHUNKED, *drip(b"1\r\nx\r\n" * 99, 0.05)), id="slow chunks"),
        pytest.param(
            (b"HTTP/1.1 100 Continue\r\n\r\n", 0.05) * 200, id="always to continue"
        ),
        pytest.param((HEAD + b"\r\n", b"x", 60.0), id="an answer that stops"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\n\r\n", *drip(b"x" * 1000, 0.05)), id="no length"
        ),
    ],
)
def test_a_slow_answer_ends_at_the_deadline(script):
    with scripted(script) as partner, ends_at_the_deadline():
        post(partner.url)


def test_the_last_wait_of_a_call_is_only_as_long_as_what_is_left():
    script = (0.8, HEAD + b"\r\n", 60.0)
    begun = time.monotonic()
    with scripted(script) as partner, pytest.raises(Retry):
        post(partner.url, timeout=1.0)
    assert 0.95 <= time.monotonic() - begun <= 1.5


def test_a_partner_that_does_not_read_ends_at_the_deadline():
    body = b"x" * 50_000_000
    with (
        scripted(OK, reads=False) as partner,
        Session(DEADLINE) as session,
        ends_at_the_deadline(),
    ):
        session.post(partner.url, data=body)


def test_a_slow_answer_that_ends_in_time_is_taken():
    with scripted((HEAD + b"\r\n", *drip(b"x" * 10, 0.02), b"y" * 990)) as partner:
        assert len(post(partner.url, timeout=10).content) == 1000


def test_the_deadline_counts_each_call_anew_and_not_the_time_between_them():
    with scripted((0.3, OK)) as partner, Session(timeout=0.6) as session:
        for _ in range(4):
            assert session.post(partner.url).status_code == 200
    assert partner.connections == 1


def test_a_session_is_of_use_after_a_deadline_has_passed():
    with scripted((60.0,), OK) as partner, Session(DEADLINE) as session:
        with pytest.raises(Retry):
            session.post(partner.url)
        assert session.post(partner.url).status_code == 200


def test_a_late_answer_is_not_taken_for_that_of_the_next_call():
    late, next_one = answer(body=b"late"), answer(body=b"next")
    with (
        scripted((DEADLINE + 0.1, late), next_one) as partner,
        Session(DEADLINE) as session,
    ):
        with pytest.raises(Retry):
            session.post(partner.url)
        time.sleep(0.2)
        assert session.post(partner.url).content == b"next"


def test_a_call_may_have_a_deadline_of_its_own():
    with (
        scripted((60.0,)) as partner,
        Session(timeout=60) as session,
        ends_at_the_deadline(),
    ):
        session.post(partner.url, timeout=DEADLINE)


def test_the_deadline_of_one_thread_is_not_that_of_another():
    answered = []

    def patient(url):
        answered.append(post(url, timeout=10).status_code)

    with scripted((*drip(OK, 0.04),)) as partner:
        thread = threading.Thread(target=patient, args=(partner.url,))
        thread.start()
        with ends_at_the_deadline():
            post(partner.url)
        thread.join()
    assert answered == [200]


def test_a_proxy_that_is_slow_to_connect_ends_at_the_deadline(monkeypatch):
    script = (b"HTTP/1.1 200 OK\r\n", *drip(b"X-A: b\r\n" * 6, 0.05), 60.0)
    with scripted(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with ends_at_the_deadline():
            post("https://partner.example/")


# No surprises.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(client, status):
    with scripted(OK) as other:
        moved = answer(f"{status} Moved", f"Location: {other.url}/elsewhere")
        with scripted(moved) as partner:
            response = client.post(partner.url, allow_redirects=True)
            assert client.get(partner.url).status_code == status
        with pytest.raises(Misconfigured, match=f"^answered {status} Moved$"):
            verdict(response)
    assert other.requests == []
    assert len(partner.requests) == 2


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/x",
        "http://[::1",
        "http://[c4n4ry]/",
        "http://h:99999/",
        "::",
        "http://\xff",
    ],
)
def test_a_redirect_to_no_address_is_a_redirect_like_any_other(client, location):
    moved = answer("302 Found", f"Location: {location}")
    with scripted(moved) as partner, pytest.raises(Misconfigured) as raised:
        verdict(client.post(partner.url))
    assert CANARY not in str(raised.value)


def test_cookies_are_not_kept(client):
    with scripted(answer("200 OK", "Set-Cookie: id=1; Path=/")) as partner:
        for _ in range(2):
            client.post_json(partner.url, {})
    assert "cookie" not in partner.requests[1].headers
    assert len(client.cookies) == 0


def test_the_netrc_file_is_not_read(tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login root password c4n4ry\n")
    netrc.chmod(0o600)
    code = (
        "import sys, requests\n"
        "from router.client import Session\n"
        "assert requests.utils.get_netrc_auth(sys.argv[1])\n"
        "Session(5).post(sys.argv[1])\n"
    )
    with scripted(OK) as partner:
        subprocess.run(
            [sys.executable, "-c", code, partner.url],
            env={"HOME": str(tmp_path)},
            cwd=ROOT,
            check=True,
            timeout=30,
        )
    assert "authorization" not in partner.requests[0].headers


def test_a_proxy_of_the_environment_is_used(monkeypatch, client):
    with scripted(OK) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        client.post_json("http://partner.example/x", {})
    (request,) = proxy.requests
    assert request.line == "POST http://partner.example/x HTTP/1.1"


def test_a_proxy_for_https_is_asked_to_connect(monkeypatch, client):
    with scripted((answer("503 No"), CLOSE)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(Retry, match=r"^no answer: ProxyError$"):
            client.post("https://partner.example/c4n4ry")
    (request,) = proxy.requests
    assert request.line.startswith("CONNECT partner.example:443 ")


def test_a_proxy_is_not_used_for_what_is_excepted(monkeypatch, client):
    with scripted(OK) as proxy, scripted(OK) as partner:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        client.post_json(partner.url, {})
    assert proxy.requests == []
    assert len(partner.requests) == 1


def test_a_proxy_keeps_the_deadline(monkeypatch):
    with scripted((HEAD + b"\r\n", *drip(b"x" * 1000, 0.05))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with ends_at_the_deadline():
            post("http://partner.example/")


# Failures are outcomes, and name no address.

ADDRESSES = [
    "",
    "/c4n4ry",
    "partner.example/c4n4ry",
    "ftp://partner.example/c4n4ry",
    "http://",
    "http:///c4n4ry",
    "http://[::1/c4n4ry",
    "http://h:99999/c4n4ry",
    "http://h:port/c4n4ry",
    "http://exa mple/c4n4ry",
    "http://*.example/c4n4ry",
    "http://.example/c4n4ry",
    "http://c4n4ry..example/",
    f"http://{'c4n4ry' * 20}.example/",
]


def shown(error):
    """All that a log line or a traceback would show of an exception."""
    return "".join([str(error), repr(error), *traceback.format_exception(error)])


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_cannot_be_one_is_a_misconfiguration(client, address):
    with pytest.raises(Misconfigured, match=r"^bad address: \w+$") as raised:
        client.post_json(address, {})
    assert CANARY not in shown(raised.value)


BROKEN = [
    pytest.param((RESET,), id="reset"),
    pytest.param((CLOSE,), id="closed"),
    pytest.param((b"nonsense\r\n\r\n", CLOSE), id="no HTTP"),
    pytest.param((b"HTTP/1.1 banana\r\n\r\n", CLOSE), id="no status"),
    pytest.param((HEAD + b"\r\nxx", CLOSE), id="too short"),
    pytest.param((CHUNKED + b"5\r\nxx", CLOSE), id="half a chunk"),
    pytest.param((CHUNKED + b"banana\r\n", CLOSE), id="no chunk"),
    pytest.param((HEAD + b"\r\nxx", RESET), id="reset in the middle"),
    pytest.param(
        (answer("200 OK", "Content-Encoding: gzip", body=b"x" * 50),), id="no gzip"
    ),
    pytest.param((b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000,), id="many headers"),
    pytest.param((b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,), id="a long header"),
]


@pytest.mark.parametrize("script", BROKEN)
def test_a_broken_answer_is_to_be_tried_again(client, script):
    failure = pytest.raises(Retry, match=r"^no answer: \w+$")
    with scripted(script) as partner, failure as raised:
        client.post_json(f"{partner.url}/{CANARY}", {}, auth=("k", CANARY))
    assert CANARY not in shown(raised.value)
    assert raised.value.after is None


def test_a_partner_that_is_not_there_is_to_be_tried_again(client):
    with scripted(OK) as partner:
        gone = partner.url
    with pytest.raises(Retry, match=r"^no answer: ConnectionError$") as raised:
        client.post_json(f"{gone}/{CANARY}?key={CANARY}", {})
    assert CANARY not in shown(raised.value)


def test_a_deadline_that_has_passed_names_no_address():
    with scripted((60.0,)) as partner, pytest.raises(Retry) as raised:
        post(f"{partner.url}/{CANARY}", timeout=0.1)
    assert CANARY not in shown(raised.value)


@pytest.mark.parametrize(
    "script",
    [
        *BROKEN,
        pytest.param((answer("200 OK", "no header"),), id="a line that is no header"),
        pytest.param((answer("200 OK", "X: y", "no: é\x00"),), id="a header of bytes"),
    ],
)
def test_no_log_line_names_the_address(client, script, caplog):
    caplog.set_level(logging.INFO)
    with scripted(script) as partner, suppress(Retry):
        client.post_json(f"{partner.url}/{CANARY}", {})
    assert CANARY not in caplog.text


def test_what_comes_compressed_is_read(client):
    body = gzip.compress(b"hello")
    with scripted(answer("200 OK", "Content-Encoding: gzip", body=body)) as partner:
        assert client.post_json(partner.url, {}).content == b"hello"


# Too much.


@contextmanager
def in_bounded_memory(most=5 * LONGEST_ANSWER):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# Many megabytes of zeros.
DEFLATE = zlib.compressobj(9, wbits=31)
BOMB = b"".join(
    [*(DEFLATE.compress(bytes(2**20)) for _ in range(256)), DEFLATE.flush()]
)
ENDLESS = [
    pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 2**20, id="no length"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
        b"x" * 2**20,
        id="a length",
    ),
    pytest.param(CHUNKED, (b"100\r\n" + b"x" * 256 + b"\r\n") * 4000, id="chunks"),
]


@pytest.mark.parametrize(("head", "piece"), ENDLESS)
def test_an_answer_without_end_is_cut_and_judged_by_its_status(head, piece):
    script = [head, *[piece] * 400]
    with scripted(script, OK) as partner, Session(timeout=60) as session:
        with in_bounded_memory():
            response = session.post(partner.url)
        verdict(response)
        assert len(response.content) == LONGEST_ANSWER
        # The connection is not used again: the rest of the body is still to come.
        assert session.post(partner.url).content == b""
    assert partner.connections == 2


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
@pytest.mark.parametrize("status", ["200 OK", "302 Found", "500 Oops"])
def test_an_answer_that_inflates_without_end_is_cut(client, encoding, status):
    body = gzip.compress(BOMB) if "," in encoding else BOMB
    headers = f"Content-Encoding: {encoding}", "Location: /x"
    with scripted(answer(status, *headers, body=body)) as partner, in_bounded_memory():
        assert client.post(partner.url).content == bytes(LONGEST_ANSWER)


# Threads and sessions beside each other.


def test_no_answer_is_paired_with_the_call_of_another_thread():
    def echo(request):
        yield answer(body=request.body)

    def call(number):
        with Session(timeout=10) as own:
            return [
                (marker, own.post(partner.url, data=marker).text)
                for marker in (f"{number}-{n}" for n in range(50))
            ]

    with scripted(echo) as partner, ThreadPoolExecutor(8) as threads:
        pairs = [pair for found in threads.map(call, range(8)) for pair in found]
    assert len(dict(pairs)) == 400
    assert all(sent == got for sent, got in pairs)
    assert len({request.body for request in partner.requests}) == 400
    assert partner.connections == 8


# How an answer is read.


def judged(status, *headers, body=b""):
    """The verdict on such an answer: an outcome, or None for success."""
    with scripted(answer(status, *headers, body=body)) as partner:
        response = post(f"{partner.url}/{CANARY}", timeout=10)
    try:
        verdict(response)
    except Outcome as outcome:
        return outcome
    return None


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((200, 201, 202, 204, 299), type(None)),
        ((300, 301, 302, 303, 304, 307, 308), Misconfigured),
        ((401, 403, 404), Misconfigured),
        ((413,), TooLarge),
        ((408, 425, 429), Retry),
        ((500, 501, 502, 503, 504, 520, 599), Retry),
        ((400, 402, 405, 406, 409, 410, 411, 412, 414, 415, 418, 422, 451), Rejected),
    ],
)
def test_only_the_status_decides_what_an_answer_means(statuses, expected):
    for status in statuses:
        found = judged(f"{status} Word", body=b'{"error":"unauthorized"}')
        assert type(found) is expected, status
        if found is not None:
            assert CANARY not in shown(found)
            assert found.reason == str(found) == f"answered {status} Word"


def test_an_answer_without_a_word_is_shown_without_one():
    assert judged("503").reason == "answered 503"


@pytest.mark.parametrize("status", ["429 Slow", "503 Down", "500 Oops"])
def test_a_partner_may_say_how_long_to_wait(status):
    assert judged(status, "Retry-After: 17").after == 17
    assert judged(status, "Retry-After: soon").after is None
    assert judged(status).after is None
    later = formatdate(time.time() + 100, usegmt=True)
    assert judged(status, f"Retry-After: {later}").after == pytest.approx(100, abs=3)


def test_what_the_partner_said_is_kept_as_the_detail_and_not_as_the_reason():
    found = judged("400 No", "x-request-id: r-1", body=b'{"user":"jane"}')
    assert found.detail == 'x-request-id: r-1\n{"user":"jane"}'
    assert found.reason == "answered 400 No"


@pytest.mark.parametrize("body", [b"x" * 100_000, b"\xff\xfe" * 50_000])
def test_of_a_long_or_binary_answer_no_more_than_the_beginning_is_kept(body):
    assert len(judged("500 Oops", body=body).detail) == 2048


# TLS, with a certificate made for the day.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_https_connections_are_reused_too(client, certificate, tls):
    with scripted(answer(body=b"x" * 100_000), tls=tls) as partner:
        for _ in range(5):
            response = client.post_json(partner.url, {}, verify=str(certificate[0]))
            assert len(response.content) == 100_000
    assert partner.connections == 1


def test_a_large_https_answer_that_closes_its_connection_is_read_whole(
    client, certificate, tls
):
    script = (answer("200 OK", "Connection: close", body=b"x" * 2_000_000), CLOSE)
    with scripted(script, tls=tls) as partner:
        response = client.post_json(partner.url, {}, verify=str(certificate[0]))
    assert len(response.content) == 2_000_000


def test_a_slow_https_answer_ends_at_the_deadline(certificate, tls):
    script = (HEAD + b"\r\n", *drip(b"x" * 1000, 0.05))
    with scripted(script, tls=tls) as partner, ends_at_the_deadline():
        post(partner.url, verify=str(certificate[0]))


def test_a_partner_that_is_slow_to_shake_hands_ends_at_the_deadline():
    with scripted(OK, reads=False) as partner, ends_at_the_deadline():
        post(partner.url.replace("http:", "https:"))


def test_the_authorities_that_the_environment_names_are_trusted(
    monkeypatch, client, certificate, tls
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with scripted(OK, tls=tls) as partner:
        assert client.post(partner.url).ok


def test_a_session_that_trusts_anyone_does_not_make_another_do_so(tls):
    with scripted(OK, tls=tls) as partner, Session(10) as naive, Session(10) as other:
        naive.verify = False
        with pytest.warns(InsecureRequestWarning):
            assert naive.post(partner.url).ok
        with pytest.raises(Retry, match="SSLError"):
            other.post(partner.url)
    assert len(partner.requests) == 1


def test_a_call_that_trusts_anyone_does_not_make_the_next_do_so(client, tls):
    with scripted(OK, tls=tls) as partner:
        with pytest.warns(InsecureRequestWarning):
            assert client.post(partner.url, verify=False).ok
        with pytest.raises(Retry, match="SSLError"):
            client.post(partner.url)
    assert len(partner.requests) == 1


def test_an_https_connection_that_the_partner_closed_meanwhile_is_opened_again(
    client, certificate, tls
):
    with scripted((OK, CLOSE), OK, tls=tls) as partner:
        client.post(partner.url, verify=str(certificate[0]))
        time.sleep(0.1)
        client.post(partner.url, verify=str(certificate[0]))
    assert partner.connections == 2


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(client, tls):
    failure = pytest.raises(Retry, match=r"^no answer: SSLError$")
    with scripted(OK, tls=tls) as partner, failure:
        client.post_json(partner.url, {})
    assert partner.requests == []
