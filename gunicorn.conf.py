"""How `gunicorn router` runs here. Without this file it works as well, with gunicorn's
own defaults (one sync worker)."""

import functools
import json
import logging
import os
import socket
import struct
import subprocess
import sys

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", 2))

# Threads keep connections open between requests, which SDKs make use of; longer than
# the 60 s that load balancers keep an idle connection by default.
worker_class = "gthread"
threads = 8
keepalive = 75

# Time for requests and lanes to end in order: longer than any destination's `timeout`.
graceful_timeout = 30

# A pixel's event is in its address: as long a one as gunicorn takes.
limit_request_line = 8190

# A client that stops in the middle of its request's headers holds a thread no longer
# than this. (`[ingest] read_timeout` is for the whole of a body.)
STALLED_SECONDS = 15

# While conf.d is checked on HUP, nobody looks after the workers.
CHECK_SECONDS = 60


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
