"""What the exporter says about itself: the health metrics of the contract and its process.

The values are plain numbers under one lock, and are collected in the shape of prometheus-client
without it: it is imported only when somebody asks for its registry, because a node need not give
the 6 MB.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from . import __version__
from .process import CPU_SECONDS, process
from .semconv import HEALTH_METRICS, SELF_ENERGY, Metric, Type

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as StockFamily

Series = dict[tuple[str, ...], float]
"""Values by those of the labels, in the order of the metric's labels."""


class Sample(NamedTuple):
    """One series, with the names that prometheus-client has for what it says."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp: None = None
    exemplar: None = None


class Family(NamedTuple):
    """A metric and its series; the name of a counter is without ``_total``."""

    name: str
    type: str
    documentation: str
    samples: Sequence[Sample]
    unit: str = ""


class Telemetry:
    """The health of one exporter; each metric is named as in ``semconv.HEALTH_METRICS``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels = {m.prometheus: m.labels for m in HEALTH_METRICS}
        kinds = {kind: [m for m in HEALTH_METRICS if m.type is kind] for kind in Type}
        self._counters: dict[str, Series] = {
            m.prometheus: {} if m.labels else {(): 0.0} for m in kinds[Type.COUNTER]
        }
        self._gauges: dict[str, Series] = {m.prometheus: {} for m in kinds[Type.GAUGE]}
        self._own_joules: Callable[[], float] | None = None
        python = ".".join(map(str, sys.version_info[:3]))
        self.set("wattshed_build_info", 1, __version__, python)

    def add(self, name: str, amount: float, *labels: str) -> None:
        """Increase a counter; ``KeyError`` where the contract has none of that name."""
        self.counter(name, *labels)(amount)

    def counter(self, name: str, *labels: str) -> Callable[[float], None]:
        """Return what increases one series, for who does so at every beat; errors as ``add``."""
        series = self._counters[name]
        self._check(name, labels)

        def add(amount: float) -> None:
            with self._lock:
                series[labels] = series.get(labels, 0.0) + amount

        return add

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge; ``KeyError`` where the contract has none of that name."""
        series = self._gauges[name]
        self._check(name, labels)
        with self._lock:
            series[labels] = float(value)

    def clear(self, name: str, *labels: str) -> None:
        """Let a series of a gauge vanish, because its value is not known."""
        with self._lock:
            self._gauges[name].pop(labels, None)

    def handed_over(self, output: str, result: str, ticks: int) -> None:
        """Count ticks of an output as sent, rejected or dropped."""
        if ticks:
            self.add("wattshed_output_ticks_total", ticks, output, result)

    def measure_itself(self, joules: Callable[[], float]) -> None:
        """Have ``joules`` asked for the exporter's own energy whenever its health is told."""
        self._own_joules = joules

    def value(self, name: str, **labels: str) -> float:
        """Return the value of one series, 0 where it does not exist."""
        key = tuple(labels[label] for label in self._labels[name])
        series = self._counters.get(name) or self._gauges.get(name) or {}
        return series.get(key, 0.0)

    def health(self) -> Iterator[tuple[Metric, Series]]:
        """Yield each health metric and its series as they are now, in the contract's order."""
        with self._lock:
            told = {n: dict(s) for n, s in (*self._counters.items(), *self._gauges.items())}
        told[SELF_ENERGY] = {} if self._own_joules is None else {(): self._own_joules()}
        yield from ((metric, told[metric.prometheus]) for metric in HEALTH_METRICS)

    def collect(self) -> Iterator[Family]:
        """Yield the same by family, and what the kernel says of this process."""
        for metric, series in self.health():
            told = metric.prometheus
            yield Family(
                told.removesuffix("_total") if metric.type is Type.COUNTER else told,
                metric.type,
                metric.help,
                [Sample(told, dict(zip(metric.labels, own, strict=True)), value)
                 for own, value in series.items()],
            )  # fmt: skip
        for name, help, value in process():
            kind = "counter" if name == CPU_SECONDS else "gauge"
            told = f"{name}_total" if name == CPU_SECONDS else name
            yield Family(name, kind, help, [Sample(told, {}, value)])

    @cached_property
    def registry(self) -> CollectorRegistry:
        """The same for prometheus-client, for who has a registry of it beside ours."""
        from prometheus_client import CollectorRegistry, ProcessCollector

        registry = CollectorRegistry()
        registry.register(_Health(self))
        ProcessCollector(registry=registry)
        return registry

    def _check(self, name: str, labels: tuple[str, ...]) -> None:
        if len(labels) != len(self._labels[name]):
            raise ValueError(f"{name} has the labels {self._labels[name]}, not {labels}")


class _Health:
    """A collector of prometheus-client over the values of ``Telemetry``."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[StockFamily]:
        yield from (_family(metric, series) for metric, series in self._telemetry.health())


def _family(metric: Metric, series: Mapping[tuple[str, ...], float]) -> StockFamily:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
    family = kind(metric.prometheus, metric.help, labels=metric.labels)
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family
