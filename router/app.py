"""The WSGI application: collaborators in, app out."""

import atexit
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import falcon

from router import config as configuration
from router.acceptance import Acceptance, unavailable
from router.bodies import Bodies
from router.browsers import Dropped, Pixel, Projects, SourceConfig
from router.config import Config
from router.counts import Counts
from router.delivery import Lanes, register
from router.destination import Destination
from router.episodes import Episode
from router.errors import ConfigError, PluginError, Refused, StorageUnavailable
from router.events import TYPES
from router.gate import Surroundings
from router.ledger import Ledger
from router.limits import Limits
from router.log import Log
from router.metrics import Metrics
from router.middleware import CORS, FOR_CLIENTS, Addresses
from router.plugins import within
from router.resources import BATCHES, Calls, Health, Ready, answer
from router.retention import Retention
from router.sources import Sources
from router.wakeup import ring

logger = logging.getLogger("router")

# gunicorn stops, rather than start the worker again, when it ends with this status.
APP_LOAD_ERROR = 4

# Objects more than before; ten times as many made no difference.
COLLECTED_AFTER = 10_000

# For a plugin to make its sandbox.
SANDBOX_SECONDS = 5.0

HTTP_ERRORS = {
    404: ("not_found", "there is nothing here; events go to POST /v1/batch"),
    405: ("method_not_allowed", "see the Allow header for the methods"),
}

WSGIApp = Callable[..., Any]


def application_from_environment() -> WSGIApp:
    """What `gunicorn router` serves: the configuration's app, with its lanes.

    A configuration that cannot be used ends the process with its report.
    """
    log_to_stderr()
    try:
        config = configuration.load()
        shared = at_log(config)
        settle(config, shared)
    except ConfigError as error:
        print(f"router: {error}", file=sys.stderr)
        raise SystemExit(APP_LOAD_ERROR) from None
    except StorageUnavailable as error:
        # A full disk must not keep a worker from coming back: it answers 503 until
        # there is room, and its lanes settle then.
        logger.error("starts without its disk: %s", error)
    start_where_served(lambda: run_until_exit(config, shared))
    app = create_app(config, shared)
    collect_less_often()
    return app


def collect_less_often() -> None:
    """For a process that is loaded: events are many small objects, none of which is
    garbage in a cycle, and Python would look through them after every 700."""
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, *gc.get_threshold()[1:])


def at_log(config: Config) -> Surroundings:
    """The log and the ledger of that configuration, not opened yet."""
    settings, window = config.router, config.ingest.dedupe_window
    ledger = Ledger(settings.data_dir)
    log = Log(
        settings.data_dir,
        settings.partitions,
        settings.max_disk,
        window,
        retention=settings.retention,
        beside=ledger.bytes_on_disk,
    )
    return Surroundings(log, ledger)


def settle(config: Config, shared: Surroundings) -> None:
    """Makes the log where there is none, with a place for each new destination, and
    tells of the broken ones.

    Raises ConfigError, StorageUnavailable. What was opened is closed again, as the
    process may yet fork.
    """
    for broken in config.broken.values():
        logger.error("does not run, its events wait: %s", broken.problem)
    check_partitions(config, shared)
    register([*config.destinations.values(), *config.broken.values()], shared)
    shared.close()


def check_partitions(config: Config, shared: Surroundings) -> None:
    """Raises ConfigError where the log was made with other partitions."""
    partitions = shared.log.partitions
    made_with = shared.log.settle_partitions()
    if made_with != partitions:
        expected = f"expected {made_with}, with which the log was made"
        what = f"[router] partitions = {partitions}: {expected}"
        raise ConfigError([f"{config.directory}: {what}"])


def disk_problems(config: Config) -> list[str]:
    """What keeps that configuration from its data directory; makes nothing there."""
    data_dir = config.router.data_dir
    where = f"{config.directory}: [router] data_dir = {str(data_dir)!r}"
    nearest = next(
        one for one in (data_dir, *data_dir.absolute().parents) if one.exists()
    )
    if not nearest.is_dir():
        return [f"{where}: {nearest} is no directory"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f"{where}: {nearest} cannot be written to"]
    shared = at_log(config)
    try:
        if shared.log.exists():
            check_partitions(config, shared)
    except ConfigError as error:
        return error.problems
    except StorageUnavailable as error:
        return [f"{where}: {error}"]
    return []


def create_app(config: Config, shared: Surroundings) -> WSGIApp:
    """The app that accepts events, and serves the sandboxes if they are wanted."""
    ingest, log = config.ingest, shared.log
    appended = partial(ring, config.router.data_dir)
    counts = Counts(shared.ledger)
    rates = {n: s.rate_limit for n, s in config.sources.items() if s.rate_limit}
    limits = Limits(config.router.data_dir / "limits", rates)
    acceptance = Acceptance(
        log, Sources(config.sources), ingest, appended, counts.add, limits.wait
    )
    bodies = Bodies(ingest.max_batch, ingest.read_timeout)
    around: list[Any] = [Addresses(ingest.trusted_proxies), CORS(ingest.origins)]
    app = falcon.App(media_type=falcon.MEDIA_JSON, middleware=around)
    app.req_options.strip_url_path_trailing_slash = True
    for kind in TYPES:
        calls = Calls(partial(acceptance.accept, kind=kind), bodies)
        app.add_route(f"/v1/{kind}", calls)
        app.add_route(f"/v1/{kind[0]}", calls)  # as browsers' SDKs have it
    for name in BATCHES:
        app.add_route(f"/v1/{name}", Calls(acceptance.accept, bodies))
    add_browser_routes(app, config, acceptance, bodies, counts)
    app.add_route("/health", Health())
    app.add_route("/ready", Ready(log, acceptance.refusing.end))
    app.add_route("/metrics", Metrics(config, shared, counts))
    app.add_error_handler(Refused, partial(_answer_refused, counts))
    no_disk = partial(_answer_unavailable, counts, acceptance.refusing)
    app.add_error_handler(StorageUnavailable, no_disk)
    app.add_error_handler(falcon.HTTPError, partial(_answer_http_error, bodies))
    app.add_error_handler(Exception, _answer_bug)
    if not config.router.sandbox:
        return app
    return mounted(app, _sandboxes(config.destinations))


def add_browser_routes(
    app: Any, config: Config, acceptance: Acceptance, bodies: Bodies, counts: Counts
) -> None:
    """What SDKs in pages and on phones need beside the routes for events."""
    app.add_route("/beacon/v1/batch", Calls(acceptance.accept, bodies))
    for kind in TYPES:
        pixel = Pixel(partial(acceptance.accept, kind=kind), counts)
        app.add_route(f"/v1/pixel/{kind}", pixel)
        if kind in ("track", "page"):
            app.add_route(f"/pixel/v1/{kind}", pixel)
    sources = Sources(config.sources)
    projects = Projects(sources, config.ingest.public_url)
    app.add_route("/v1/projects/{rest:path}", projects)
    app.add_route("/sourceConfig", SourceConfig(sources))
    app.add_route("/v1/m", Dropped(bodies))
    app.add_route("/rsaMetrics", Dropped(bodies))


def _sandboxes(destinations: Mapping[str, Destination]) -> dict[str, WSGIApp]:
    """The sandboxes that there are, by path. All are made at once, so that however many
    block, the start is delayed as by one."""
    with ThreadPoolExecutor(max(1, len(destinations))) as pool:
        made = pool.map(_sandbox, destinations.values())
        found = zip(destinations, made, strict=True)
        return {f"/sandbox/{name}": one for name, one in found if one}


def _sandbox(destination: Destination) -> WSGIApp | None:
    """Without it where the plugin's hook fails: that costs no other destination."""
    try:
        hook = destination.sandbox
        found: WSGIApp | None = within(SANDBOX_SECONDS, hook, "its hook `sandbox`")
    except PluginError as error:
        logger.error("%s: has no sandbox: %s", destination.name, error.safe)
        return None
    return found


def mounted(app: WSGIApp, others: Mapping[str, WSGIApp]) -> WSGIApp:
    """The app, with others below path prefixes; they see their paths without it."""

    def dispatch(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        for prefix, other in others.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
                environ["PATH_INFO"] = path.removeprefix(prefix)
                return other(environ, start_response)
        return app(environ, start_response)

    return dispatch


def start_where_served(start: Callable[[], None]) -> None:
    """Calls start in each process that serves requests: here, or after the fork.

    A gunicorn worker has set its signal handlers when it loads the app. With
    --preload the arbiter loads it instead, before it forks, and its workers get it
    ready made.
    """

    def when_worker() -> None:
        while not _is_worker():
            time.sleep(0.005)
        start()

    waiting = partial(threading.Thread, target=when_worker, daemon=True)
    if _is_worker():
        start()
    else:
        os.register_at_fork(after_in_child=lambda: waiting().start())


def run_until_exit(config: Config, shared: Surroundings) -> None:
    """Starts the retention and the lanes; they stop in order when the process ends."""
    _keep_pipe_open()
    settings = config.router
    retention = Retention(shared, settings.data_dir, settings.retention)
    atexit.register(retention.stop)
    retention.start()
    if settings.deliver:
        lanes = Lanes(config.destinations.values(), shared, settings.data_dir)
        atexit.register(lanes.stop)
        lanes.start()


def log_to_stderr() -> None:
    """Gives the router's log lines a place, unless the operator gave them one."""
    root = logging.getLogger("router")
    if root.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    line = "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(line, "%Y-%m-%d %H:%M:%S %z"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _is_worker() -> bool:
    owner = type(_signalled())
    return any(base.__module__ == "gunicorn.workers.base" for base in owner.__mro__)


def _signalled() -> Any:
    return getattr(signal.getsignal(signal.SIGTERM), "__self__", None)


def _keep_pipe_open() -> None:
    """Leaves it to the kernel to close the pipe by which gthread's threads wake it.

    gunicorn 27 closes it after `graceful_timeout`, and a request that takes longer then
    writes its byte to that number: into the log, or whatever file has it by then.
    """
    pipe = getattr(_signalled(), "method_queue", None)
    if pipe is not None:
        pipe.close = lambda: None


def _answer_refused(
    counts: Counts, req: Any, resp: Any, error: Refused, params: Any
) -> None:
    # A probe or a scrape brings no events.
    if FOR_CLIENTS.match(req.path):
        counts.add(error.source, error.code)
    resp.retry_after = error.retry_after
    if error.retry_after is not None:
        # The browsers' SDK before 1.84 looks for it here.
        resp.set_header("X-RateLimit-Reset", str(error.retry_after))
    _answer_error(resp, error.status, error.code, error.message)


def _answer_unavailable(
    counts: Counts,
    refusing: Episode,
    req: Any,
    resp: Any,
    error: StorageUnavailable,
    params: Any,
) -> None:
    refusing.begin("clients get 503: %s", error)
    _answer_refused(counts, req, resp, unavailable(), params)


def _answer_http_error(
    bodies: Bodies, req: Any, resp: Any, error: falcon.HTTPError, params: Any
) -> None:
    bodies.drop(req)
    resp.set_headers(error.headers or {})
    other = ("invalid_request", error.title or "")
    code, message = HTTP_ERRORS.get(error.status_code, other)
    _answer_error(resp, error.status_code, code, f"{req.method} {req.path}: {message}")


def _answer_bug(req: Any, resp: Any, error: Exception, params: Any) -> None:
    logger.exception("%s %s: a bug in the router", req.method, req.path)
    _answer_error(resp, 500, "internal_error", "a bug in the router; it is in its log")


def _answer_error(resp: Any, status: int, code: str, message: str) -> None:
    content = {"success": False, "code": code, "message": message, "error": message}
    answer(resp, content, status)
