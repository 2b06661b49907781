"""How many events a second a destination makes payloads of, in JSON, for each sort of
payload in turn: of events that are parsed, and of the bytes that the log has.

    mapping.py SECONDS

Runs in the directory of a router that has events, and destinations to map them for.
"""

import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

from router.app import at_log, collect_less_often
from router.config import load


def main() -> None:
    seconds = float(sys.argv[1])
    config = load(Path("conf.d"))
    log = at_log(config).log
    destinations = list(config.destinations.values())
    pages = (log.read(partition, 0, 1000, 1 << 30) for partition in log.heads())
    records = list(chain.from_iterable(pages))
    collect_less_often()  # as workers do
    rates = []
    for is_parsed in (True, False):
        mapped, took = 0, 0.0
        while took < seconds / 2:
            for destination in destinations:
                # A record keeps its event once it is parsed, and each lane has its own.
                fresh = [replace(record) for record in records]
                if is_parsed:
                    assert all(record.event for record in fresh)
                began = time.perf_counter()
                for record in fresh:
                    delivery = destination.prepare(record)
                    assert delivery.payload, delivery.reason
                took += time.perf_counter() - began
                mapped += len(fresh)
        rates.append(mapped / took)
    print(*rates)


if __name__ == "__main__":
    main()
