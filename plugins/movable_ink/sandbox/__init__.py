"""The sandbox: an imitation of Movable Ink, as it was observed and as it is documented.

collector   POST /behavioral/{key}        takes events, as Movable Ink's collector does
profiles    GET, DELETE /profiles         whose events they are
faults      GET, POST, DELETE /faults     how the next requests to the collector end
answers     what all of these say in the same way
storage     what was taken, and the faults, in files that worker processes share
"""

import falcon

from router import hookimpl
from router.hookspecs import WSGIApp

from ..settings import Settings
from .answers import Refusal, RequestIds, not_found
from .collector import PATH, Collector
from .faults import Faults, FaultsResource
from .profiles import ProfilesResource
from .storage import Storage


@hookimpl
def sandbox(settings: Settings) -> WSGIApp:
    storage = Storage(settings.data_dir / "sandbox", settings.name)
    faults = Faults(storage)
    app = falcon.App(middleware=[RequestIds()])
    app.add_error_handler(Refusal, Refusal.answer)
    app.add_route("/profiles", ProfilesResource(storage))
    app.add_route("/faults", FaultsResource(faults))
    app.add_sink(not_found, "/")
    app.add_sink(Collector(settings, storage, faults), PATH)
    return app
