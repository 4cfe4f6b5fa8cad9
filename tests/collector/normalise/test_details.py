"""What is said of a device beside its ticks: every metric of the contract, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.fixtures.pages import read_page

from wattshed_collector.normalise import Attributes, Point
from wattshed_collector.normalise.details import KNOWN, LARGEST
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_exporter import semconv
from wattshed_exporter.model import Detail, Kind

NOW = 1_768_471_200.0
AT = round(NOW * 1000)
OTEL = {attribute.label: attribute.otel for attribute in semconv.DETAIL_ATTRIBUTES}
METRICS = list(semconv.DETAIL_METRICS.values())


def normaliser() -> Normaliser:
    return Normaliser(Limits(), lambda: NOW)


def clock(value: float = 1.98e9, unit: str = "Hz", **how: int) -> Point:
    said: Attributes = {"hw.id": "d", "wattshed.domain": "sm"}
    return Point("wattshed.clock", unit, value, how.get("ts_ms", AT), said)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.prometheus)
class TestEveryMetric:
    def test_pushed(self, metric: semconv.Metric) -> None:
        said = {OTEL[label]: f"a {label}" for label in metric.own}
        point = Point(metric.otel, metric.unit, 1.0, AT, {"hw.id": "d", **said}, AT - 5000)
        batch = normaliser().batch([point])
        values = tuple(f"a {label}" for label in metric.own)
        assert batch.details == (Detail("d", metric.prometheus, AT, 1.0, values, AT - 5000),)
        assert (batch.devices, batch.ticks, batch.rejected) == ((), (), {})

    def test_pulled(self, metric: semconv.Metric) -> None:
        labels = {"device": "d", "node": "n", "name": "gpu0"}
        labels |= {label: f"a {label}" for label in metric.own}
        inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
        head = f"# TYPE {metric.prometheus} {metric.type}\n"
        text = f"{head}{metric.prometheus}{{{inside}}} 1\n"
        text += f'wattshed_reading_timestamp_seconds{{device="d"}} {NOW - 3}\n'
        text += f'wattshed_energy_start_timestamp_seconds{{device="d"}} {NOW - 100}\n'
        rejected: Counter[str] = Counter()
        batch = normaliser().batch(read_page(text, AT, 10_000, rejected), rejected)
        values = tuple(f"a {label}" for label in metric.own)
        assert batch.details == (Detail("d", metric.prometheus, AT - 3000, 1.0, values, None),)
        assert (batch.devices, batch.rejected) == ((), {})

    def test_what_it_does_not_say_is_empty(self, metric: semconv.Metric) -> None:
        (detail,) = (
            normaliser().batch([Point(metric.otel, metric.unit, 0.0, AT, {"hw.id": "d"})]).details
        )
        assert detail.attributes == ("",) * len(metric.own)
        assert detail.start_ms is None

    def test_more_than_there_can_be(self, metric: semconv.Metric) -> None:
        largest = KNOWN[metric.otel].largest
        for value, taken in ((largest, True), (largest * 1.001, False)):
            batch = normaliser().batch([Point(metric.otel, metric.unit, value, AT, {"hw.id": "d"})])
            assert bool(batch.details) is taken
            assert batch.rejected == ({} if taken else {"out_of_range": 1})


@pytest.mark.parametrize(
    ("metric", "taken"),
    [
        ("wattshed.process.utilization", False),
        ("wattshed.memory.activity", False),
        ("wattshed.sm.activity", False),
        ("wattshed.pipe.activity", False),
        ("wattshed.engine.utilization", False),
        ("wattshed.throttled", False),
        ("hw.status", False),
        ("wattshed.energy.agreement", True),
    ],
)
def test_a_share_or_a_flag_is_at_most_one(metric: str, taken: bool) -> None:
    batch = normaliser().batch([Point(metric, "1", 1.01, AT, {"hw.id": "d"})])
    assert bool(batch.details) is taken
    assert batch.rejected == ({} if taken else {"out_of_range": 1})


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (clock(float("nan")), "not_finite"),
        (clock(float("-inf")), "not_finite"),
        (clock(-1.0), "negative"),
        (clock(2 * LARGEST["Hz"]), "out_of_range"),
        (clock(unit="1"), "unknown_unit"),
        (clock(unit="{cycle}"), "unknown_unit"),
        (clock(unit=""), "unknown_unit"),
        (clock(ts_ms=0), "no_timestamp"),
        (clock(ts_ms=AT + 600_001), "future_timestamp"),
        (clock(ts_ms=AT - 30 * 86_400_000), "too_old"),
        (Point("wattshed.clock", "Hz", 1.0, AT, {"wattshed.domain": "sm"}), "no_device"),
        (Point("hw.errors", "{error", 1.0, AT, {"hw.id": "d"}), "unknown_unit"),
        (Point("wattshed.sensor.temperature", "Cel", -300.0, AT, {"hw.id": "d"}), "out_of_range"),
        (Point("wattshed.fan", "1", 1.0, AT, {"hw.id": "d"}), "unknown_metric"),
    ],
)
def test_a_bad_one_is_counted_and_leaves_its_neighbours_alone(point: Point, reason: str) -> None:
    batch = normaliser().batch([clock(), point, clock(2e9)])
    assert [detail.value for detail in batch.details] == [1.98e9, 2e9]
    assert batch.rejected == {reason: 1}


@pytest.mark.parametrize(
    ("metric", "unit", "value", "kept"),
    [
        ("wattshed.clock", "MHz", 1980.0, 1.98e9),
        ("wattshed.throttled.time", "ns", 5e9, 5.0),
        ("hw.gpu.io", "KiBy", 2.0, 2048.0),
        ("wattshed.sm.activity", "%", 50.0, 0.5),
        ("wattshed.sensor.temperature", "Cel", -20.0, -20.0),
        ("hw.errors", "1", 3.0, 3.0),
        ("hw.errors", "{errors}", 3.0, 3.0),
        ("wattshed.remapped.rows", "{row}", 3.0, 3.0),
        ("wattshed.contexts", "{process}", 3.0, 3.0),
    ],
)
def test_units_become_base_units(metric: str, unit: str, value: float, kept: float) -> None:
    batch = normaliser().batch([Point(metric, unit, value, AT, {"hw.id": "d"})])
    assert [detail.value for detail in batch.details] == [kept], batch.rejected


class TestNamesThatTwoTablesShare:
    """``wattshed.scope`` and ``wattshed.reason`` are of a device or gap, and of a detail."""

    def test_pushed(self) -> None:
        batch = normaliser().batch(
            [
                Point("hw.power", "W", 300.0, AT, {"hw.id": "d", "wattshed.scope": "module"}),
                Point(
                    "wattshed.power.reading",
                    "W",
                    40.0,
                    AT,
                    {"hw.id": "d", "wattshed.scope": "memory", "wattshed.window": "instant"},
                ),
                Point(
                    "wattshed.throttled", "1", 1.0, AT, {"hw.id": "d", "wattshed.reason": "thermal"}
                ),
            ]
        )
        assert [device.scope for device in batch.devices] == ["module"]
        assert [detail.attributes for detail in batch.details] == [
            ("memory", "instant"),
            ("thermal",),
        ]
        assert [tick.gap for tick in batch.ticks] == [""]

    def test_pulled(self) -> None:
        text = (
            'wattshed_device_info{device="d",kind="gpu",vendor="v"} 1\n'
            'wattshed_power_watts{device="d",scope="module"} 300\n'
            'wattshed_power_reading_watts{device="d",scope="memory",window="instant"} 40\n'
        )
        batch = normaliser().batch(read_page(text, AT, 10_000))
        assert [device.scope for device in batch.devices] == ["module"]
        assert [detail.attributes for detail in batch.details] == [("memory", "instant")]


def test_another_hardware_receivers_metrics_go_the_same_way() -> None:
    said: Attributes = {"hw.id": "nic0", "hw.type": "network", "hw.name": "eth0"}
    batch = normaliser().batch(
        [
            Point("hw.errors", "{error}", 7.0, AT, {**said, "error.type": "crc"}, AT - 1),
            Point("hw.status", "1", 1.0, AT, {**said, "hw.state": "degraded"}),
            Point("hw.gpu.io", "By", 9.0, AT, {**said, "network.io.direction": "receive"}),
            Point("hw.gpu.memory.limit", "By", 8e10, AT, said),
            Point("hw.errors", "{error}", 7.0, AT, {"error.type": "crc"}),
        ]
    )
    assert batch.rejected == {"no_device": 1}
    assert [(d.metric, d.attributes) for d in batch.details] == [
        ("wattshed_ecc_errors_total", ("crc",)),
        ("wattshed_device_status", ("degraded",)),
        ("wattshed_link_bytes_total", ("", "receive")),
        ("wattshed_memory_total_bytes", ()),
    ]


class TestHosts:
    def test_energy_and_power_of_a_host_are_a_tick(self) -> None:
        batch = normaliser().batch(
            [
                Point("hw.host.energy", "J", 5.0, AT, {"hw.id": "h"}, AT - 1000),
                Point("hw.host.power", "kW", 0.25, AT, {"hw.id": "h"}),
            ]
        )
        ((tick,), (device,)) = batch.ticks, batch.devices
        assert (tick.energy_uj, tick.start_ms, tick.power_watts) == (5_000_000, AT - 1000, 250.0)
        assert device.kind is Kind.HOST

    def test_what_it_says_of_its_kind_counts(self) -> None:
        said: Attributes = {"hw.id": "h", "hw.type": "board"}
        (device,) = normaliser().batch([Point("hw.host.power", "W", 1.0, AT, said)]).devices
        assert device.kind is Kind.BOARD

    def test_every_name_of_a_host_is_known(self) -> None:
        said = [Point(name, "W", 1.0, AT, {"hw.id": "h"}) for name in semconv.HOST_NAMES.values()]
        assert "unknown_metric" not in normaliser().batch(said).rejected
