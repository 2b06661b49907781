"""A real HTTP server in a thread, for any WSGI app."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class Server(ThreadingMixIn, WSGIServer):
    """A thread a request; closing the server waits for them."""

    request_queue_size = 128

    def server_bind(self) -> None:
        # The inherited method asks the resolver for the host's name.
        self.socket.bind(self.server_address)
        host, port = self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = host, port
        self.setup_environ()


class QuietHandler(WSGIRequestHandler):
    """Writes no line about each request."""

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serve(app: Callable[..., Any]) -> Iterator[str]:
    """Serves the app on a free port of 127.0.0.1 and yields its base URL."""
    server = make_server(
        "127.0.0.1", 0, app, server_class=Server, handler_class=QuietHandler
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
