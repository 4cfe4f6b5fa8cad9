"""Our own exporter's families to points, read from its page or passed on by a Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wattshed_exporter import semconv

from . import Point, details
from .dialect import Dialect, Labels, Scrape

METRICS = {metric.prometheus: metric for metric in semconv.TICK_METRICS if metric.otel}
METRICS[semconv.POWER_LIMIT.prometheus] = semconv.POWER_LIMIT
METRICS.update(semconv.DETAIL_METRICS)
LATEST_S = 4_000_000_000
INFO, READ_AT = semconv.DEVICE_INFO.prometheus, "wattshed_reading_timestamp_seconds"
STARTED_AT = "wattshed_energy_start_timestamp_seconds"
ACTIVITY_STARTED_AT = "wattshed_activity_start_timestamp_seconds"
ACTIVITY = frozenset({"wattshed_activity_seconds_total", "wattshed_activity_joules_total"})
ATTRIBUTES = {attribute.label: attribute.otel for attribute in semconv.DEVICE_ATTRIBUTES}
DETAIL_ATTRIBUTES = {"device": ATTRIBUTES["device"], **details.OTEL_OF_LABEL}
"""What a detail says is its own: ``scope`` of a detail is not the ``scope`` of its device."""


def _device(labels: Labels) -> str | None:
    return labels.get("device", "")


def _points(scrape: Scrape) -> Iterator[Point]:
    """Yield what a page says of one device.

    Its readings carry the time at which it was read, where the exporter says so, else the time of
    the scrape: a pull and a push of the same reading are then one row. Of a remote write the time
    of reading is awaited. The energy counter and those of activity come with their start, where
    that is told.
    """
    if not scrape.whole and READ_AT not in scrape.names():
        return
    told = next((dict(row.labels) for row in scrape.of(INFO)), {})
    read_at = _time_ms(scrape, READ_AT)
    ts_ms = scrape.ts_ms if read_at is None else read_at
    start_ms = _time_ms(scrape, STARTED_AT) or 0
    activity_start_ms = _time_ms(scrape, ACTIVITY_STARTED_AT) or 0
    for name in sorted(METRICS.keys() & scrape.names()):
        metric = METRICS[name]
        for row in scrape.of(name):
            if name in semconv.DETAIL_METRICS:
                said = _named(row.labels, DETAIL_ATTRIBUTES)
                since_ms = activity_start_ms if name in ACTIVITY else 0
            else:
                said = _named({**told, **row.labels}, ATTRIBUTES)
                said[semconv.INTERVAL_ATTRIBUTE] = scrape.interval_ms
                since_ms = start_ms
            yield Point(metric.otel, metric.unit, row.value, ts_ms, said, since_ms)


def _time_ms(scrape: Scrape, name: str) -> int | None:
    """Return a Unix time that the page states; 0 where it is none, None where it states none."""
    for row in scrape.of(name):
        return round(row.value * 1000) if 0 <= row.value < LATEST_S else 0
    return None


def _named(
    labels: Mapping[str, str], table: Mapping[str, str]
) -> dict[str, str | float | int | bool]:
    return {table[label]: value for label, value in labels.items() if label in table}


OURS = Dialect(
    "wattshed",
    rank=0,
    metrics=frozenset({*METRICS, INFO, READ_AT, STARTED_AT, ACTIVITY_STARTED_AT}),
    others=("wattshed_",),
    group=_device,
    points=_points,
)
