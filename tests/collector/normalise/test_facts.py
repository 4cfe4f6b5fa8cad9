"""Points to facts: whatever is sent, good neighbours stay and every point is accounted for."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.normalise import Attributes, Point
from wattshed_collector.normalise.allocations import REASONS
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.store.rows import Ids, tables
from wattshed_exporter import semconv
from wattshed_exporter.model import Kind, Method, Overlap

NOW = 1_768_471_200.0
AT = round(NOW * 1000)


def normaliser(**limits: float) -> Normaliser:
    return Normaliser(Limits(**limits), lambda: NOW)


def power(value: float = 1.0, *, ts_ms: int = AT, unit: str = "W", **said: object) -> Point:
    attributes = {"hw.id": "d", **{k.replace("__", "."): v for k, v in said.items()}}
    return Point("hw.power", unit, value, ts_ms, attributes)  # type: ignore[arg-type]


class TestTime:
    @pytest.mark.parametrize(
        ("ahead_ms", "taken"),
        [(0, True), (600_000, True), (600_001, False), (2 * 86_400_000, False)],
    )
    def test_ahead(self, ahead_ms: int, taken: bool) -> None:
        batch = normaliser().batch([power(ts_ms=AT + ahead_ms)])
        assert bool(batch.ticks) is taken
        assert batch.rejected == ({} if taken else {"future_timestamp": 1})

    @pytest.mark.parametrize(("limit", "taken"), [(3600.0, False), (3601.0, True), (0.0, True)])
    def test_behind(self, limit: float, taken: bool) -> None:
        batch = normaliser(oldest_seconds=limit).batch([power(ts_ms=AT - 3_600_500)])
        assert batch.rejected == ({} if taken else {"too_old": 1})

    @pytest.mark.parametrize("ts_ms", [0, -1])
    def test_none(self, ts_ms: int) -> None:
        assert normaliser(oldest_seconds=0).batch([power(ts_ms=ts_ms)]).rejected == {
            "no_timestamp": 1
        }


class TestDevice:
    def test_everything_that_is_said_is_kept(self) -> None:
        said = {a.otel: a.name.upper() for a in semconv.DEVICE_ATTRIBUTES}
        said |= {"hw.type": "module", "wattshed.method": "estimated", "wattshed.overlap": "inner"}
        point = Point("hw.power", "W", 1.0, AT, {**said, "wattshed.uncertainty": 0.05})
        (device,) = normaliser().batch([point]).devices
        assert (device.kind, device.method, device.overlap) == (
            Kind.MODULE,
            Method.ESTIMATED,
            Overlap.INNER,
        )
        assert (device.key, device.node, device.serial) == ("KEY", "NODE", "SERIAL")
        assert device.uncertainty_ratio == 0.05

    def test_a_change_is_seen(self) -> None:
        reader = normaliser()
        for site in ("here", "there"):
            (device,) = reader.batch([power(wattshed__site=site)]).devices
            assert device.site == site

    def test_the_ticks_method_is_the_meters(self) -> None:
        (tick,) = normaliser().batch([power(wattshed__method="simulated")]).ticks
        assert tick.method is Method.SIMULATED

    def test_the_power_limit_is_remembered_for_each_device(self) -> None:
        reader = normaliser()
        limit = Point("wattshed.device.power.limit", "kW", 0.7, AT, {"hw.id": "d"})
        assert reader.batch([power(), limit]).devices[0].power_limit_watts == 700.0
        gap = Point("wattshed.gap", "1", 1.0, AT, {"hw.id": "d", "wattshed.reason": "deadline"})
        reader.batch([gap])
        assert reader.batch([power()]).devices[0].power_limit_watts == 700.0
        assert reader.batch([power(hw__id="e")]).devices[0].power_limit_watts is None


def test_what_a_device_says_at_one_instant_is_one_tick() -> None:
    attributes: Attributes = {"hw.id": "d", "wattshed.interval_ms": 500}
    said = [
        Point("hw.energy", "mJ", 5.0, AT, attributes, AT - 60_000),
        Point("hw.power", "mW", 1500.0, AT, attributes),
        Point("hw.gpu.utilization", "%", 25.0, AT, attributes),
        Point("hw.gpu.memory.usage", "MiBy", 2.0, AT, attributes),
        Point("hw.temperature", "Cel", -5.0, AT, attributes),
    ]
    (tick,) = normaliser().batch(said).ticks
    assert (tick.energy_uj, tick.start_ms, tick.interval_ms) == (5000, AT - 60_000, 500)
    assert (tick.power_watts, tick.utilization_ratio) == (1.5, 0.25)
    assert (tick.memory_used_bytes, tick.temperature_celsius) == (2 * 2**20, -5.0)


def test_an_allocation_and_an_outcome_name_their_workload() -> None:
    attributes = {"hw.id": "d", "wattshed.workload.id": "w", "wattshed.outcome": "token"}
    batch = normaliser().batch(
        [
            Point("wattshed.allocation.share", "1", 0.5, AT, attributes, AT - 1000),
            Point("wattshed.outcomes", "{outcome}", 7.0, AT, attributes),
        ]
    )
    (allocation,), (outcome,), (workload,) = batch.allocations, batch.outcomes, batch.workloads
    assert (allocation.start_ms, allocation.end_ms, allocation.share) == (AT - 1000, AT, 0.5)
    assert (outcome.total, outcome.start_ms, outcome.kind) == (7.0, None, "token")
    assert (workload.key, workload.name) == ("w", "w")


NAMES = [m.otel for m in semconv.ALL_METRICS if m.otel] + ["hw.gpu.utilization", "up"]
KEYS = [a.otel for a in (*semconv.DEVICE_ATTRIBUTES, *semconv.WORKLOAD_ATTRIBUTES)] + [
    semconv.INTERVAL_ATTRIBUTE,
    semconv.UNCERTAINTY_ATTRIBUTE,
    semconv.REASON_ATTRIBUTE,
    semconv.OUTCOME_KIND_ATTRIBUTE,
    semconv.ALLOCATION_ACTIVITY_ATTRIBUTE,
    semconv.ALLOCATION_REVISION_ATTRIBUTE,
    *(a.otel for a in semconv.PUSHED_ATTRIBUTES),
]
ODD = st.one_of(
    st.text(max_size=5),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.sampled_from(["gpu", "counter", "inner", "d"]),
)
ANY = st.builds(
    Point,
    st.sampled_from(NAMES),
    st.sampled_from(["W", "J", "1", "%", "By", "Cel", "{outcome}", "mW", "s", "Hz", "{row}", "?"]),
    st.one_of(st.floats(), st.floats(0, 1)),
    st.one_of(st.integers(0, 2**64 // 10**6), st.integers(AT - 1000, AT)),
    st.dictionaries(st.sampled_from(KEYS), ODD, max_size=8),
    st.integers(0, 2**64 // 10**6),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # many small draws on a busy machine
@given(st.lists(ANY, max_size=10))
def test_whatever_is_sent_ends_in_columns_that_fit_or_in_a_count(said: list[Point]) -> None:
    batch = normaliser(oldest_seconds=0).batch(said)
    assert all(amount > 0 for amount in batch.rejected.values())
    assert sum(batch.rejected.values()) <= len(said)
    for tick in batch.ticks:
        assert tick.power_watts is None or (
            math.isfinite(tick.power_watts) and tick.power_watts >= 0
        )
    for detail in batch.details:
        assert math.isfinite(detail.value)
        assert len(detail.attributes) == len(semconv.PUSHED_DETAILS[detail.metric].own)
    for doubtful in batch.quarantine:
        assert doubtful.reason in REASONS
    for rows in tables(batch, Ids()):
        as_said = ("share", "activity") if rows.table == "quarantine" else ()
        for name in RANGES.keys() & rows.columns.keys() - set(as_said):
            (low, high), column = RANGES[name], rows.columns[name]
            for value in column.values[() if column.present is None else column.present].flat:
                assert low <= value <= high, name


RANGES = {
    "power_uw": (0, 2**64 - 1),
    "energy_uj": (0, 2**64 - 1),
    "interval_ms": (1, 2**32 - 1),
    "util_e4": (0, 10_000),
    "mem_used_bytes": (0, 2**64 - 1),
    "temp_e1": (-(2**15), 2**15 - 1),
    "share": (0.0, 1.0),
    "start_ts": (0, 2**63 - 1),
    "start_ms": (1, 2**63 - 1),
    "end_ms": (1, 2**63 - 1),
    "activity": (0.0, 1.0),
    "revision": (0, 2**20 - 1),
}
"""What the columns hold."""
