"""What `requests` makes of a call before it is sent, kept for the next that differs in
its body alone: to make it takes a fifth of a call."""

from collections.abc import Callable
from copy import copy
from typing import Any

import requests
from requests.auth import HTTPBasicAuth
from requests.hooks import default_hooks


def no_auth(request: Any) -> Any:
    """For a session that is to take no credentials from anywhere by itself."""
    return request


class Prepared:
    """The last call of a session, as it was prepared."""

    def __init__(self) -> None:
        # Both at once, as other threads may use the session.
        self._last: tuple[Any, requests.PreparedRequest | None] = (None, None)

    def of(
        self,
        session: requests.Session,
        request: requests.Request,
        prepare: Callable[[requests.Request], requests.PreparedRequest],
    ) -> requests.PreparedRequest:
        """The call, prepared: as the last was, if they are alike."""
        decides = _what_decides(session, request)
        known, last = self._last
        if last is None or decides is None or decides != known:
            made = prepare(request)
            if decides:
                # A copy: the caller may change what it gets.
                self._last = (decides, made.copy())
            return made
        found = copy(last)
        found.headers, found.hooks = last.headers.copy(), default_hooks()
        found.headers["Content-Length"] = str(len(request.data))
        found.body = request.data
        return found


def _what_decides(session: requests.Session, request: requests.Request) -> Any:
    """All that a prepared call depends on beside its body; None where more decides than
    can be compared, as who signs a body has to see it."""
    auth = request.auth
    if type(auth) is HTTPBasicAuth:
        auth = (auth.username, auth.password)
    if type(auth) is not tuple and (auth is not None or session.auth is not no_auth):
        return None
    if type(request.data) is not bytes or not request.data:
        return None
    more = (request.params, request.files, request.cookies, session.params)
    hooks = (*request.hooks.values(), *session.hooks.values())
    if any(more) or any(hooks) or len(session.cookies):
        return None
    headers = (*request.headers.items(), *session.headers.items())
    return request.method, request.url, auth, headers
