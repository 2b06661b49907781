"""Reads a file for each event."""

from pathlib import Path

from specimens.good import deliver, settings, track

from router import hookimpl

__all__ = ["deliver", "settings", "track"]

FAILS = {"test_mapping_does_no_io": "read files in the validators of `settings`"}


@hookimpl
def identify(event):
    return {"who": event.get("userId"), "size": len(Path(__file__).read_bytes())}
