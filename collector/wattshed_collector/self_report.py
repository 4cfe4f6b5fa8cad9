"""Traces and metrics of the collector itself over OTLP, by the OpenTelemetry SDK.

The SDK is imported only when this is turned on. Metrics are those of ``telemetry``, read from the
same registry; spans are a request's (with ``parse`` and ``queue`` inside), a ``commit``'s and a
``ledger.run``'s. What is sent carries a header by which the collector knows its own reports, so
that one that reports to itself, through whatever chain, makes no span of that.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from wattshed_exporter import __version__
from wattshed_exporter.errors import ConfigError

from .config import SelfReport
from .telemetry import (
    COUNTERS,
    GAUGES,
    HISTOGRAMS,
    PREFIX,
    WATCHED_COUNTERS,
    WATCHED_GAUGES,
    Health,
    Telemetry,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

SELF_HEADER = "x-wattshed-self-report"
EXPORT_SECONDS = 5.0
"""Time that one report may take; what does not get through is dropped."""


class Reporting:
    """``span`` opens spans and ``mirror`` sends metrics while ``reporting`` lasts."""

    def __init__(self, config: SelfReport) -> None:
        self._config = config
        self._closers: list[Callable[[], object]] = []
        self.span = self._tracer() if config.traces else None

    def mirror(self, telemetry: Telemetry) -> None:
        """Send what ``telemetry`` holds, each ``interval_seconds``."""
        if not self._config.metrics:
            return
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        exporter = OTLPMetricExporter(**self._target("v1/metrics"))
        millis = self._config.interval_seconds * 1000
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=millis)
        provider = MeterProvider([reader], resource=_resource(), shutdown_on_exit=False)
        self._closers.append(provider.shutdown)
        _mirror(provider.get_meter("wattshed_collector", __version__), telemetry)

    def close(self) -> None:
        """Send what is left, then stop."""
        for closer in self._closers:
            closer()

    def _tracer(self) -> Callable[[str, Mapping[str, Any]], AbstractContextManager[Any]]:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(**self._target("v1/traces")))
        )
        self._closers.append(provider.shutdown)
        tracer = provider.get_tracer("wattshed_collector", __version__)

        def span(name: str, attributes: Mapping[str, Any]) -> AbstractContextManager[Any]:
            opened: AbstractContextManager[Any] = tracer.start_as_current_span(
                name, attributes=attributes
            )
            return opened

        return span

    def _target(self, path: str) -> dict[str, Any]:
        told: dict[str, Any] = {"headers": {SELF_HEADER: "1"}, "timeout": EXPORT_SECONDS}
        if self._config.otlp_endpoint:  # else the SDK reads OTEL_EXPORTER_OTLP_ENDPOINT
            told["endpoint"] = f"{self._config.otlp_endpoint.rstrip('/')}/{path}"
        return told


@contextmanager
def reporting(config: SelfReport) -> Iterator[Reporting | None]:
    """Report about the collector for the length of the block, if that is turned on.

    Raises ConfigError where the SDK is not installed.
    """
    if not config.enabled:
        yield None
        return
    try:
        made = Reporting(config)
    except ImportError as error:
        raise ConfigError(
            [f"telemetry.enabled: {error.name} is missing; pip install 'wattshed[otel]'"]
        ) from None
    try:
        yield made
    finally:
        made.close()


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create(
        {
            "service.name": "wattshed-collector",
            "service.version": __version__,
            "service.instance.id": str(uuid.uuid4()),
        }
    )


def _mirror(meter: Meter, telemetry: Telemetry) -> None:
    registry = telemetry.registry
    for health in (*COUNTERS, *WATCHED_COUNTERS):
        meter.create_observable_counter(
            PREFIX + health.name, [_values(registry, health)], description=health.help
        )
    for health in (*GAUGES, *WATCHED_GAUGES):
        meter.create_observable_gauge(
            PREFIX + health.name, [_values(registry, health)], description=health.help
        )
    histograms = {
        health.name: meter.create_histogram(
            PREFIX + health.name,
            description=health.help,
            explicit_bucket_boundaries_advisory=health.buckets,
        )
        for health in HISTOGRAMS
    }
    telemetry.also(lambda name, value, labels: histograms[name].record(value, labels))


def _values(
    registry: CollectorRegistry, health: Health
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    name = PREFIX + health.name

    def values(options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation

        for family in registry.restricted_registry([name]).collect():
            for sample in family.samples:
                if sample.name == name:
                    yield Observation(sample.value, sample.labels)

    return values
