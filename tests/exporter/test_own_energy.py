"""The exporter's own energy: by the CPU's meter where there is one, else by the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wattshed_exporter.config import Config, Estimate, Roots
from wattshed_exporter.model import Device, Kind, Method, Overlap, Tick
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.own_energy import OwnEnergy, energies_of

CPUS = 10
MODEL_WATTS_PER_CPU = 3.0
PACKAGES = (
    Device("package-0", Kind.CPU, "n", "rapl"),
    Device("package-1", Kind.CPU, "n", "rapl"),
)


class Machine:
    """A machine of ten CPUs whose packages draw 40 W and 5 W more for each busy CPU."""

    def __init__(self, procfs: Path, devices: tuple[Device, ...] = PACKAGES) -> None:
        self.procfs = procfs
        self.devices = devices
        self.up, self.idle, self.spent = 1000.0, 5000.0, 0.0
        self.energy_uj = 7_000_000
        self.pass_time(0.0, 0.0)
        config = Config(
            node="n", roots=Roots(procfs=procfs), estimate=Estimate(idle_watts=10, max_watts=40)
        )
        self.own = OwnEnergy(config, self.snapshot, cpu_seconds=lambda: self.spent, cpus=CPUS)

    def pass_time(self, seconds: float, busy: float, spent: float = 0.0) -> None:
        self.up += seconds
        self.idle += seconds * (CPUS - busy)
        self.spent += spent
        self.energy_uj += round(seconds * (40 + 5 * busy) * 1e6 / max(1, len(self.devices)))
        (self.procfs / "uptime").write_text(f"{self.up:.2f} {self.idle:.2f}\n")

    def snapshot(self) -> Snapshot:
        ms = round(self.up * 1000)
        ticks = {
            d.key: Tick(d.key, ms, 1000, d.method, energy_uj=self.energy_uj, start_ms=0)
            for d in self.devices
        }
        return Snapshot(self.devices, ticks)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_meter_the_model_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, devices=())
    assert machine.own.joules() == 0.0
    machine.pass_time(10, busy=9, spent=0.5)
    assert machine.own.joules() == pytest.approx(0.5 * MODEL_WATTS_PER_CPU)
    machine.pass_time(10, busy=1, spent=0.25)
    assert machine.own.joules() == pytest.approx(0.75 * MODEL_WATTS_PER_CPU)


def test_cpu_time_before_the_first_question_counts(machine: Machine) -> None:
    machine.spent = 0.2
    assert machine.own.joules() == pytest.approx(0.2 * MODEL_WATTS_PER_CPU)


def test_with_a_meter_the_slope_of_this_machine_counts(machine: Machine) -> None:
    machine.own.joules()
    machine.pass_time(10, busy=1)
    machine.own.joules()
    machine.pass_time(10, busy=6, spent=0.5)
    assert machine.own.joules() == pytest.approx(0.5 * 5.0)
    assert machine.own.watts_per_cpu == pytest.approx(5.0)


def test_two_intervals_of_like_load_give_no_slope(machine: Machine) -> None:
    machine.own.joules()
    for _ in range(3):
        machine.pass_time(10, busy=5.0, spent=0.1)
        machine.own.joules()
        assert machine.own.watts_per_cpu == MODEL_WATTS_PER_CPU
    machine.pass_time(10, busy=5.5, spent=0.1)
    assert machine.own.joules() == pytest.approx(0.4 * MODEL_WATTS_PER_CPU)


def test_a_question_soon_after_another_keeps_the_slope(machine: Machine) -> None:
    machine.own.joules()
    for busy in (1, 6):
        machine.pass_time(10, busy)
        machine.own.joules()
    machine.pass_time(0.5, busy=0, spent=0.1)
    machine.own.joules()
    assert machine.own.watts_per_cpu == pytest.approx(5.0)


def test_a_counter_that_starts_anew_makes_no_power(machine: Machine) -> None:
    machine.own.joules()
    for busy in (1, 6):
        machine.pass_time(10, busy)
        machine.own.joules()
    machine.energy_uj = 0
    machine.pass_time(10, busy=9, spent=0.1)
    machine.own.joules()
    assert machine.own.watts_per_cpu == MODEL_WATTS_PER_CPU


@pytest.mark.parametrize("said", ["", "12.5", "a b\n", None])
def test_an_uptime_that_cannot_be_read_leaves_the_model(machine: Machine, said: str | None) -> None:
    machine.own.joules()
    machine.pass_time(10, busy=5, spent=1.0)
    file = machine.procfs / "uptime"
    file.unlink() if said is None else file.write_text(said)
    assert machine.own.joules() == pytest.approx(MODEL_WATTS_PER_CPU)


def test_only_measured_packages_count() -> None:
    package = PACKAGES[0]
    others = (
        replace(package, key="core", overlap=Overlap.INNER),
        replace(package, key="gpu", kind=Kind.GPU),
        replace(package, key="guess", method=Method.ESTIMATED),
        replace(package, key="silent"),
        replace(package, key="gone"),
    )
    ticks = {
        d.key: Tick(d.key, 1000, 1000, d.method, energy_uj=None if d.key == "silent" else 5)
        for d in (package, *others)
        if d.key != "gone"
    }
    assert energies_of(Snapshot((package, *others), ticks)) == {("package-0", None): (5, 1000)}


def test_on_this_machine_it_only_grows() -> None:
    own = OwnEnergy(Config(node="n"), Snapshot)
    first = own.joules()
    assert first > 0
    sum(number * number for number in range(200_000))
    assert own.joules() > first
