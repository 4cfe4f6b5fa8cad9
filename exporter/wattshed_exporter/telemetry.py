"""What the exporter says about itself: the health metrics of the contract and its process."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)

from . import __version__
from .semconv import HEALTH_METRICS, Type


class Telemetry:
    """The registry of one exporter; each metric is named as in ``semconv.HEALTH_METRICS``."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        # Looking a child up costs several times what increasing it does.
        self._children: dict[tuple[str, tuple[str, ...]], Counter] = {}
        for metric in HEALTH_METRICS:
            name, told = metric.prometheus, (metric.help, metric.labels)
            if metric.type is Type.COUNTER:
                self._counters[name] = Counter(name, *told, registry=self.registry)
            else:
                self._gauges[name] = Gauge(name, *told, registry=self.registry)
        ProcessCollector(registry=self.registry)
        self.set("wattshed_build_info", 1, __version__)

    def add(self, name: str, amount: float, *labels: str) -> None:
        """Increase a counter; ``KeyError`` where the contract has none of that name."""
        child = self._children.get((name, labels))
        if child is None:
            child = self._children[name, labels] = self._counters[name].labels(*labels)
        child.inc(amount)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge; ``KeyError`` where the contract has none of that name."""
        self._gauges[name].labels(*labels).set(value)

    def handed_over(self, output: str, result: str, ticks: int) -> None:
        """Count ticks of an output as sent, rejected or dropped."""
        if ticks:
            self.add("wattshed_output_ticks_total", ticks, output, result)

    def value(self, name: str, **labels: str) -> float:
        """Return the value of one series, 0 where it does not exist."""
        return self.registry.get_sample_value(name, labels) or 0.0
