"""The collector's own health, declared as data and served with prometheus-client."""

from __future__ import annotations

from collections import Counter as Tally
from contextlib import suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from wattshed_exporter import __version__
from wattshed_exporter.model import Batch


@dataclass(frozen=True, slots=True)
class Health:
    """One metric about the collector itself."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


COUNTERS: tuple[Health, ...] = (
    Health("requests_total", "Requests answered.", ("receiver", "code")),
    Health(
        "bodies_total",
        "Bodies read, by way: layout (its series were known), scanned, parsed (the long way).",
        ("receiver", "way"),
    ),
    Health("ticks_total", "Ticks that became durable.", ("receiver",)),
    Health("details_total", "Details that became durable.", ("receiver",)),
    Health("other_samples_total", "Samples of metrics not about energy, durable.", ("receiver",)),
    Health(
        "simplified_total",
        "Histograms and summaries of which count and sum are kept, not buckets or quantiles.",
        ("receiver",),
    ),
    Health(
        "dead_letters_total",
        "Bodies that can never be taken, by what was done (kept, again, dropped, failed, "
        "too_large).",
        ("result",),
    ),
    Health("rejected_total", "Data points refused.", ("receiver", "reason")),
    Health("ignored_total", "Samples that say nothing of energy.", ("receiver",)),
    Health(
        "quarantined_total",
        "Allocations that cannot be true: kept aside, charged to nobody.",
        ("receiver", "reason"),
    ),
    Health(
        "scrapes_total",
        "Scrapes, by result (ok, failed, skipped: the one before was not done, not_written).",
        ("job", "result"),
    ),
    Health("scrape_failures_total", "Scrapes that failed, by reason.", ("job", "reason")),
    Health(
        "discovery_failures_total",
        "What kept targets from being found, or made none of what was found.",
        ("job", "reason"),
    ),
    Health(
        "ledger_runs_total",
        "Runs of the ledger, by result (ok, failed, follows: another one leads).",
        ("result",),
    ),
    Health("ledger_seconds_total", "Time that the ledger worked."),
    Health("ledger_hours_total", "Hours that the ledger recomputed."),
    Health(
        "ledger_skipped_hours_total",
        "Hours that changed and were left alone, because their raw readings may be gone.",
    ),
)
GAUGES: tuple[Health, ...] = (
    Health("queued_rows", "Rows that wait to be written."),
    Health("commits", "Groups written since start."),
    Health("failed_batches", "Batches that could not be written since start."),
    Health("scrape_targets", "Targets by health (up, down, unknown).", ("job", "health")),
    Health("scrape_up", "1 if the last scrape of the target succeeded, else 0.", ("job", "target")),
    Health("scrape_duration_seconds", "Time that the last scrape took.", ("job", "target")),
    Health("scrape_samples", "Samples of the last page that was read.", ("job", "target")),
    Health("ledger_last_run_timestamp_seconds", "Unix time of the last complete ledger run."),
    Health("ledger_leader", "1 while this collector's ledger is the one that computes, else 0."),
    Health(
        "ledger_policy",
        "Always 1; how hours are charged that begin from now on.",
        ("idle_policy", "idle_below_e4", "host_remainder"),
    ),
    Health("build_info", "Always 1; the version that runs.", ("version",)),
)
PREFIX = "wattshed_collector_"


class Telemetry:
    """Counters and gauges of one collector; nothing of it is global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._counters = {
            health.name: Counter(
                PREFIX + health.name, health.help, health.labels, registry=self.registry
            )
            for health in COUNTERS
        }
        self._gauges = {
            health.name: Gauge(
                PREFIX + health.name, health.help, health.labels, registry=self.registry
            )
            for health in GAUGES
        }
        self._labels = {health.name: health.labels for health in GAUGES}
        self.set("build_info", 1, version=__version__)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def forget(self, name: str, **labels: str) -> None:
        """Show a gauge no more, until it is set again."""
        with suppress(KeyError):
            self._gauges[name].remove(*(labels[key] for key in self._labels[name]))

    def reject(self, receiver: str, rejected: dict[str, int]) -> None:
        for reason, amount in rejected.items():
            self.count("rejected_total", amount, receiver=receiver, reason=reason)

    def quarantine(self, receiver: str, batch: Batch) -> dict[str, int]:
        """Count the batch's doubtful allocations; return how many there are by reason."""
        found = dict(Tally(member.reason for member in batch.quarantine))
        for reason, amount in found.items():
            self.count("quarantined_total", amount, receiver=receiver, reason=reason)
        return found
