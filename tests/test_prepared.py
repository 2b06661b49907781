"""A call that is prepared after another is as it would be by itself."""

import json
from itertools import product

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth

from router.client import Session

URL = "https://api.example/v1"
JSON = {"Content-Type": "application/json"}


class Signed(AuthBase):
    """Signs the body, as some partners ask for."""

    def __call__(self, request):
        body = request.body or b""
        request.headers["X-Signature"] = f"{len(body)} {body[:2]!r}"
        return request


CALLS = [
    {"data": b"one", "headers": JSON},
    {"data": b"one and more", "headers": JSON},
    {"data": b""},
    {"data": b"", "json": {"a": 1}},
    {"data": b"", "method": "GET"},
    {"data": b"one", "method": "GET"},
    {"data": b"one"},
    {"data": "text", "headers": JSON},
    {"data": {"a": "form"}},
    {"json": {"a": 1}},
    {"data": b"one", "json": {"a": 1}},
    {"data": b"one", "headers": {**JSON, "X-Key": "a"}},
    {"data": b"one", "headers": {**JSON, "X-Key": "b"}},
    {"data": b"one", "headers": {**JSON, "User-Agent": None}},
    {"data": b"one", "headers": JSON, "auth": ("key", "")},
    {"data": b"one", "headers": JSON, "auth": HTTPBasicAuth("key", "")},
    {"data": b"one", "headers": JSON, "auth": HTTPBasicAuth("other", "")},
    {"data": b"one", "headers": JSON, "auth": Signed()},
    {"data": b"two", "headers": JSON, "auth": Signed()},
    {"data": b"one", "headers": JSON, "params": {"a": "b"}},
    {"data": b"one", "headers": JSON, "cookies": {"a": "b"}},
    {"data": b"one", "headers": JSON, "url": URL + "/other"},
    {"data": b"one", "headers": JSON, "method": "PUT"},
    {"files": {"a": b"b"}},
]


def nothing(session):
    pass


def header(session):
    session.headers["X-Token"] = "changed"


def auth(session):
    session.auth = ("user", "password")


def signed(session):
    session.auth = Signed()


def params(session):
    session.params = {"a": "b"}


def cookie(session):
    session.cookies.set("a", "b")


def hook(session):
    session.hooks["response"].append(print)


CHANGES = (nothing, header, auth, signed, params, cookie, hook)


def prepared(session, call):
    """All that goes out, or is done with the answer."""
    call = {"method": "POST", "url": URL, **call}
    made = session.prepare_request(requests.Request(**call))
    headers, body = dict(made.headers), made.body or b""
    body = body if isinstance(body, bytes) else body.encode()
    boundary = headers.get("Content-Type", "").partition("boundary=")[2]
    if boundary:  # which is drawn
        headers["Content-Type"] = headers["Content-Type"].replace(boundary, "")
        body = body.replace(boundary.encode(), b"")
    return made.method, made.url, headers, body, made.hooks


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_as_it_would_be_without_the_one_before(change):
    for before, call in product(CALLS, CALLS):
        with Session(10) as session, Session(10) as fresh:
            prepared(session, before)
            prepared(session, before)
            change(session)
            change(fresh)
            assert prepared(session, call) == prepared(fresh, call)
            # Nor is the one before it changed by it.
            assert prepared(session, before) == prepared(fresh, before)


def test_a_call_that_differs_in_its_body_alone_is_not_prepared_anew():
    calls = [{"data": json.dumps([n]).encode(), "headers": JSON} for n in (1, 22, 333)]
    with Session(10) as session:
        made = [
            session.prepare_request(requests.Request("POST", URL, **call))
            for call in calls
        ]
    assert [one.body for one in made] == [b"[1]", b"[22]", b"[333]"]
    assert [one.headers["Content-Length"] for one in made] == ["3", "4", "5"]
    # What is the same for all of them is the same object.
    assert len({id(one._cookies) for one in made[1:]}) == 1


def test_what_the_caller_changes_in_one_is_not_in_the_next():
    with Session(10) as session, Session(10) as fresh:
        for body in (b"one", b"two", b"three"):
            made = session.prepare_request(requests.Request("POST", URL, data=body))
            made.headers["X-Signature"] = "signed"
            made.url += "?signature"
            made.register_hook("response", print)
            made.body = b"other"
        call = {"data": b"four"}
        assert prepared(session, call) == prepared(fresh, call)
