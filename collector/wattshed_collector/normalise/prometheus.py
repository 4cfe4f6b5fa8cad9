"""Our own exporter's /metrics text to points; families of others are counted as unknown.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from wattshed_exporter import semconv

from . import Attributes, Point

METRICS = {metric.prometheus: metric for metric in semconv.TICK_METRICS if metric.otel}
METRICS[semconv.POWER_LIMIT.prometheus] = semconv.POWER_LIMIT
INFO, READ_AT, STARTED_AT = (
    semconv.DEVICE_INFO.prometheus,
    "wattshed_reading_timestamp_seconds",
    "wattshed_energy_start_timestamp_seconds",
)
ATTRIBUTES = {attribute.label: attribute.otel for attribute in semconv.DEVICE_ATTRIBUTES}
OURS = "wattshed_"


def points(text: str, scraped_ms: int, interval_ms: int, rejected: Counter[str]) -> Iterator[Point]:
    """Yield the points of one scrape. Raises ValueError where the text is not an exposition.

    A device's readings carry the time at which it was read, where the exporter says so, else the
    time of the scrape: a pull and a push of the same reading are then one row.
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
        yield Point(
            metric.otel,
            metric.unit,
            sample.value,
            _ms(read_at[device]) if device in read_at else scraped_ms,
            _attributes({**device_of.get(device, {}), **sample.labels}, interval_ms),
            _ms(started_at.get(device, 0.0)),
        )


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if math.isfinite(seconds) else 0


def _attributes(labels: dict[str, str], interval_ms: int) -> Attributes:
    named: dict[str, str | float | int | bool] = {
        ATTRIBUTES[label]: value for label, value in labels.items() if label in ATTRIBUTES
    }
    named[semconv.INTERVAL_ATTRIBUTE] = interval_ms
    return named
