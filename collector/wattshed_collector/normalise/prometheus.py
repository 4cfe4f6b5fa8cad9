"""Our own exporter's /metrics text to points; families of others are counted as unknown.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from wattshed_exporter import semconv

from . import Point, details

METRICS = {metric.prometheus: metric for metric in semconv.TICK_METRICS if metric.otel}
METRICS[semconv.POWER_LIMIT.prometheus] = semconv.POWER_LIMIT
METRICS.update(semconv.DETAIL_METRICS)
INFO, READ_AT = semconv.DEVICE_INFO.prometheus, "wattshed_reading_timestamp_seconds"
STARTED_AT = "wattshed_energy_start_timestamp_seconds"
ACTIVITY_STARTED_AT = "wattshed_activity_start_timestamp_seconds"
ACTIVITY = frozenset({"wattshed_activity_seconds_total", "wattshed_activity_joules_total"})
ATTRIBUTES = {attribute.label: attribute.otel for attribute in semconv.DEVICE_ATTRIBUTES}
DETAIL_ATTRIBUTES = {"device": ATTRIBUTES["device"], **details.OTEL_OF_LABEL}
"""What a detail says is its own: ``scope`` of a detail is not the ``scope`` of its device."""
OURS = "wattshed_"


def points(text: str, scraped_ms: int, interval_ms: int, rejected: Counter[str]) -> Iterator[Point]:
    """Yield the points of one scrape. Raises ValueError where the text is not an exposition.

    A device's readings carry the time at which it was read, where the exporter says so, else the
    time of the scrape: a pull and a push of the same reading are then one row. The
    energy counter and the counters of activity come with their start, where that is told.
    """
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    device_of = {s.labels.get("device", ""): dict(s.labels) for s in samples if s.name == INFO}
    read_at = _times_ms(samples, READ_AT)
    started_at = _times_ms(samples, STARTED_AT)
    activity_started_at = _times_ms(samples, ACTIVITY_STARTED_AT)
    for sample in samples:
        metric = METRICS.get(sample.name)
        if metric is None:
            if not sample.name.startswith((OURS, "process_", "python_")):
                rejected["unknown_metric"] += 1
            continue
        device = sample.labels.get("device", "")
        ts_ms = read_at.get(device, scraped_ms)
        if sample.name in semconv.DETAIL_METRICS:
            said = _named(sample.labels, DETAIL_ATTRIBUTES)
            start_ms = activity_started_at.get(device, 0) if sample.name in ACTIVITY else 0
            yield Point(metric.otel, metric.unit, sample.value, ts_ms, said, start_ms)
            continue
        said = _named({**device_of.get(device, {}), **sample.labels}, ATTRIBUTES)
        said[semconv.INTERVAL_ATTRIBUTE] = interval_ms
        start_ms = started_at.get(device, 0)
        yield Point(metric.otel, metric.unit, sample.value, ts_ms, said, start_ms)


def _times_ms(samples: Iterable[Sample], name: str) -> dict[str, int]:
    """Return what a metric of the name says, a Unix time for each device; 0 where it is none."""
    return {
        s.labels.get("device", ""): round(s.value * 1000) if math.isfinite(s.value) else 0
        for s in samples
        if s.name == name
    }


def _named(
    labels: Mapping[str, str], table: Mapping[str, str]
) -> dict[str, str | float | int | bool]:
    return {table[label]: value for label, value in labels.items() if label in table}
