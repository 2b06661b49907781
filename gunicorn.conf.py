"""How `gunicorn router` runs here. Without this file it works as well, with gunicorn's
own defaults (one sync worker)."""

import functools
import json
import logging
import mmap
import os
import socket
import struct
import subprocess
import sys
import time

from gunicorn.workers.gthread import ThreadWorker

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", 2))

# Threads keep connections open between requests, which SDKs make use of; longer than
# the 60 s that load balancers keep an idle connection by default.
threads = 8
keepalive = 75

# Time for requests and lanes to end in order: longer than any destination's `timeout`.
graceful_timeout = 30

# A pixel's event is in its address: as long a one as gunicorn takes.
limit_request_line = 8190

# A client that stops in the middle of its request's headers holds a thread no longer
# than this. (`[ingest] read_timeout` is for the whole of a body.)
STALLED_SECONDS = 15

# Its path is one for all of a user, so two routers would share it.
control_socket_disable = True

# While conf.d is checked on HUP, nobody looks after the workers.
CHECK_SECONDS = 60

# How many connections more than another a worker may have.
LEAD = 4
# A worker that has not been seen for so many milliseconds has stopped, or hangs.
AWAY = 2000

# Seconds after which one that has so many looks again whether it still has.
SOON = 0.01

# Of each worker, at its number (gunicorn's `age`): its connections, and when it said
# so, in monotonic milliseconds. All workers share them.
PLACES = 256
connections = memoryview(mmap.mmap(-1, 8 * PLACES)).cast("q")
seen = memoryview(mmap.mmap(-1, 8 * PLACES)).cast("q")


class Worker(ThreadWorker):
    """A gthread worker that leaves new connections to those that have fewer. Whoever is
    awake takes all that wait, so one could get all that a proxy keeps open, and the
    others have nothing to do."""

    @property
    def worker_connections(self):
        # gunicorn asks how many there may be before each look at its sockets.
        place, now = self.age % PLACES, time.monotonic_ns() // 10**6
        connections[place], seen[place] = self.nr_conns, now
        others = [
            connections[at]
            for at, when in enumerate(seen.tolist())
            if at != place and now - when < AWAY
        ]
        return min(self._most, min(others, default=self._most) + LEAD)

    @worker_connections.setter
    def worker_connections(self, most):
        self._most = most

    def wait_for_and_dispatch_events(self, timeout):
        is_ahead = self.alive and not self._accepting
        super().wait_for_and_dispatch_events(SOON if is_ahead else timeout)

    def handle_exit(self, *args):
        seen[self.age % PLACES] = 0
        super().handle_exit(*args)


worker_class = Worker


def child_exit(server, worker):
    seen[worker.age % PLACES] = 0


def when_ready(server):
    timeout = struct.pack("ll", STALLED_SECONDS, 0)
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    server.log.error_log.addFilter(is_no_stall)
    server.reload = functools.partial(reload_if_sound, server, server.reload)


def is_no_stall(record: logging.LogRecord) -> bool:
    """gunicorn takes such a client for a bug, and logs a traceback for each."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))


def reload_if_sound(server, reload):
    """On HUP. gunicorn ends altogether when a new worker meets a mistake in conf.d, and
    has no hook that could keep the old ones."""
    if said := mistakes():
        server.log.error("HUP: goes on with what it has: %s", said)
    else:
        reload()


def mistakes() -> str:
    """What `router check` says, if a worker would not start."""
    check = [sys.executable, "-m", "router", "check", "--json"]
    how = {"capture_output": True, "text": True, "timeout": CHECK_SECONDS}
    try:
        done = subprocess.run(check, **how)
    except subprocess.TimeoutExpired:
        return f"`router check` has not ended within {CHECK_SECONDS} s"
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return (done.stdout + done.stderr).strip()
    # A plugin's bug is one of its destinations only.
    return "" if found["starts"] else "\n  ".join(found["problems"])
