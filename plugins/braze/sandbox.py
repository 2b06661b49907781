"""The sandbox: `/users/track` as Braze documents it, and what it has taken.

    POST /users/track                 takes objects
    GET, DELETE /users                whose they are, and forgets them

It refuses single objects by the rules that are public; Braze has more. The words of
its errors are those that others have seen, where they have.
"""

import fcntl
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import falcon

from router import codec, hookimpl
from router.hookspecs import WSGIApp
from router.requirements import to_number, to_text

from .delivery import KINDS
from .settings import Settings
from .values import MOST_IN_PURCHASE

IDENTIFIERS = ("external_id", "braze_id", "user_alias", "email", "phone")
NO_IDENTIFIER = (
    "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
)
REQUIRED = {
    "attributes": (),
    "events": ("name", "time"),
    "purchases": ("product_id", "currency", "price", "time"),
}
NOTHING_VALID = (
    "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
)


@hookimpl
def sandbox(settings: Settings) -> WSGIApp:
    taken = Taken(settings.data_dir / "sandbox" / f"{settings.name}.jsonl")
    app = falcon.App()
    app.add_error_handler(Refusal, Refusal.answer)
    app.add_route("/users/track", Track(settings, taken))
    app.add_route("/users", Users(taken))
    return app


class Refusal(Exception):
    """An answer that takes nothing."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.said = status, {"message": message, **more}

    @staticmethod
    def answer(
        req: falcon.Request, resp: falcon.Response, error: "Refusal", params: Any
    ) -> None:
        resp.status = error.status
        _answer(resp, error.said)


class Taken:
    """What was taken, in a file that all worker processes share."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def append(self, objects: Mapping[str, Any]) -> None:
        with self._locked() as file:
            file.write(codec.dumps(objects) + b"\n")

    def read(self) -> list[Any]:
        with self._locked() as file:
            file.seek(0)
            return [codec.loads(line) for line in file]

    def forget(self) -> None:
        with self._locked() as file:
            file.truncate(0)

    @contextmanager
    def _locked(self) -> Iterator[Any]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


class Track:
    """Takes what is right of a request, and says what is wrong with the rest."""

    def __init__(self, settings: Settings, taken: Taken) -> None:
        self._settings, self._taken = settings, taken

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        chunked = req.env.get("wsgi.input_terminated")
        body = (req.stream if chunked else req.bounded_stream).read()
        expected = f"Bearer {self._settings.api_key.get_secret_value()}"
        if not hmac.compare_digest((req.auth or "").encode(), expected.encode()):
            raise Refusal(401, "Invalid API key")
        objects = _objects(body)
        if sum(map(len, objects.values())) > self._settings.most_objects:
            raise Refusal(400, "Max Input Length Exceeded")
        right, errors = _judged(objects)
        if not any(right.values()):
            raise Refusal(400, NOTHING_VALID, errors=errors)
        self._taken.append(right)
        counts = {f"{kind}_processed": len(found) for kind, found in right.items()}
        said = {
            "message": "success",
            **{n: count for n, count in counts.items() if count},
        }
        resp.status = falcon.HTTP_201
        _answer(resp, said | ({"errors": errors} if errors else {}))


class Users:
    """What was taken, by profile."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, {"users": list(profiles(self._taken.read()).values())})

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._taken.forget()
        resp.status = falcon.HTTP_204


def profiles(taken: list[Any]) -> dict[str, dict[str, Any]]:
    """Profiles by who they are; of a request attributes come first, then events."""
    found: dict[str, dict[str, Any]] = {}
    for objects in taken:
        for kind in KINDS:
            for one in objects[kind]:
                _add(found, kind, one)
    return found


def _add(found: dict[str, dict[str, Any]], kind: str, one: Mapping[str, Any]) -> None:
    identifier = next(name for name in IDENTIFIERS if one.get(name))
    whose = {identifier: one[identifier]}
    key = codec.dumps(whose).decode()
    # A profile of an alias alone is made only where it is asked for.
    is_made = identifier != "user_alias" or one.get("_update_existing_only") is False
    if key not in found and not is_made:
        return
    empty = {**whose, "attributes": {}, "events": [], "purchases": []}
    profile = found.setdefault(key, empty)
    rest = {n: v for n, v in one.items() if n not in (*whose, "_update_existing_only")}
    if kind != "attributes":
        profile[kind].append(rest)
        return
    merged = profile["attributes"] | rest
    profile["attributes"] = {n: v for n, v in merged.items() if v is not None}


def _objects(body: bytes) -> dict[str, list[Any]]:
    try:
        said = codec.loads(body)
    except ValueError:
        raise Refusal(400, "Bad syntax") from None
    if not isinstance(said, Mapping):
        raise Refusal(400, "Bad syntax")
    objects = {kind: said.get(kind, []) for kind in KINDS}
    if not all(isinstance(found, list) for found in objects.values()):
        raise Refusal(400, "Bad syntax")
    return objects


def _judged(objects: Mapping[str, list[Any]]) -> tuple[dict[str, list[Any]], list[Any]]:
    """Those that are right, and an error for each of the others."""
    right: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    errors = []
    for kind, found in objects.items():
        for index, one in enumerate(found):
            if wrong := _problem(kind, one):
                errors.append({"type": wrong, "input_array": kind, "index": index})
            else:
                right[kind].append(one)
    return right, errors


def _problem(kind: str, one: Any) -> str | None:
    if not isinstance(one, Mapping) or not any(map(one.get, IDENTIFIERS)):
        return NO_IDENTIFIER
    for name in REQUIRED[kind]:
        if one.get(name) in (None, ""):
            return f"'{name}' is required"
    if kind == "attributes" and "@" not in (to_text(one.get("email", "@")) or "@"):
        return "The value provided for the 'email' field is not a valid email."
    if kind == "purchases":
        return _purchase_problem(one)
    return None


def _purchase_problem(one: Mapping[str, Any]) -> str | None:
    quantity, price = one.get("quantity", 1), one["price"]
    if type(quantity) is not int or not 1 <= quantity <= MOST_IN_PURCHASE:
        return "'quantity' is not valid"
    if isinstance(price, str) or to_number(price) is None:
        return "'price' is not valid"
    return None


def _answer(resp: falcon.Response, value: Any) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = codec.dumps(value)
