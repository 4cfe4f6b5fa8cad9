"""The exposition equals prometheus-client's byte for byte, in both formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from wattshed_exporter.model import Detail, Device, Kind, Method, Overlap, Tick
from wattshed_exporter.outputs import Snapshot, tick_values
from wattshed_exporter.outputs.exposition import Exposition, openmetrics_family, written
from wattshed_exporter.semconv import (
    DETAIL_METRICS,
    DEVICE_ATTRIBUTES,
    FLEET_METRICS,
    GAP,
    TICK_METRICS,
    Metric,
    Type,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics.txt"

GPU = Device(
    "n1/nvml/GPU-1", Kind.GPU, "n1", "nvml", "gpu0", "NVIDIA", "NVIDIA H100 80GB HBM3", "165",
    site="hall-2", tier="datacenter", cluster="c1", scope="gpu", uncertainty_ratio=0.05,
    power_limit_watts=700.0,
)  # fmt: skip
CPU = Device(
    "n1/rapl/0", Kind.CPU, "n1", "rapl", "package-0", parent="n1", overlap=Overlap.INNER,
    model='odd "name" with \\ and\nnewline at 100 %s é',
)  # fmt: skip
GPU_TICK = Tick(
    GPU.key, 1_763_856_000_123, 1000, Method.COUNTER, 412.5, 9_876_543_210_123,
    1_763_800_000_000, 0.97, 85_520_809_984, 61.0,
)  # fmt: skip
CPU_TICK = Tick(
    CPU.key, 1_763_856_000_500, 1000, Method.COUNTER, None, 1_500_000, 1_763_855_000_000
)


def said(device: str, metric: str, value: float, *own: str) -> Detail:
    return Detail(device, metric, 1_763_856_000_123, value, own)


def keyed(*details: Detail) -> dict[tuple[str, str, tuple[str, ...]], Detail]:
    return {(d.metric, d.device, d.attributes): d for d in details}


DETAILS = keyed(
    said(GPU.key, "wattshed_throttled_seconds_total", 12.5, "power_cap"),
    said(GPU.key, "wattshed_clock_hertz", 1.98e9, "sm"),
    said(CPU.key, "wattshed_clock_hertz", 3.1e9, "graphics"),
    said(GPU.key, "wattshed_power_reading_watts", 404.125, "gpu", "instant"),
    said(GPU.key, "wattshed_memory_total_bytes", 85_520_809_984.0),
    said(GPU.key, "wattshed_throttled", 0.0, "power_cap"),
    said(GPU.key, "wattshed_mig_instance_info", 1.0, "1/0", "1g.10gb", "MIG-1", "1"),
)
SNAPSHOT = Snapshot(
    (GPU, CPU), {GPU.key: GPU_TICK, CPU.key: CPU_TICK}, {(GPU.key, "deadline"): 6.5}, DETAILS
)


NO_OWN: tuple[str, ...] = ()


class Stock(Collector):
    """The same families, made of prometheus-client's own objects."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        by_key = {d.key: d for d in self.snapshot.devices}
        for index, metric in enumerate(TICK_METRICS):
            ticks = self.snapshot.ticks.items()
            values = {(key, NO_OWN): tick_values(tick)[index] for key, tick in ticks}
            yield from self.family(metric, by_key, values)
        unknown = self.snapshot.unknown_seconds.items()
        yield from self.family(GAP, by_key, {(k, (reason,)): v for (k, reason), v in unknown})
        yield from self.family(FLEET_METRICS[0], by_key, {(key, NO_OWN): 1.0 for key in by_key})
        limits = {(key, NO_OWN): d.power_limit_watts for key, d in by_key.items()}
        yield from self.family(FLEET_METRICS[1], by_key, limits)
        for name, metric in DETAIL_METRICS.items():
            details = self.snapshot.details.values()
            told = {(d.device, d.attributes): d.value for d in details if d.metric == name}
            yield from self.family(metric, by_key, told)

    def family(
        self,
        metric: Metric,
        devices: Mapping[str, Device],
        values: Mapping[tuple[str, tuple[str, ...]], float | None],
    ) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        kind = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
        unit = openmetrics_family(metric)[1]
        family = kind(metric.prometheus, metric.help, labels=metric.labels, unit=unit)
        names = {a.label: a.name for a in DEVICE_ATTRIBUTES}
        for (key, own), value in values.items():
            if key in devices and value is not None and math.isfinite(value):
                shared = metric.labels[: len(metric.labels) - len(own)]
                labels = [str(getattr(devices[key], names[label])) for label in shared]
                family.add_metric([*labels, *own], value)
        return [family] if family.samples else []


def stock(snapshot: Snapshot, openmetrics: bool = False) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Stock(snapshot))
    if openmetrics:
        return bytes(generate_openmetrics(registry))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def test_it_is_what_prometheus_client_says() -> None:
    assert Exposition().render(SNAPSHOT).decode() == stock(SNAPSHOT).decode()


def test_so_is_openmetrics() -> None:
    assert Exposition(openmetrics=True).render(SNAPSHOT).decode() == stock(SNAPSHOT, True).decode()


def test_it_is_what_it_was() -> None:
    assert Exposition().render(SNAPSHOT).decode() == GOLDEN.read_text(encoding="utf-8")


def test_openmetrics_is_read_by_its_strict_parser() -> None:
    body = Exposition(openmetrics=True).render(SNAPSHOT).decode()
    units = {f.name: (f.type, f.unit) for f in openmetrics_families(body)}  # type: ignore[no-untyped-call]
    assert units["wattshed_energy_joules"] == ("counter", "joules")
    assert units["wattshed_throttled_seconds"] == ("counter", "seconds")
    assert units["wattshed_clock_hertz"] == ("gauge", "hertz")
    assert units["wattshed_throttled"] == ("gauge", "")


Row = tuple[str, float | None, int | None, Sequence[tuple[int, str, float]]]
METRICS = tuple(DETAIL_METRICS.values())


def snapshot_of(rows: Sequence[Row]) -> Snapshot:
    devices = tuple(replace(CPU, key=f"d{i}", name=row[0]) for i, row in enumerate(rows))
    ticks = {
        f"d{i}": Tick(f"d{i}", 10**12 + i, 1000, Method.COUNTER, watts, uj)
        for i, (_, watts, uj, _) in enumerate(rows)
    }
    details = []
    for i, row in enumerate(rows):
        for index, own, value in row[3]:
            metric = METRICS[index]
            labels = [f"{own}{n}" for n in range(len(metric.labels) - 3)]
            details.append(said(f"d{i}", metric.prometheus, value, *labels))
    return Snapshot(devices, ticks, {}, keyed(*details))


told = st.tuples(st.integers(0, len(METRICS) - 1), st.text(), st.floats())
rows = st.lists(
    st.tuples(
        st.text(), st.none() | st.floats(), st.none() | st.integers(0, 10**18), st.lists(told)
    ),
    max_size=5,
)


@given(st.lists(rows, max_size=4), st.booleans())
def test_it_is_what_prometheus_client_says_whatever_comes_after_whatever(
    history: list[list[Row]], openmetrics: bool
) -> None:
    exposition = Exposition(openmetrics)
    for each in history:
        snapshot = snapshot_of(each)
        assert exposition.render(snapshot) == stock(snapshot, openmetrics)
        assert exposition.render(snapshot) == stock(snapshot, openmetrics)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_as_they_were(number: float) -> None:
    assert float(written(number)) == number


def test_zeros_keep_their_sign() -> None:
    exposition = Exposition()
    for zero in (0.0, -0.0, 0.0):
        tick = replace(GPU_TICK, power_watts=zero)
        snapshot = replace(SNAPSHOT, ticks={GPU.key: tick})
        assert exposition.render(snapshot) == stock(snapshot)


def test_details_of_devices_that_are_gone_are_not_shown() -> None:
    body = Exposition().render(replace(SNAPSHOT, devices=(GPU,), ticks={}))
    assert b"wattshed_clock_hertz" in body
    assert CPU.key.encode() not in body


def test_details_that_the_contract_does_not_know_are_told_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = keyed(said(GPU.key, "made_up", 1.0), said(GPU.key, "wattshed_clock_hertz", 1.0))
    snapshot = replace(SNAPSHOT, details=DETAILS | odd)
    exposition = Exposition()
    assert exposition.render(snapshot) == stock(SNAPSHOT)
    assert exposition.render(replace(snapshot, ticks={})) != stock(SNAPSHOT)
    assert caplog.messages == [
        "made_up: not a detail with 0 labels", "wattshed_clock_hertz: not a detail with 0 labels",
    ]  # fmt: skip


def test_what_did_not_change_is_not_written_anew() -> None:
    """Details that are the same objects are not looked at again; other ones are."""
    exposition = Exposition()
    assert exposition.render(SNAPSHOT) == stock(SNAPSHOT)
    clock = said(GPU.key, "wattshed_clock_hertz", 2.1e9, "sm")
    changed = replace(SNAPSHOT, details={**DETAILS, **keyed(clock)})
    assert exposition.render(changed) == stock(changed)
    moved = replace(changed, devices=(replace(GPU, node="n2"), CPU))
    assert exposition.render(moved) == stock(moved)


def test_what_is_silent_has_no_series() -> None:
    odd = replace(GPU_TICK, power_watts=math.nan, utilization_ratio=None, temperature_celsius=None)
    body = Exposition().render(replace(SNAPSHOT, ticks={GPU.key: odd})).decode()
    found = {s.name for f in text_string_to_metric_families(body) for s in f.samples}
    assert "wattshed_energy_joules_total" in found
    assert not found & {
        "wattshed_power_watts", "wattshed_utilization_ratio", "wattshed_temperature_celsius",
    }  # fmt: skip
    assert "NaN" not in body


def test_a_gap_shows_neither_values_nor_a_time_of_reading() -> None:
    gap = Tick(GPU.key, 1, 1000, Method.UNKNOWN, gap="deadline")
    body = Exposition().render(Snapshot((GPU,), {GPU.key: gap})).decode()
    assert {f.name for f in text_string_to_metric_families(body)} == {
        "wattshed_device_info", "wattshed_power_limit_watts",
    }  # fmt: skip


def test_nothing_to_show() -> None:
    assert Exposition().render(Snapshot()) == b""


def test_the_kept_template_follows_values_presence_and_labels() -> None:
    exposition = Exposition()
    for snapshot in (
        SNAPSHOT,
        replace(SNAPSHOT, ticks={GPU.key: replace(GPU_TICK, power_watts=1.0)}),
        replace(SNAPSHOT, ticks={GPU.key: replace(GPU_TICK, power_watts=None)}),
        replace(SNAPSHOT, devices=(replace(GPU, site="moved"), CPU)),
        replace(SNAPSHOT, unknown_seconds={(CPU.key, "reset"): 1.0}),
        replace(SNAPSHOT, details={k: DETAILS[k] for k in reversed(DETAILS)}),
        replace(SNAPSHOT, details=keyed(said(CPU.key, "wattshed_contexts", math.nan))),
        replace(SNAPSHOT, details=keyed(said(CPU.key, "wattshed_contexts", 3))),
        Snapshot(),
        SNAPSHOT,
    ):
        assert exposition.render(snapshot) == stock(snapshot)


def test_values_come_in_the_order_of_the_contract() -> None:
    values = tick_values(GPU_TICK)
    assert dict(zip((m.field for m in TICK_METRICS), values, strict=True)) == {
        "energy_joules": 9876543.210123,
        "power_watts": 412.5,
        "utilization_ratio": 0.97,
        "memory_used_bytes": 85_520_809_984,
        "temperature_celsius": 61.0,
        "start_seconds": 1_763_800_000.0,
        "ts_seconds": 1_763_856_000.123,
    }
