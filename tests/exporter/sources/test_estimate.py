"""The estimate of CPU power from utilisation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.config import Estimate as Settings
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Kind, Method, Reading
from wattshed_exporter.sources.cpu_time import CpuTimes, read_cpu_times, utilization
from wattshed_exporter.sources.estimate import (
    FULL_WATTS_PER_CPU,
    IDLE_WATTS_PER_CPU,
    UNCERTAINTY_RATIO,
    Estimate,
    create,
    power_range,
)

NOW_MS = 1_700_000_000_123
KEY = "node1/estimate/cpu"


class Machine:
    """A procfs whose CPU times a test moves on."""

    def __init__(self, procfs: Path, cpus: int) -> None:
        self.stat = procfs / "stat"
        self.cpus = cpus
        self.ticks = [0] * 10
        self.pass_time()

    def pass_time(self, **ticks: int) -> None:
        names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]
        names += ["guest", "guest_nice"]
        self.ticks = [old + ticks.get(name, 0) for name, old in zip(names, self.ticks, strict=True)]
        numbers = " ".join(map(str, self.ticks))
        each = "".join(f"cpu{cpu} {numbers}\n" for cpu in range(self.cpus))
        self.stat.write_text(f"cpu  {numbers}\n{each}intr 12345 0 1\nctxt 99\nbtime 1700000000\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, cpus=10)


def estimate(procfs: Path, **settings: Any) -> Estimate:
    config = Config(
        node="node1", site="here", roots=Roots(procfs=procfs), estimate=Settings(**settings)
    )
    return Estimate(config, clock=lambda: NOW_MS * 1_000_000 + 999_999)


def test_device(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("vendor_id\t: GenuineIntel\nmodel name\t: Xeon\n")
    (device,) = estimate(tmp_path).discover()
    assert (device.key, device.kind, device.method) == (KEY, Kind.CPU, Method.ESTIMATED)
    assert (device.scope, device.uncertainty_ratio) == ("cpu", 0.5)
    assert (device.vendor, device.model, device.site) == ("Intel", "Xeon", "here")
    assert device.counter_range_uj is None


def test_power_follows_utilization(machine: Machine, tmp_path: Path) -> None:
    source = estimate(tmp_path)
    source.discover()
    assert source.read().readings == [Reading(KEY, NOW_MS, gap="first_read")]
    machine.pass_time(user=20, system=5, idle=75)
    assert source.read().readings == [
        Reading(KEY, NOW_MS, power_watts=9.0 + 29.0 * 0.25, utilization_ratio=0.25)
    ]
    machine.pass_time(idle=100)
    assert source.read().readings[0].power_watts == 9.0
    machine.pass_time(user=1000)
    assert source.read().readings[0].power_watts == 38.0


@pytest.mark.parametrize(
    ("ticks", "ratio"),
    [
        ({"user": 10, "nice": 10, "system": 10, "irq": 5, "softirq": 5, "idle": 60}, 0.4),
        ({"steal": 30, "idle": 70}, 0.3),
        ({"iowait": 50, "idle": 50}, 0.0),
        ({"user": 50, "guest": 50, "idle": 50}, 0.5),
        ({"nice": 50, "guest_nice": 50, "idle": 50}, 0.5),
        ({"user": 30, "iowait": -40, "idle": 70}, 0.3),
        ({"user": -500, "system": 25, "idle": 75}, 0.25),
    ],
)
def test_utilization(machine: Machine, tmp_path: Path, ticks: dict[str, int], ratio: float) -> None:
    machine.pass_time(user=1000, iowait=1000, idle=1000)
    last = read_cpu_times(machine.stat)
    machine.pass_time(**ticks)
    assert utilization(last, read_cpu_times(machine.stat)) == ratio


def test_no_tick_since_is_a_gap(machine: Machine, tmp_path: Path) -> None:
    source = estimate(tmp_path)
    source.discover()
    source.read()
    assert source.read().readings == [Reading(KEY, NOW_MS, gap="no_interval")]
    machine.pass_time(user=1, idle=1)
    assert source.read().readings[0].utilization_ratio == 0.5


def test_all_counters_backwards_is_a_gap(machine: Machine, tmp_path: Path) -> None:
    machine.pass_time(user=500, idle=500)
    source = estimate(tmp_path)
    source.discover()
    source.read()
    machine.pass_time(user=-400, idle=-400)
    assert source.read().readings[0].gap == "no_interval"
    machine.pass_time(user=25, idle=75)
    assert source.read().readings[0].utilization_ratio == 0.25


@pytest.mark.parametrize("content", ["", "cpu\n", "cpu  1 2 3\n", "cpu  1 2 x 4 5 6 7\n", "\xff\n"])
def test_malformed_stat(machine: Machine, tmp_path: Path, content: str) -> None:
    source = estimate(tmp_path)
    source.discover()
    source.read()
    machine.stat.write_text(content)
    assert source.read().readings == [Reading(KEY, NOW_MS, gap="malformed")]
    machine.pass_time(user=10, idle=90)
    assert source.read().readings[0].gap == "first_read"
    machine.pass_time(user=10, idle=90)
    assert source.read().readings[0].utilization_ratio == 0.1


def test_stat_that_vanishes(machine: Machine, tmp_path: Path) -> None:
    source = estimate(tmp_path)
    source.discover()
    machine.stat.unlink()
    assert source.read().readings == [Reading(KEY, NOW_MS, gap="vanished")]
    machine.stat.mkdir()
    assert source.read().readings == [Reading(KEY, NOW_MS, gap="io_error")]


def test_no_procfs_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="stat does not exist"):
        estimate(tmp_path).discover()
    (tmp_path / "stat").write_text("nothing\n")
    with pytest.raises(NoData, match="holds no cpu line"):
        estimate(tmp_path).discover()


@pytest.mark.parametrize(
    ("idle", "full", "expected"),
    [
        (0.0, 0.0, (9.0, 38.0)),
        (20.0, 200.0, (20.0, 200.0)),
        (20.0, 0.0, (20.0, 38.0)),
        (50.0, 0.0, (50.0, 50.0)),
        (0.0, 5.0, (5.0, 5.0)),
    ],
)
def test_configured_watts_win(idle: float, full: float, expected: tuple[float, float]) -> None:
    assert power_range(Settings(idle_watts=idle, max_watts=full), 10) == expected


def test_configured_watts_the_wrong_way_round(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="max_watts is below") as caught:
        estimate(tmp_path, idle_watts=90.0, max_watts=10.0).discover()
    assert caught.value.reason == "config"


def test_old_kernel_without_steal(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu 1 2 3 4 5 6 7\ncpu0 1 2 3 4 5 6 7\n")
    assert read_cpu_times(tmp_path / "stat") == CpuTimes((1, 2, 3, 6, 7), (4, 5), 1)


def test_create_opens_nothing() -> None:
    assert create(Config(node="node1")).name == "estimate"


def test_recorded_stat_of_two_sockets(data: Path) -> None:
    times = read_cpu_times(data / "recordings/proc-stat/xeon-bisocket_scaphandre/xeon-bisocket.txt")
    assert times.busy == (254764110, 11797, 179539978, 0, 8670797, 0)
    assert times.quiet == (8153136239, 4130255)
    assert times.cpus == 24


def sweep(file: Path) -> list[tuple[float, float]]:
    """Return load (ratio) and watts per logical CPU of each step of a published sweep.

    The column rapl_power is one step late, so power is the energy (kWh) over the duration.
    """
    with file.open() as lines:
        return [
            (
                float(row["cpu_load"]) / 100,
                float(row["rapl_energy"]) * 3.6e6 / float(row["duration"]) / int(row["cores_used"]),
            )
            for row in csv.DictReader(lines)
        ]


def test_defaults_follow_from_the_published_sweeps(data: Path) -> None:
    sweeps = [sweep(data / f"carbon/rapl_vs_load_{cpu}.csv") for cpu in ("e5-2620", "epyc8024p")]
    idle = [steps[0][1] for steps in sweeps]
    busy = [[watts for load, watts in steps if load >= 0.8] for steps in sweeps]
    full = [sum(watts) / len(watts) for watts in busy]
    assert [round(watts, 2) for watts in idle] == [0.66, 1.14]
    assert [round(watts, 2) for watts in full] == [4.70, 2.98]
    assert round(sum(idle) / 2, 1) == IDLE_WATTS_PER_CPU
    assert round(sum(full) / 2, 1) == FULL_WATTS_PER_CPU
    span = FULL_WATTS_PER_CPU - IDLE_WATTS_PER_CPU
    errors = [
        abs((IDLE_WATTS_PER_CPU + span * load) / watts - 1)
        for steps in sweeps
        for load, watts in steps
    ]
    assert round(max(errors), 2) == 0.39
    assert max(errors) < UNCERTAINTY_RATIO
