"""The rows of the table."""

from functools import partial

from bench import accepting, delivering
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
)
