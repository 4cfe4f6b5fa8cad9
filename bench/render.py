"""Measure the exposition beside prometheus-client's, on the same series of a made-up node.

``python bench/render.py`` prints for 240, 3,360 and 50,000 series the CPU time of one rendering,
as the median of several rounds, by ours and by a custom collector with ``generate_latest``, both
formats, and whether the bodies are the same bytes. Between two renderings every reading and every
detail is said anew, of devices that are the same objects, as the sampler hands them over; the last
column has details that stay, as between two scrapes within ``detail_seconds``. Nothing here is a
test; nothing passes or fails.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from wattshed_exporter.model import Detail, Device, Kind, Method, Tick
from wattshed_exporter.outputs import Snapshot, tick_values
from wattshed_exporter.outputs.exposition import Exposition, openmetrics_family
from wattshed_exporter.outputs.families import Families
from wattshed_exporter.semconv import (
    DETAIL_METRICS,
    DEVICE_ATTRIBUTES,
    FLEET_METRICS,
    TICK_METRICS,
    Metric,
    Type,
)
from wattshed_exporter.telemetry import Telemetry

SERIES_PER_DEVICE = 30
SIZES = (240, 3_360, 50_000)
ROUNDS = 7
LEAST_SECONDS = 0.05
FIELDS = {a.label: a.name for a in DEVICE_ATTRIBUTES}
SAID: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("wattshed_power_reading_watts", ("gpu", "average")),
    ("wattshed_power_reading_watts", ("gpu", "instant")),
    ("wattshed_power_reading_watts", ("memory", "average")),
    ("wattshed_power_limit_bound_watts", ("default",)),
    ("wattshed_power_limit_bound_watts", ("min",)),
    ("wattshed_power_limit_bound_watts", ("max",)),
    ("wattshed_memory_total_bytes", ()),
    ("wattshed_memory_activity_ratio", ()),
    ("wattshed_sm_activity_ratio", ()),
    ("wattshed_clock_hertz", ("graphics",)),
    ("wattshed_clock_hertz", ("sm",)),
    ("wattshed_clock_hertz", ("memory",)),
    ("wattshed_sensor_temperature_celsius", ("memory",)),
    ("wattshed_throttled", ("power_cap",)),
    ("wattshed_throttled", ("hw_thermal",)),
    ("wattshed_throttled", ("sw_thermal",)),
    ("wattshed_throttled_seconds_total", ("power_cap",)),
    ("wattshed_ecc_errors_total", ("corrected",)),
    ("wattshed_activity_seconds_total", ("busy",)),
    ("wattshed_activity_joules_total", ("busy",)),
    ("wattshed_idle_baseline_watts", ("bare",)),
)


def value(metric: str, chance: random.Random) -> float:
    """Return a value such as a board says: milliwatts, percents, clocks in MHz."""
    if metric == "wattshed_power_limit_bound_watts":
        return 700.0
    if metric == "wattshed_ecc_errors_total":
        return float(chance.randrange(3))
    if metric.endswith("_watts"):
        return chance.randrange(60_000, 700_000) / 1000
    if metric.endswith("_ratio"):
        return chance.randrange(101) / 100
    if metric.endswith("_hertz"):
        return chance.randrange(300, 1980, 15) * 1e6
    if metric.endswith("_bytes"):
        return 85_520_809_984.0
    if metric.endswith("_celsius"):
        return float(chance.randrange(30, 90))
    if metric == "wattshed_throttled":
        return float(chance.randrange(2))
    return chance.randrange(10**12) / 1000


def node(devices: int) -> Snapshot:
    """Return a node with so many boards that has said nothing yet."""
    boards = tuple(board(i) for i in range(devices))
    said = [(name, d.key, own) for d in boards for name, own in SAID]
    return Snapshot(boards, {}, {}, {key: Detail(key[1], key[0], 0, 0.0, key[2]) for key in said})


def speak(quiet: Snapshot, seed: int) -> Snapshot:
    """Return what the node says; another seed gives other values of the same devices and keys."""
    chance, boards = random.Random(seed), quiet.devices
    now = 1_763_856_000_000 + seed * 1000
    ticks = {
        d.key: Tick(
            d.key, now + chance.randrange(1000), 1000, Method.COUNTER,
            chance.randrange(60_000, 700_000) / 1000, 10**13 + chance.randrange(10**12),
            1_763_800_000_000, chance.randrange(101) / 100, chance.randrange(8 * 10**10),
            float(chance.randrange(30, 90)),
        )
        for d in boards
    }  # fmt: skip
    details = {
        key: replace(told, ts_ms=now, value=value(told.metric, chance))
        for key, told in quiet.details.items()
    }
    return Snapshot(boards, ticks, {}, details)


def board(index: int) -> Device:
    key = f"gpu-node-017/nvml/GPU-5f3c2a1e-8b7d-4c6f-9e10-{index:012d}"
    return Device(
        key, Kind.GPU, "gpu-node-017", "nvml", f"gpu{index}", "NVIDIA", "NVIDIA H100 80GB HBM3",
        f"16{index:010d}", "580.65", "96.00.9F", site="hall-2", tier="datacenter", cluster="c1",
        scope="gpu", power_limit_watts=700.0,
    )  # fmt: skip


class Stock(Collector):
    """The same families made of prometheus-client's objects, anew at each scrape as it advises."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        said = self.snapshot
        devices = {d.key: d for d in said.devices}
        rows = {key: tick_values(tick) for key, tick in said.ticks.items()}
        for index, metric in enumerate(TICK_METRICS):
            yield family(metric, devices, ((k, (), row[index]) for k, row in rows.items()))
        info, limit = FLEET_METRICS
        yield family(info, devices, ((k, (), 1.0) for k in devices))
        yield family(limit, devices, ((k, (), d.power_limit_watts) for k, d in devices.items()))
        by_metric: dict[str, list[tuple[str, tuple[str, ...], float]]] = {}
        for (name, key, own), detail in said.details.items():
            by_metric.setdefault(name, []).append((key, own, detail.value))
        for name, metric in DETAIL_METRICS.items():
            if name in by_metric:
                yield family(metric, devices, by_metric[name])


def family(
    metric: Metric,
    devices: Mapping[str, Device],
    values: Iterable[tuple[str, tuple[str, ...], float | None]],
) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
    unit = openmetrics_family(metric)[1]
    made = kind(metric.prometheus, metric.help, labels=metric.labels, unit=unit)
    for key, own, number in values:
        if number is not None:
            shared = metric.labels[: len(metric.labels) - len(own)]
            made.add_metric(
                [*(str(getattr(devices[key], FIELDS[n])) for n in shared), *own], number
            )
    return made


def milliseconds(*calls: Callable[[], object]) -> list[float]:
    """Return the CPU time of one call of each, the median of rounds in which they take turns.

    Garbage is collected between two measurements and not within one, for either side.
    """
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, times in zip(calls, found, strict=True):
            call()
            gc.collect()
            gc.disable()
            count, began = 0, time.process_time()
            while (took := time.process_time() - began) < LEAST_SECONDS:
                call()
                count += 1
            gc.enable()
            times.append(took / count * 1000)
    return [statistics.median(times) for times in found]


def compare(series: int, openmetrics: bool) -> str:
    """Return one line of the table."""
    quiet = node(round(series / SERIES_PER_DEVICE))
    first, second = speak(quiet, 1), speak(quiet, 2)
    registry = CollectorRegistry(auto_describe=False)
    collector = Stock(first)
    registry.register(collector)
    ours = Exposition(openmetrics)
    theirs: Callable[[], bytes] = lambda: (  # noqa: E731
        generate_openmetrics(registry) if openmetrics else generate_latest(registry)  # type: ignore[no-untyped-call]
    )
    same = ours.render(first) == theirs()
    turns = cycle((second, first))
    calmer = Exposition(openmetrics)
    kept = cycle((first, replace(second, details=first.details)))
    stock, changing, staying = milliseconds(
        theirs, lambda: ours.render(next(turns)), lambda: calmer.render(next(kept))
    )
    return (
        f"{'OpenMetrics' if openmetrics else 'text':<12}{series:>8,}{stock:>12.2f}"
        f"{changing:>10.3f}{stock / changing:>8.1f}{staying:>12.3f}{stock / staying:>8.1f}"
        f"   {'same bytes' if same else 'DIFFERENT BYTES'}"
    )


def health() -> str:
    """Return what our own health costs on a node with three sources."""
    telemetry = Telemetry()
    for source in ("nvml", "rapl", "hwmon"):
        telemetry.set("wattshed_source_up", 1, source)
        telemetry.set("wattshed_source_devices", 8, source)
        telemetry.add("wattshed_source_read_seconds_total", 1234.5, source)
        telemetry.add("wattshed_source_reads_total", 98765, source)
    registry, ours = telemetry.registry, Families(telemetry)
    stock, rendered, collect = milliseconds(
        lambda: generate_latest(registry), ours.render, lambda: list(registry.collect())
    )
    return (
        f"own health, ms: generate_latest {stock:.3f}, ours {rendered:.3f}, "
        f"of which collecting {collect:.3f} in both"
    )


def main() -> None:
    print("ms of CPU per rendering")
    print(
        f"{'format':<12}{'series':>8}{'stock':>12}{'ours':>10}{'ratio':>8}"
        f"{'details stay':>12}{'ratio':>8}"
    )
    for openmetrics in (False, True):
        for series in SIZES:
            print(compare(series, openmetrics), flush=True)
    print(health())


if __name__ == "__main__":
    main()
