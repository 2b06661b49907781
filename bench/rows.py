"""The rows of the table."""

from functools import partial

from bench import accepting, delay, delivering, full, mapping
from bench.measuring import Figure, Row

RATE = "events/s"

ROWS = (
    Row(
        "accept",
        accepting.one,
        partial(accepting.ceiling, batch=0),
        [Figure("accept, one event a request, durable", RATE, 0.8)],
    ),
    Row(
        "accept-batches",
        accepting.batches,
        partial(accepting.ceiling, batch=accepting.BATCH),
        [Figure("accept, batches of 100, deduped, durable", RATE, 0.5)],
    ),
    Row(
        "deliver-batches",
        delivering.batches,
        partial(delivering.ceiling, batch=True),
        [Figure("deliver, batches of 100 (Movable Ink)", RATE, 0.4)],
    ),
    Row(
        "deliver",
        delivering.one,
        partial(delivering.ceiling, batch=False),
        [Figure("deliver, one event a request, in order", RATE, 0.8)],
    ),
    Row(
        "sdk-to-partner",
        delivering.whole_path,
        delivering.half_the_slower,
        [Figure("SDK to partner, both destinations, batches", RATE, 0.5)],
    ),
    Row(
        "map",
        mapping.ours,
        mapping.ceiling,
        [
            Figure("map and require an event, both payloads", RATE, 0.5),
            Figure("the same, and parse it before", RATE, None),
        ],
    ),
    Row(
        "delay",
        delay.ours,
        delay.ceiling,
        [
            Figure("200 to receipt, at 50 events/s: p50", "ms", 5, is_most=True),
            Figure("200 to receipt, at 50 events/s: p99", "ms", 20, is_most=True),
        ],
    ),
    Row(
        "full-log",
        full.accept,
        accepting.batches,
        [Figure("accept, batches, full log / empty", RATE, 0.9)],
        is_full=True,
    ),
    Row(
        "destinations",
        partial(accepting.with_destinations, number=10),
        partial(accepting.with_destinations, number=1),
        [Figure("accept, batches, 10 destinations / 1", RATE, 0.9)],
    ),
    Row(
        "memory",
        full.memory,
        full.memory_when_empty,
        [Figure("worker's memory, backlog of all / none", "MiB", 1.2, is_most=True)],
        is_full=True,
    ),
    Row(
        "workers-2",
        partial(accepting.batches, workers=2),
        partial(accepting.linear, workers=2),
        [Figure("accept, batches, 2 workers / linear to cores", RATE, 0.8)],
    ),
    Row(
        "workers-4",
        partial(accepting.batches, workers=4),
        partial(accepting.linear, workers=4),
        [Figure("accept, batches, 4 workers / linear to cores", RATE, 0.8)],
    ),
)
