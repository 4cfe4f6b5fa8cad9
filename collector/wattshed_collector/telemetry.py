"""The collector's own health, declared as data and served with prometheus-client.

What others count is asked for when somebody scrapes (``watch``); one that cannot tell has no
series. Who else wants to have it, as the OpenTelemetry SDK, reads the same registry.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from wattshed_collector.store.stacks import Numbers, Rows
from wattshed_collector.store.wide import said
from wattshed_exporter import __version__
from wattshed_exporter.model import Batch

log = logging.getLogger(__name__)

Labels = tuple[str, ...]
Watched = Callable[[], Mapping[Labels, float]]
"""Values by label values, in the order of the declaration; empty where nobody can tell."""


@dataclass(frozen=True, slots=True)
class Health:
    """One metric about the collector itself; ``buckets`` are those of a histogram."""

    name: str
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()


NUMERICS = ("ai_model", "precision", "batch_class", "hardware", "workload", "metric")
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
        "refused_total",
        "Requests refused before they were read: unauthenticated, forbidden, rate, ...",
        ("reason",),
    ),
    Health(
        "sender_requests_total",
        'Requests by who was authenticated, "" where nobody was; (others) beyond 200 names.',
        ("sender",),
    ),
    Health("sender_bytes_total", "Bytes of their bodies, as sent.", ("sender",)),
    Health(
        "scrapes_total",
        "Scrapes, by result (ok, failed, skipped: the one before was not done, or the store is "
        "behind; not_written).",
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
    Health(
        "grid_requests_total",
        "Questions to services, and files taken in, about the grid (ok, failed).",
        ("source", "result"),
    ),
    Health("ledger_seconds_total", "Time that the ledger worked."),
    Health("ledger_hours_total", "Hours that the ledger recomputed."),
    Health(
        "signal_failures_total",
        "Times that a signal of alerts could not be asked of the store; its gauge is absent then.",
        ("signal",),
    ),
    Health(
        "ledger_skipped_hours_total",
        "Hours that changed and were left alone, because their raw readings may be gone.",
    ),
)
GAUGES: tuple[Health, ...] = (
    Health("memory_limit_bytes", "Memory of the container or the machine."),
    Health("engine_memory_limit_bytes", "Most memory of the embedded engine; 0: its own choice."),
    Health("scrape_targets", "Targets by health (up, down, unknown).", ("job", "health")),
    Health("ledger_last_run_timestamp_seconds", "Unix time of the last complete ledger run."),
    Health("ledger_leader", "1 while this collector's ledger is the one that computes, else 0."),
    Health(
        "ledger_policy",
        "Always 1; how hours are charged that begin from now on.",
        ("idle_policy", "idle_below_e4", "host_remainder"),
    ),
    Health("slo_definitions", "Objectives that the SLO file defines and that are in force."),
    Health("slo_file_valid", "1 while the SLO file is in force, 0 while a bad one is left aside."),
    Health("build_info", "Always 1; the version that runs.", ("version",)),
)
HISTOGRAMS: tuple[Health, ...] = (
    Health(
        "lag_seconds",
        "From the newest reading of a request, or of a portion of scraped pages, to when it was "
        "durable.",
        ("receiver",),
        (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400),
    ),
    Health(
        "commit_seconds",
        "Time that one group of deliveries took to become durable.",
        (),
        (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    ),
    Health("commit_rows", "Rows of one group.", (), (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)),
)
WATCHED_COUNTERS: tuple[Health, ...] = (
    Health(
        "energy_joules_total",
        "Energy of this process: its part of the busy CPU time, of what the CPU packages of this "
        "machine were measured to use; absent where this store has no such meter.",
    ),
    Health(
        "outcome_caveats_total",
        "Readings of counters that are not quite what they are called, such as cached_included: "
        "the server does not say which prompt tokens came from a cache.",
        ("server", "caveat"),
    ),
    Health(
        "clickhouse_queries_total",
        "Queries at /clickhouse by what came of them: answered, failed, refused (too many waited), "
        "ended (too long, or nobody waited any more).",
        ("result",),
    ),
    Health("clickhouse_seconds_total", "Time that the answered ones took in the engine."),
)
WATCHED_GAUGES: tuple[Health, ...] = (
    Health("scrape_up", "1 if the last scrape of the target succeeded, else 0.", ("job", "target")),
    Health("scrape_duration_seconds", "Time that the last scrape took.", ("job", "target")),
    Health("scrape_samples", "Samples of the last page that was read.", ("job", "target")),
    Health("queued_rows", "Rows that wait to be written."),
    Health("queued_bytes", "Memory that requests being read and rows that wait take."),
    Health("queue_limit_bytes", "Memory that they may take; beyond, senders wait."),
    Health("turned_away", "Requests and rows for which there was no room, since start."),
    Health("disk_free_bytes", "Free room of the embedded store's file system."),
    Health(
        "disk_days_left",
        "Days until it is full, as it went the last day; +Inf while it does not fill.",
    ),
    Health("disk_full", "1 while input is refused because the disk is full, else 0."),
    Health("spool_bytes", "Room that rows take which wait for the server."),
    Health("spool_rows", "Rows that wait in the spool for the server."),
    Health("spool_oldest_seconds", "How long the oldest of them have waited."),
    Health("spool_aside", "Inserts that the server refused for good, kept aside in the spool."),
    Health("spooled_rows", "Rows that went into the spool since start."),
    Health("commits", "Groups written since start."),
    Health("failed_batches", "Batches that could not be written since start."),
    Health("requests_active", "Requests that are being answered."),
    Health("clickhouse_running", "Queries of /clickhouse that run in the engine."),
    Health("clickhouse_waiting", "Queries of /clickhouse that wait for their turn."),
    Health("requests_active_bytes", "Bytes of their bodies, as sent."),
    Health(
        "table_parts", "Active parts of a table; many mean that merges do not keep up.", ("table",)
    ),
    Health("table_rows", "Rows of a table as stored, before duplicates are merged.", ("table",)),
    Health("table_bytes", "Bytes of a table on disk.", ("table",)),
    Health("ledger_dirty_hours", "Hours that wait to be computed."),
    Health(
        "ledger_settled_timestamp_seconds",
        "Unix time up to which everything measured is charged; now minus this is the ledger's lag.",
    ),
    Health(
        "grid_age_seconds",
        "Time since the end of the newest value that is known of a zone's grid.",
        ("kind", "zone"),
    ),
    Health("numerics", "Keys of scores by state (ok, drifted, stale, uncalibrated).", ("state",)),
    Health(
        "numerics_drift_ratio",
        "How much worse the latest score is than at calibration, of that score; 0 where it is "
        "better. The 200 worst keys.",
        NUMERICS,
    ),
    Health("calibration_age_seconds", "Time since the calibration of the same 200 keys.", NUMERICS),
    Health("numerics_drift_limit_ratio", "Drift beyond which a key is called drifted."),
    Health(
        "signal_series_left_out",
        "Series of a signal beyond 10,000, of which the largest are shown.",
        ("signal",),
    ),
    Health("calibration_limit_seconds", "Age beyond which a calibration is called stale."),
)
PREFIX = "wattshed_collector_"
ROWS = {
    "tick": "ticks_total",
    "detail": "details_total",
    "sample": "details_total",
    "metric_sample": "other_samples_total",
}
"""The counter of each table that frames may fill."""
MOST_SENDERS = 200
OTHERS = "(others)"


class Telemetry:
    """Counters and gauges of one collector; nothing of it is global.

    ``span`` opens a span of the collector's own traces by its name and attributes; without one
    there are none.
    """

    def __init__(self, span: Callable[..., AbstractContextManager[Any]] | None = None) -> None:
        self.registry = CollectorRegistry()
        self.signals = CollectorRegistry()
        """What only a scrape is told, because the store is asked for it as long as one asks."""
        ProcessCollector(registry=self.registry)
        registry, prefix = self.registry, PREFIX
        self._counters = {health.name: _Counted(health) for health in COUNTERS}
        for counted in self._counters.values():
            registry.register(counted)
        self._gauges = {
            h.name: Gauge(prefix + h.name, h.help, h.labels, registry=registry) for h in GAUGES
        }
        self._histograms = {
            h.name: Histogram(
                prefix + h.name, h.help, h.labels, registry=registry, buckets=h.buckets
            )
            for h in HISTOGRAMS
        }
        self._set: dict[tuple[Any, ...], Gauge] = {}
        """Because finding one by its labels takes as long as all else here; of histograms below."""
        self._observed: dict[tuple[Any, ...], Histogram] = {}
        self._watched: dict[str, Watched] = {}
        self._senders: set[str] = set()
        self._also: Callable[[str, float, Mapping[str, str]], object] | None = None
        self._span = span
        for declared in _DECLARED:
            registry.register(_Asked(declared, self._watched))
        self.set("build_info", 1, version=__version__)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        self._counters[name].add(tuple(labels.items()), amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        key = name, *labels.items()
        gauge = self._set.get(key)
        if gauge is None:
            declared = self._gauges[name]
            gauge = self._set[key] = declared.labels(**labels) if labels else declared
        gauge.set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        key = name, *labels.items()
        histogram = self._observed.get(key)
        if histogram is None:
            declared = self._histograms[name]
            histogram = self._observed[key] = declared.labels(**labels) if labels else declared
        histogram.observe(value)
        if self._also is not None:
            self._also(name, value, labels)

    def also(self, observed: Callable[[str, float, Mapping[str, str]], object]) -> None:
        """Have each observation of a histogram told, which cannot be read from the registry."""
        self._also = observed

    def watch(self, name: str, watched: Watched) -> None:
        """Ask ``watched`` for the values of a declared metric at each scrape."""
        if name not in _DECLARED:
            raise KeyError(name)
        self._watched[name] = watched

    @property
    def traces(self) -> bool:
        """Whether there are spans."""
        return self._span is not None

    def span(self, name: str, **attributes: str | float) -> AbstractContextManager[Any]:
        """Return a span of the collector's own traces; nothing where they are off."""
        return nullcontext() if self._span is None else self._span(name, attributes)

    @contextmanager
    def commit(self, rows: int, deliveries: int) -> Iterator[None]:
        """Note how long the writer takes over a group."""
        started = time.perf_counter()
        with self.span("commit", rows=rows, deliveries=deliveries):
            yield
        self.observe("commit_seconds", time.perf_counter() - started)
        self.observe("commit_rows", rows)

    def durable(self, receiver: str, batch: Batch, now: float, frames: Sequence[Rows] = ()) -> None:
        """Note that a batch is in the store; ``now`` in Unix seconds."""
        ticks, details = len(batch.ticks), len(batch.details)
        newest_ms = [tick.ts_ms for tick in batch.ticks]
        for rows in frames:
            if isinstance(rows, Numbers):
                ticks += rows.shape.ticks
                details += rows.shape.details
                newest_ms += [rows.newest_ms] if rows.shape.ticks else []
                continue
            self.count(ROWS[rows.table], said(rows), receiver=receiver)
            if rows.table == "tick" and len(rows):
                newest_ms.append(int(rows.columns["ts"].values.max()))
        self.count("ticks_total", ticks, receiver=receiver)
        self.count("details_total", details, receiver=receiver)
        if newest_ms:
            lag_seconds = max(0.0, now - max(newest_ms) / 1000)
            self.observe("lag_seconds", lag_seconds, receiver=receiver)

    def answered(self, sender: str, size: int) -> None:
        """Note a request of ``size`` bytes by who was authenticated."""
        if sender not in self._senders:
            if len(self._senders) >= MOST_SENDERS:
                sender = OTHERS
            self._senders.add(sender)
        self.count("sender_requests_total", sender=sender)
        self.count("sender_bytes_total", size, sender=sender)

    def reject(self, receiver: str, rejected: dict[str, int]) -> None:
        for reason, amount in rejected.items():
            self.count("rejected_total", amount, receiver=receiver, reason=reason)

    def quarantine(self, receiver: str, batch: Batch) -> dict[str, int]:
        """Count the batch's doubtful allocations; return how many there are by reason."""
        if not batch.quarantine:
            return {}
        found = dict(Tally(member.reason for member in batch.quarantine))
        for reason, amount in found.items():
            self.count("quarantined_total", amount, receiver=receiver, reason=reason)
        return found


_DECLARED = {h.name: (CounterMetricFamily, h) for h in WATCHED_COUNTERS} | {
    h.name: (GaugeMetricFamily, h) for h in WATCHED_GAUGES
}


class _Counted:
    """A counter that prometheus-client reads; to add to one of its own costs several times as much,
    which was a tenth of taking in a push."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._lock = threading.Lock()
        self._values: dict[tuple[tuple[str, str], ...], list[float]] = {}
        """By labels as they were said, how much there is, and since when (Unix seconds)."""
        if not health.labels:
            self.add((), 0.0)

    def add(self, labels: tuple[tuple[str, str], ...], amount: float) -> None:
        """Raises ValueError where the labels are not those that were declared."""
        with self._lock:
            told = self._values.get(labels)
            if told is None:
                if sorted(name for name, _ in labels) != sorted(self._health.labels):
                    raise ValueError(f"{self._health.name} has labels {self._health.labels}")
                self._values[labels] = [amount, time.time()]
            else:
                told[0] += amount

    def describe(self) -> Iterator[Metric]:
        yield _family(CounterMetricFamily, self._health)

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            said = [
                (dict(labels), amount, since) for labels, (amount, since) in self._values.items()
            ]
        found: dict[Labels, tuple[float, float]] = {}
        for labels, amount, since in said:
            key = tuple(str(labels[name]) for name in self._health.labels)  # plain, of an Enum too
            known, began = found.get(key, (0.0, since))
            found[key] = known + amount, min(began, since)
        metric = _family(CounterMetricFamily, self._health)
        for key, (amount, since) in found.items():
            metric.add_metric(list(key), amount, created=since)
        yield metric


class _Asked:
    """What prometheus-client asks for a watched metric."""

    def __init__(self, name: str, watched: Mapping[str, Watched]) -> None:
        self._name = name
        self._watched = watched

    def describe(self) -> Iterator[Metric]:
        yield _family(*_DECLARED[self._name])

    def collect(self) -> Iterator[Metric]:
        watched = self._watched.get(self._name)
        if watched is None:
            return
        try:
            values = watched()
        except Exception:  # one that cannot be asked must not take the others with it
            log.exception("cannot tell %s", self._name)
            return
        metric = _family(*_DECLARED[self._name])
        for labels, value in values.items():
            metric.add_metric(list(labels), float(value))  # a bool is one as well
        yield metric


def _family(family: Callable[..., Any], health: Health) -> Any:
    return family(PREFIX + health.name.removesuffix("_total"), health.help, labels=health.labels)
