"""Counters of serving engines in OTLP to samples, with the labels that Prometheus would give them.

Of a histogram count and sum are counters of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from . import otlp
from .dialect import Sample, Series

NAMES = {
    "k8s.namespace.name": "namespace",
    "k8s.pod.name": "pod",
    "k8s.container.name": "container",
    "k8s.node.name": "node",
    "k8s.cluster.name": "cluster",
    "service.name": "job",
    "service.instance.id": "instance",
    "wattshed.node": "node",
    "wattshed.cluster": "cluster",
}
"""Attributes of resources by the label that says the same of a target of Prometheus."""
NANOS_PER_MS = 1_000_000


class Counted:
    """The samples of a request that are among ``counters``, and since when each counts (ms)."""

    def __init__(self, counters: Container[str]) -> None:
        self._counters = counters
        self.samples: list[Sample] = []
        self.starts: dict[Series, int] = {}

    def counts(self, metric: Metric) -> bool:
        """Return whether a metric is one of those that are counted."""
        return any(name in self._counters for name in _parts(metric))

    def take(self, context: otlp.Context, metric: Metric, rejected: Counter[str]) -> None:
        """Take the points of a metric; those that say nothing are counted by reason."""
        if not _is_cumulative(metric):
            rejected["delta_temporality"] += otlp.count(metric)
            return
        for name in _parts(metric):
            if name in self._counters:
                for point, value in _values(metric, name, rejected):
                    self._add(context, name, point, value)

    def _add(self, context: otlp.Context, name: str, point: Any, value: float) -> None:
        labels = {NAMES.get(key, _plain(key)): text for key, text in context.labels.items()}
        labels.update((pair.key, otlp.text_of(pair)) for pair in point.attributes)
        series = Series(name, {key: said for key, said in labels.items() if said})
        self.samples.append(Sample(series, value, point.time_unix_nano // NANOS_PER_MS))
        if point.start_time_unix_nano:
            self.starts[series] = point.start_time_unix_nano // NANOS_PER_MS


def _parts(metric: Metric) -> tuple[str, ...]:
    if otlp.is_distribution(metric):
        return f"{metric.name}_sum", f"{metric.name}_count"
    return (metric.name,)


def _is_cumulative(metric: Metric) -> bool:
    data = getattr(metric, metric.WhichOneof("data") or "", None)
    return getattr(data, "aggregation_temporality", otlp.CUMULATIVE) == otlp.CUMULATIVE


def _values(metric: Metric, name: str, rejected: Counter[str]) -> Iterator[tuple[Any, float]]:
    kind = metric.WhichOneof("data") or ""
    for point in getattr(metric, kind).data_points if kind else ():
        value = None if point.flags & otlp.NOT_RECORDED else _value(kind, name, point)
        if value is None:
            rejected["no_recorded_value"] += 1
        else:
            yield point, value


def _value(kind: str, name: str, point: Any) -> float | None:
    if kind not in otlp.DISTRIBUTIONS:
        return None if point.WhichOneof("value") is None else otlp.value_of(point)
    if name.endswith("_count"):
        return float(point.count)
    return float(point.sum) if kind == "summary" or point.HasField("sum") else None


def _plain(key: str) -> str:
    return key.replace(".", "_")
