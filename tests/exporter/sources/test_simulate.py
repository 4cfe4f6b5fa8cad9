"""The made-up fleet: exact energy, one seam between history and live, and the stories it tells."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.config import Config, Simulate
from wattshed_exporter.model import (
    Allocation,
    Detail,
    Device,
    Kind,
    Method,
    Outcome,
    Overlap,
    Reading,
    Workload,
)
from wattshed_exporter.semconv import DETAIL_METRICS
from wattshed_exporter.semconv.terms import Type
from wattshed_exporter.sources import Sample
from wattshed_exporter.sources.fleet import HOT_DEVICE, OLD_FIRMWARE, SICK_DEVICE
from wattshed_exporter.sources.simulate import OUTAGE, SimulateSource, build, create
from wattshed_exporter.sources.simulate_curve import (
    COMMISSIONED_MS,
    DAY_MS,
    HOUR_MS,
    LIVE_STEP_MS,
    MINUTE_MS,
)

NOON = 1_760_097_600_000
"""2025-10-10 12:00 UTC."""
STARTED = NOON + 23_456
PLUG = "sim-reno-edge-01/host"
VISION = ("sim-reno-gpu-02/gpu0", "sim-reno-gpu-02/gpu1", "sim-reno-gpu-02/gpu2")


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, ms: int = STARTED) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


meters = cache(build)


@dataclass
class Drained:
    """Everything that a source had to say, and the samples that it came in."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def readings(self) -> list[Reading]:
        return [row for sample in self.samples for row in sample.readings]

    @property
    def workloads(self) -> dict[str, Workload]:
        return {row.key: row for sample in self.samples for row in sample.workloads}

    @property
    def outcomes(self) -> list[Outcome]:
        return [row for sample in self.samples for row in sample.outcomes]

    @property
    def allocations(self) -> dict[tuple[str, str, int], Allocation]:
        """The latest word on each allocation."""
        return {
            (row.device, row.workload, row.start_ms): row
            for sample in self.samples
            for row in sample.allocations
        }

    def details(self, metric: str, device: str = "") -> list[Detail]:
        return [
            row
            for sample in self.samples
            for row in sample.details
            if row.metric == metric and row.device == (device or row.device)
        ]

    def by_device(self) -> dict[str, list[Reading]]:
        rows: dict[str, list[Reading]] = defaultdict(list)
        for reading in self.readings:
            rows[reading.device].append(reading)
        return rows


def drain(source: SimulateSource) -> Drained:
    drained = Drained()
    while not drained.samples or drained.samples[-1].more:
        drained.samples.append(source.read())
    return drained


def start(hours: float = 1.0, seed: int = 7, clock: Clock | None = None) -> SimulateSource:
    return SimulateSource(hours, seed, clock or Clock())


@pytest.fixture(scope="module")
def day() -> Drained:
    return drain(start(24))


@pytest.fixture(scope="module")
def recent() -> Drained:
    return drain(start(2))


@pytest.fixture(scope="module")
def devices() -> dict[str, Device]:
    return {device.key: device for device in start(0).discover()}


def kwh(rows: list[Reading]) -> float:
    """Energy of readings from their power, each over the step that ends at it."""
    steps = [(after.ts_ms - before.ts_ms, after.power_watts) for before, after in pairwise(rows)]
    return sum(ms / 1000 * (watts or 0.0) for ms, watts in steps) / 3.6e6


def test_same_seed_and_start_give_the_same_fleet(recent: Drained) -> None:
    assert drain(start(2)) == recent


def test_another_seed_gives_another_fleet(recent: Drained) -> None:
    assert drain(start(2, seed=8)).readings != recent.readings


def test_a_restart_sends_the_same_past_again(recent: Drained) -> None:
    first = {(row.device, row.ts_ms): row for row in recent.readings}
    later = drain(start(2, clock=Clock(STARTED + HOUR_MS))).readings
    shared = [row for row in later if (row.device, row.ts_ms) in first and row.ts_ms <= NOON]
    assert len(shared) > 2500
    assert all(row == first[row.device, row.ts_ms] for row in shared)


def test_live_ticks_join_the_history_without_a_seam() -> None:
    clock = Clock()
    source = start(0.5, clock=clock)
    rows = drain(source).by_device()["sim-dub-gpu-01/gpu3"]
    for clock.ms in range(STARTED + 2500, STARTED + 5 * MINUTE_MS, 2500):
        rows.extend(row for row in source.read().readings if row.device == rows[0].device)
    steps = [after.ts_ms - before.ts_ms for before, after in pairwise(rows)]
    history = steps.index(LIVE_STEP_MS)
    assert set(steps[:history]) == {MINUTE_MS}
    assert rows[history].ts_ms == NOON
    assert set(steps[history:]) == {LIVE_STEP_MS}
    assert rows[-1].ts_ms == clock.ms // LIVE_STEP_MS * LIVE_STEP_MS
    restarted = drain(start(0.5, clock=clock)).readings
    known = {row.ts_ms: row.energy_uj for row in rows}
    again = [row for row in restarted if row.device == rows[0].device and row.ts_ms in known]
    assert {row.ts_ms // LIVE_STEP_MS % 6 for row in again} == {0, 1, 2}
    assert all(row.energy_uj == known[row.ts_ms] for row in again)


def test_counter_difference_is_power_times_time() -> None:
    clock = Clock()
    source = start(1, clock=clock)
    drained = drain(source)
    clock.ms += 3 * MINUTE_MS
    drained.samples += drain(source).samples
    counted = [rows for rows in drained.by_device().values() if rows[0].energy_uj is not None]
    assert len(counted) == 44
    for rows in counted:
        for before, after in pairwise(rows):
            assert before.energy_uj is not None
            assert after.energy_uj is not None
            assert after.power_watts is not None
            used = (after.energy_uj - before.energy_uj) / 1e6
            expected = after.power_watts * (after.ts_ms - before.ts_ms) / 1000
            assert math.isclose(used, expected, rel_tol=1e-9)


def test_counters_grow_fit_64_bits_and_name_their_start(day: Drained) -> None:
    for rows in day.by_device().values():
        counters = [row.energy_uj for row in rows if row.energy_uj is not None]
        assert all(after > before for before, after in pairwise(counters))
        assert all(0 < counter < 2**63 for counter in counters)
        assert {row.start_ms for row in rows} == {COMMISSIONED_MS if counters else None}


def test_wall_meter_reads_more_than_what_it_contains(
    day: Drained, devices: dict[str, Device]
) -> None:
    inner: dict[tuple[str, int], float] = defaultdict(float)
    for row in day.readings:
        if devices[row.device].parent not in ("", PLUG) and row.ts_ms % MINUTE_MS == 0:
            inner[devices[row.device].parent, row.ts_ms] += row.power_watts or 0.0
    hosts = [
        row
        for row in day.readings
        if devices[row.device].kind is Kind.HOST
        and row.device != PLUG
        and row.ts_ms % MINUTE_MS == 0
    ]
    assert len(hosts) == len(inner) == 4 * 1441
    for row in hosts:
        assert row.power_watts is not None
        assert row.power_watts > 1.1 * inner[row.device, row.ts_ms] + 200


def test_a_wall_plug_reads_a_fifth_too_little(day: Drained) -> None:
    rows = day.by_device()
    fed = {row.ts_ms: row.energy_uj for row in rows["sim-reno-edge-01/module"]}
    plug = {row.ts_ms: row.energy_uj for row in rows[PLUG]}
    assert len(plug) == len(fed) > 1400
    assert all(energy == (fed[ts] or 0) * 4 // 5 for ts, energy in plug.items())


def test_every_device_is_simulated_and_counted_once(devices: dict[str, Device]) -> None:
    assert len(devices) == len(start(0).discover()) == 45
    assert {device.method for device in devices.values()} == {Method.SIMULATED}
    assert {device.source for device in devices.values()} == {"simulate"}
    for device in devices.values():
        outer = device.kind is Kind.HOST
        assert device.overlap is (Overlap.OUTER if outer else Overlap.NONE)
        assert device.key == f"{device.node}/{device.name}"
        if device.kind in (Kind.GPU, Kind.CPU) or (device.node == "sim-reno-edge-01" and not outer):
            assert devices[device.parent].kind is Kind.HOST
        else:
            assert device.parent == ""
    assert "sim-dub-gpu-01/gpu3" in devices


def test_fleet_has_two_sites_four_servers_and_four_gateways(devices: dict[str, Device]) -> None:
    places = {(device.node, device.site, device.tier) for device in devices.values()}
    count = Counter((site, tier) for _, site, tier in places)
    assert count == {
        (site, tier): 2 for site in ("dublin", "reno") for tier in ("datacenter", "edge")
    }
    kinds = [device.kind for device in devices.values()]
    assert kinds.count(Kind.GPU) == 32
    assert {Kind.CPU, Kind.HOST, Kind.MODULE, Kind.BOARD, Kind.BATTERY} < set(kinds)


def test_history_comes_in_chunks_oldest_first_and_within_budget(day: Drained) -> None:
    sizes = [len(sample.readings) for sample in day.samples]
    times = [row.ts_ms for row in day.readings]
    assert len(times) == 72_050 + 45 * 2
    assert all(2000 <= size <= 5000 for size in sizes[:24])
    assert [sample.more for sample in day.samples] == [True] * (len(sizes) - 1) + [False]
    assert times == sorted(times)
    assert times[-1] == NOON + 20_000
    assert min(row.ts_ms for row in day.readings if row.energy_uj) == NOON - DAY_MS
    assert not any(sample.finished for sample in day.samples)


def test_no_row_is_repeated(day: Drained) -> None:
    rows = day.readings
    assert len({(row.device, row.ts_ms) for row in rows}) == len(rows)


def test_nothing_new_is_an_empty_sample() -> None:
    clock = Clock()
    source = start(0, clock=clock)
    assert {row.ts_ms for row in drain(source).readings if row.energy_uj} == {
        NOON, NOON + 10_000, NOON + 20_000
    }  # fmt: skip
    assert source.read() == Sample()
    clock.ms -= HOUR_MS
    assert source.read() == Sample()
    clock.ms = NOON + 30_000
    assert {row.ts_ms for row in source.read().readings} == {NOON + 30_000}
    source.close()
    source.close()


def test_steps_missed_while_the_machine_slept_come_in_chunks() -> None:
    clock = Clock()
    source = start(0, clock=clock)
    drain(source)
    clock.ms += 2 * HOUR_MS
    late = drain(source)
    assert len(late.samples) == 12
    assert len(late.readings) == 45 * 720
    assert all(len(sample.readings) <= 5000 for sample in late.samples)


def test_shares_never_exceed_the_device(day: Drained, devices: dict[str, Device]) -> None:
    edges: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in day.allocations.values():
        assert row.start_ms < row.end_ms
        assert 0 < row.share <= 1
        assert devices[row.device].kind is not Kind.HOST
        assert row.workload in day.workloads
        edges[row.device] += [(row.start_ms, row.share), (row.end_ms, -row.share)]
    for changes in edges.values():
        held = 0.0
        for _, change in sorted(changes):
            held += change
            assert -1e-9 <= held <= 1 + 1e-9


def test_running_allocation_grows_and_finished_one_stays() -> None:
    clock = Clock(NOON + 19 * MINUTE_MS + 45_000)
    source = start(0, clock=clock)
    ends = []
    drain(source)
    for later in range(1, 6):
        clock.ms = NOON + 19 * MINUTE_MS + 45_000 + later * LIVE_STEP_MS
        rows = source.read().allocations
        ends.append({(row.workload.split("/")[0], row.start_ms): row.end_ms for row in rows})
    pretrain = ("sim-vit-h-pretrain", NOON - 11 * HOUR_MS - HOUR_MS // 2)
    job_end = NOON + 20 * MINUTE_MS
    assert [row.get(pretrain) for row in ends] == [job_end - 10_000, job_end, None, None, None]
    service = [end for row in ends for (key, _), end in row.items() if key == "sim-chat-70b"]
    assert service == [job_end + step for step in range(-10_000, 40_000, 10_000)]


def test_every_kind_of_workload_is_there_and_described(day: Drained) -> None:
    workloads = day.workloads.values()
    assert {row.kind for row in workloads} == {
        "training", "inference", "notebook", "edge_inference"
    }  # fmt: skip
    for row in workloads:
        assert all((row.name, row.namespace, row.team, row.owner, row.project, row.cluster))
        assert row.precision
        assert row.model or row.kind == "notebook"


def test_daily_jobs_are_new_workloads_and_services_are_not(day: Drained) -> None:
    jobs = [key for key in day.workloads if key.startswith("sim-mixtral-8x7b-dpo")]
    assert jobs == ["sim-mixtral-8x7b-dpo/20251009", "sim-mixtral-8x7b-dpo/20251010"]
    assert [key for key in day.workloads if "chat" in key] == [
        "sim-chat-70b", "sim-chat-70b-bf16"
    ]  # fmt: skip


def test_outcome_totals_only_grow(day: Drained) -> None:
    series: dict[tuple[str, str, int | None], list[Outcome]] = defaultdict(list)
    for row in day.outcomes:
        series[row.workload, row.kind, row.start_ms].append(row)
    for rows in series.values():
        assert all(after.ts_ms > before.ts_ms for before, after in pairwise(rows))
        assert all(after.total >= before.total >= 0 for before, after in pairwise(rows))
    kinds = {kind for _, kind, _ in series}
    assert kinds == {
        "step", "token_in", "token_in_cached", "token_out", "request", "image", "inference"
    }  # fmt: skip


def test_job_counts_its_steps_from_its_own_start(day: Drained) -> None:
    rows = [row for row in day.outcomes if row.workload == "sim-mixtral-8x7b-dpo/20251009"]
    began = NOON - DAY_MS - HOUR_MS - HOUR_MS // 2
    assert {row.start_ms for row in rows} == {began}
    assert rows[-1].ts_ms == NOON - DAY_MS + 7 * HOUR_MS + 40 * MINUTE_MS
    seconds = (rows[-1].ts_ms - began) / 1000
    assert rows[-1].total == pytest.approx(0.17 * 0.97 * seconds * 29 / 30, rel=0.02)


def test_stalled_job_holds_its_gpus_and_makes_no_step(day: Drained) -> None:
    stall = range(NOON - DAY_MS + 4 * HOUR_MS, NOON - DAY_MS + 8 * HOUR_MS + 30 * MINUTE_MS + 1)
    key = "sim-speech-encoder-pretrain/20251009"
    steps = [row.total for row in day.outcomes if row.workload == key and row.ts_ms in stall]
    assert len(steps) == 55
    assert len(set(steps)) == 1
    rows = [row for row in day.by_device()["sim-dub-gpu-02/gpu0"] if row.ts_ms in stall][1:]
    assert all(110 < (row.power_watts or 0) < 150 for row in rows)
    assert all((row.utilization_ratio or 0) < 0.05 for row in rows)


@pytest.mark.parametrize("device", VISION)
def test_notebook_team_holds_idle_gpus_for_hours(day: Drained, device: str) -> None:
    held = [row for row in day.allocations.values() if row.device == device]
    parked = [
        row
        for row in day.by_device()[device]
        if row.utilization_ratio == 0
        and any(hold.start_ms < row.ts_ms <= hold.end_ms for hold in held)
    ]
    assert len(parked) * MINUTE_MS > 13 * HOUR_MS
    assert all(70 < (row.power_watts or 0) < 120 for row in parked)


@pytest.mark.parametrize("device", ["sim-reno-gpu-02/gpu5", "sim-reno-gpu-02/gpu6"])
def test_some_gpus_are_held_by_nobody(day: Drained, device: str) -> None:
    assert device not in {row.device for row in day.allocations.values()}
    rows = day.by_device()[device]
    assert all(30 < (row.power_watts or 0) < 40 for row in rows)
    assert {row.utilization_ratio for row in rows} == {0.0}


def test_parked_model_burns_without_traffic(day: Drained) -> None:
    rows = day.by_device()["sim-reno-gpu-01/gpu7"]
    assert all(105 < (row.power_watts or 0) < 130 for row in rows)
    assert {row.total for row in day.outcomes if row.workload == "sim-canary-8x22b"} == {0.0}


def test_outage_of_a_power_only_gpu_is_a_gap_with_a_reason(day: Drained) -> None:
    gaps = [row for row in day.readings if row.gap]
    assert {row.device for row in gaps} == {"sim-reno-gpu-02/gpu7"}
    assert {row.gap for row in gaps} == {OUTAGE}
    assert len(gaps) * LIVE_STEP_MS == 12 * MINUTE_MS
    assert all(row == Reading(row.device, row.ts_ms, gap=OUTAGE) for row in gaps)


def test_power_only_meters_are_read_often_enough_to_integrate(day: Drained) -> None:
    gauges = {
        key: rows for key, rows in day.by_device().items() if all(r.energy_uj is None for r in rows)
    }
    assert set(gauges) == {"sim-reno-gpu-02/gpu7"}
    longest = 3 * 1000 * start(0).interval_seconds
    for rows in gauges.values():
        assert max(b.ts_ms - a.ts_ms for a, b in pairwise(rows)) < longest


def test_power_and_utilization_stay_within_the_device(
    day: Drained, devices: dict[str, Device]
) -> None:
    for row in day.readings:
        if row.gap:
            continue
        limit = devices[row.device].power_limit_watts
        assert row.power_watts is not None
        assert 0 < row.power_watts < (limit or 15_000)
        assert (row.utilization_ratio is None) == (limit is None)
        assert limit is None or 0 <= (row.utilization_ratio or 0) <= 1
        assert limit is None or 27 < (row.temperature_celsius or 0) < (
            72 if row.device != HOT_DEVICE else 86
        )


@given(
    tick=st.integers(COMMISSIONED_MS // LIVE_STEP_MS + 1, 4_000_000_000_000 // LIVE_STEP_MS),
    seed=st.sampled_from([0, 7]),
)
def test_power_stays_within_the_limit_at_any_time(tick: int, seed: int) -> None:
    ts = tick * LIVE_STEP_MS
    for meter in meters(seed):
        power = (meter.total(ts) - meter.total(ts - LIVE_STEP_MS)) / LIVE_STEP_MS / 1000
        assert 0.8 < power < (meter.device.power_limit_watts or 15_000)


def test_totals_of_a_day_are_plausible(day: Drained, devices: dict[str, Device]) -> None:
    total: dict[str, float] = defaultdict(float)
    for key, rows in day.by_device().items():
        total[devices[key].kind] += kwh(rows)
    assert 240 < total[Kind.GPU] < 290
    assert 20 < total[Kind.CPU] < 35
    assert 1.2 < total[Kind.HOST] / (total[Kind.GPU] + total[Kind.CPU]) < 1.45
    assert 0.6 < total[Kind.MODULE] < 0.9
    assert 0.02 < total[Kind.BATTERY] < 0.1


def test_history_stops_at_the_commissioning() -> None:
    source = start(24, clock=Clock(COMMISSIONED_MS + HOUR_MS))
    first = source.read()
    assert min(row.ts_ms for row in first.readings) > COMMISSIONED_MS
    assert all((row.energy_uj or 1) > 0 for row in first.readings)
    assert {meter.total(COMMISSIONED_MS) for meter in meters(0)} == {0}


def test_create_takes_history_and_seed_from_the_configuration() -> None:
    source = create(Config(simulate=Simulate(history_hours=0.5, seed=3)))
    assert source.name == "simulate"
    assert source.interval_seconds == 10
    first = source.read()
    span = max(r.ts_ms for r in first.readings) - min(r.ts_ms for r in first.readings)
    assert span == 30 * MINUTE_MS + 50_000


def test_details_are_known_repeat_themselves_and_fit_the_contract(
    recent: Drained, day: Drained
) -> None:
    rows = [row for sample in recent.samples for row in sample.details]
    assert {row.metric for row in rows} < set(DETAIL_METRICS)
    assert len({(row.device, row.metric, row.attributes, row.ts_ms) for row in rows}) == len(rows)
    for row in rows:
        assert len(row.attributes) == len(DETAIL_METRICS[row.metric].own)
        assert (row.start_ms is not None) == (DETAIL_METRICS[row.metric].type is Type.COUNTER)
    known = {(row.device, row.metric, row.attributes, row.ts_ms): row.value for row in rows}
    again = [
        row
        for sample in day.samples
        for row in sample.details
        if (row.device, row.metric, row.attributes, row.ts_ms) in known
    ]
    assert len(again) == len(known)
    for row in again:
        assert row.value == known[row.device, row.metric, row.attributes, row.ts_ms]


def test_counters_among_the_details_only_grow(day: Drained) -> None:
    series: dict[tuple[str, str, tuple[str, ...], int], list[float]] = defaultdict(list)
    for sample in day.samples:
        for row in sample.details:
            if row.start_ms is not None:
                series[row.device, row.metric, row.attributes, row.start_ms].append(row.value)
    assert len({metric for _, metric, _, _ in series}) == 4
    for values in series.values():
        assert all(after >= before >= 0 for before, after in pairwise(values))


def test_heat_holds_one_board_down_and_errors_degrade_another(day: Drained) -> None:
    hot = [
        row.device
        for row in day.details("wattshed_throttled")
        if row.attributes == ("sw_thermal_slowdown",) and row.value
    ]
    assert set(hot) == {HOT_DEVICE}
    degraded = [
        row.device
        for row in day.details("wattshed_device_status")
        if row.attributes == ("degraded",) and row.value
    ]
    assert set(degraded) == {SICK_DEVICE}
    xids = day.details("wattshed_xid_errors_total")
    assert {(row.device, row.attributes) for row in xids} == {(SICK_DEVICE, ("63",))}
    newest = xids[-1].start_ms
    assert [row.value for row in xids if row.start_ms == newest][-1] == 1.0
    assert {row.value for row in xids} <= {0.0, 1.0}


def test_ranking_draws_much_with_few_of_its_sms(day: Drained) -> None:
    at = NOON - DAY_MS + 4 * HOUR_MS + 30 * MINUTE_MS
    (row,) = [r for r in day.by_device()["sim-reno-gpu-02/gpu3"] if r.ts_ms == at]
    assert 0.05 < (row.utilization_ratio or 0) < 0.15
    assert (row.power_watts or 0) > 0.5 * 350
    (sm,) = [
        r
        for r in day.details("wattshed_sm_activity_ratio", "sim-reno-gpu-02/gpu3")
        if r.ts_ms == at
    ]
    assert 0.05 < sm.value < 0.15


def test_boards_say_their_driver_and_one_has_old_firmware(devices: dict[str, Device]) -> None:
    gpus = [device for device in devices.values() if device.kind is Kind.GPU]
    assert len({device.serial for device in gpus}) == len(gpus)
    assert Counter(device.driver for device in gpus) == {"570.133.20": 24, "550.54.15": 8}
    versions = Counter((device.model, device.firmware) for device in gpus)
    assert [of for of, count in versions.items() if count == 1 and of[1]] == [
        ("NVIDIA H100 80GB HBM3", OLD_FIRMWARE["sim-dub-gpu-01/gpu5"])
    ]
