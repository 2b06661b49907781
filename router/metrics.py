"""`GET /metrics`: what Prometheus asks for.

Everything is read from the log and the ledger at the time, so that each of gunicorn's
workers gives the same answer, and none is lost when one dies.
"""

from collections.abc import Iterable

from falcon import Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router import reports
from router.config import Config
from router.counts import Counts
from router.gate import Surroundings


class Metrics(Collector):
    """The resource, and what it shows."""

    def __init__(self, config: Config, shared: Surroundings, counts: Counts) -> None:
        self._config, self._shared, self._counts = config, shared, counts
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def on_get(self, req: Request, resp: Response) -> None:
        self._counts.write()
        resp.data = generate_latest(self._registry)
        resp.content_type = CONTENT_TYPE_LATEST

    def describe(self) -> Iterable[Metric]:
        """Nothing: so it is not collected already when the app is made."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Raises StorageUnavailable."""
        yield from self._of_sources()
        yield from self._of_destinations()
        log = self._shared.log
        size = "router_log_bytes", "The size of the log on disk."
        yield GaugeMetricFamily(*size, value=log.bytes_on_disk())
        letters = "router_ledger_bytes", "The size of the ledger, with dead letters."
        yield GaugeMetricFamily(*letters, value=self._shared.ledger.bytes_on_disk())
        most = "router_log_max_bytes", "max_disk: with both at it clients get 503."
        yield GaugeMetricFamily(*most, value=self._config.router.max_disk)

    def _of_sources(self) -> Iterable[Metric]:
        arrivals = CounterMetricFamily(
            "router_arrivals",
            "Events by source and code: accepted, duplicate, or why refused. A request "
            "that is refused as a whole counts as one.",
            labels=("source", "code"),
        )
        for key, number in self._shared.ledger.arrivals.counts().items():
            arrivals.add_metric(key, number)
        yield arrivals

    def _of_destinations(self) -> Iterable[Metric]:
        deliveries = CounterMetricFamily(
            "router_deliveries",
            "Events that a destination had (delivered), or was not to have (skipped).",
            labels=("destination", "state", "code"),
        )
        given_up = GaugeMetricFamily(
            "router_given_up_events",
            "Events that a destination did not have: dead, expired. One that is put "
            "back to work is taken off.",
            labels=("destination", "state", "code"),
        )
        label = ["destination"]
        pending = GaugeMetricFamily(
            "router_pending_events", "Accepted, and not done with.", labels=label
        )
        oldest = GaugeMetricFamily(
            "router_oldest_pending_seconds",
            "How long the oldest pending event waits.",
            labels=label,
        )
        held = GaugeMetricFamily(
            "router_held", "1: it waits until somebody mends something.", labels=label
        )
        letters = GaugeMetricFamily(
            "router_dead_letters", "Dead letters that nobody has seen to.", labels=label
        )
        replays = GaugeMetricFamily(
            "router_replay_pending_events",
            "What a replay that is not over has still to do.",
            labels=("destination", "replay"),
        )
        for row in reports.statuses(self._config, self._shared):
            name = row["destination"]
            deliveries.add_metric((name, "delivered", ""), row["delivered"])
            for code, number in row["skipped"].items():
                deliveries.add_metric((name, "skipped", code), number)
            for state in ("dead", "expired"):
                for code, number in row[state].items():
                    given_up.add_metric((name, state, code), number)
            pending.add_metric([name], row["pending"])
            oldest.add_metric([name], row["oldestPendingSeconds"] or 0)
            held.add_metric([name], row["state"] in reports.WRONG)
            letters.add_metric([name], row["deadLetters"])
            for one in row["replays"]:
                if one["endedAt"] is None:
                    replays.add_metric([name, str(one["id"])], one["pending"])
        yield from (deliveries, given_up, pending, oldest, held, letters, replays)
