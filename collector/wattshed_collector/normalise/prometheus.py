"""Our own exporter's /metrics text to points; families of others are counted as unknown.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

from wattshed_exporter import semconv

from . import Point, details

METRICS = {metric.prometheus: metric for metric in semconv.TICK_METRICS if metric.otel}
METRICS[semconv.POWER_LIMIT.prometheus] = semconv.POWER_LIMIT
METRICS.update(semconv.DETAIL_METRICS)
INFO, READ_AT, STARTED_AT = (
    semconv.DEVICE_INFO.prometheus,
    "wattshed_reading_timestamp_seconds",
    "wattshed_energy_start_timestamp_seconds",
)
ATTRIBUTES = {attribute.label: attribute.otel for attribute in semconv.DEVICE_ATTRIBUTES}
DETAIL_ATTRIBUTES = {"device": ATTRIBUTES["device"], **details.OTEL_OF_LABEL}
"""What a detail says is its own: ``scope`` of a detail is not the ``scope`` of its device."""
OURS = "wattshed_"


def points(text: str, scraped_ms: int, interval_ms: int, rejected: Counter[str]) -> Iterator[Point]:
    """Yield the points of one scrape. Raises ValueError where the text is not an exposition.

    A device's readings carry the time at which it was read, where the exporter says so, else the
    time of the scrape: a pull and a push of the same reading are then one row. The start of the
    energy counter is that of no other counter.
    """
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    device_of = {s.labels.get("device", ""): dict(s.labels) for s in samples if s.name == INFO}
    read_at = {s.labels.get("device", ""): s.value for s in samples if s.name == READ_AT}
    started_at = {s.labels.get("device", ""): s.value for s in samples if s.name == STARTED_AT}
    for sample in samples:
        metric = METRICS.get(sample.name)
        if metric is None:
            if not sample.name.startswith((OURS, "process_", "python_")):
                rejected["unknown_metric"] += 1
            continue
        device = sample.labels.get("device", "")
        ts_ms = _ms(read_at[device]) if device in read_at else scraped_ms
        if sample.name in semconv.DETAIL_METRICS:
            said = _named(sample.labels, DETAIL_ATTRIBUTES)
            yield Point(metric.otel, metric.unit, sample.value, ts_ms, said)
            continue
        said = _named({**device_of.get(device, {}), **sample.labels}, ATTRIBUTES)
        said[semconv.INTERVAL_ATTRIBUTE] = interval_ms
        start_ms = _ms(started_at.get(device, 0.0))
        yield Point(metric.otel, metric.unit, sample.value, ts_ms, said, start_ms)


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if math.isfinite(seconds) else 0


def _named(
    labels: Mapping[str, str], table: Mapping[str, str]
) -> dict[str, str | float | int | bool]:
    return {table[label]: value for label, value in labels.items() if label in table}
