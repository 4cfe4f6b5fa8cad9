"""Devices and readings of the NVML source, and what becomes of them when the driver fails."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Process, Start


def test_two_gpus(nvml: Process) -> None:
    nvml.tell(
        "count 2", "power.1 433780", "energy.1 84123456789", "utilization.1 97", "limit 600000"
    )
    before_ms = time.time_ns() // 1_000_000
    first, second = nvml.discover()
    assert second == {
        "key": "GPU-fake-1",
        "kind": "gpu",
        "node": "node1",
        "source": "nvml",
        "name": "gpu1",
        "vendor": "NVIDIA",
        "model": "NVIDIA Fake",
        "serial": "1320000000001",
        "driver": "550.1",
        "firmware": "96.00",
        "parent": "",
        "site": "here",
        "tier": "",
        "cluster": "",
        "scope": "gpu",
        "method": "counter",
        "overlap": "",
        "uncertainty_ratio": 0.05,
        "power_limit_watts": 600.0,
        "counter_range_uj": None,
    }
    assert first["key"] == "GPU-fake-0"
    idle, busy = nvml.read()
    assert before_ms <= idle["ts_ms"] <= busy.pop("ts_ms") <= time.time_ns() // 1_000_000
    assert busy == {
        "device": "GPU-fake-1",
        "power_watts": 433.78,
        "energy_uj": 84_123_456_789_000,
        "start_ms": None,
        "utilization_ratio": 0.97,
        "memory_used_bytes": 1 << 30,
        "temperature_celsius": 40.0,
        "activity_ratio": None,
        "contexts": None,
        "gap": "",
    }
    assert (idle["power_watts"], idle["energy_uj"]) == (100.0, 1_000_000_000)


def test_energy_that_is_not_supported_is_none(nvml: Process) -> None:
    nvml.tell("energy_rc 3")
    assert nvml.discover()[0]["method"] == "integral"
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["power_watts"], reading["gap"]) == (None, 100.0, "")


def test_old_driver_without_the_symbols(start: Start, fake_nvml: Path) -> None:
    nvml = start(fake_nvml / "old")
    assert nvml.discover()[0]["method"] == "integral"
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["power_watts"]) == (None, 100.0)
    assert reading["memory_used_bytes"] == (1 << 30) + (1 << 29)


def test_an_error_at_discovery_does_not_deny_the_counter(nvml: Process) -> None:
    nvml.tell("energy_rc 27")
    assert nvml.discover()[0]["method"] == "counter"
    assert nvml.read()[0]["energy_uj"] is None
    nvml.tell()
    assert nvml.read()[0]["energy_uj"] == 1_000_000_000


def test_an_older_driver_that_does_not_know_a_field(start: Start, fake_nvml: Path) -> None:
    nvml = start(fake_nvml / "r525")
    nvml.tell("energy_rc 3", "power_rc 3", "power_average 90500", "count 2", "power_rc.1 0")
    assert [device["key"] for device in nvml.discover()] == ["GPU-fake-1"]
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["power_watts"]) == (None, 100.0)


def test_a_field_of_energy_that_is_an_invalid_argument_is_no_counter(nvml: Process) -> None:
    nvml.tell("energy_call_rc 3", "field_83_0_rc 2")
    assert nvml.discover()[0]["method"] == "integral"
    assert nvml.read()[0]["energy_uj"] is None


def test_mig_has_no_utilization_but_one_board_of_energy(nvml: Process) -> None:
    nvml.tell("mig 1")
    assert len(nvml.discover()) == 1
    (reading,) = nvml.read()
    assert reading["utilization_ratio"] is None
    assert (reading["energy_uj"], reading["power_watts"]) == (1_000_000_000, 100.0)


def test_mig_switched_on_while_running(nvml: Process) -> None:
    nvml.discover()
    assert nvml.read()[0]["utilization_ratio"] == 0.5
    nvml.tell("mig 1")
    assert nvml.read()[0]["utilization_ratio"] is None


@pytest.mark.parametrize(
    ("code", "gap"),
    [
        (15, "gpu_lost"),
        (6, "gpu_lost"),
        (28, "gpu_lost"),
        (999, "driver_error"),
        (27, "not_ready"),
        (4, "permission"),
        (3, "not_supported"),
    ],
)
def test_one_gpu_fails_and_comes_back(nvml: Process, code: int, gap: str) -> None:
    nvml.tell("count 2")
    nvml.discover()
    nvml.tell("count 2", f"device_rc.0 {code}")
    lost, alive = nvml.read()
    assert (lost["gap"], lost["power_watts"], lost["energy_uj"]) == (gap, None, None)
    assert lost["utilization_ratio"] is None
    assert (alive["gap"], alive["energy_uj"]) == ("", 1_000_000_000)
    nvml.tell("count 2")
    assert [reading["gap"] for reading in nvml.read()] == ["", ""]


def test_a_gpu_without_a_counter_fails(nvml: Process) -> None:
    nvml.tell("energy_rc 3")
    nvml.discover()
    nvml.tell("device_rc 15")
    assert nvml.read()[0]["gap"] == "gpu_lost"


@pytest.mark.parametrize("field", ["utilization", "memory", "temperature", "energy", "power"])
def test_one_field_fails_alone(nvml: Process, field: str) -> None:
    names = {
        "utilization": "utilization_ratio",
        "memory": "memory_used_bytes",
        "temperature": "temperature_celsius",
        "energy": "energy_uj",
        "power": "power_watts",
    }
    nvml.discover()
    nvml.tell(f"{field}_rc 999")
    (reading,) = nvml.read()
    assert {key for key in names if reading[names[key]] is None} == {field}
    assert reading["gap"] == ""


def test_sentinels_are_none(nvml: Process) -> None:
    nvml.discover()
    u32, u64 = 2**32 - 1, 2**64 - 1
    nvml.tell(f"power {u32}", f"memory {u64}", f"temperature {u32}", f"utilization {u32}")
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["gap"]) == (1_000_000_000, "")
    absent = {key for key, value in reading.items() if value is None}
    assert absent == {
        "power_watts",
        "memory_used_bytes",
        "temperature_celsius",
        "utilization_ratio",
        "start_ms",
        "activity_ratio",
        "contexts",
    }
    nvml.tell(f"energy {u64}", f"power {u32}")
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["gap"]) == (None, "not_supported")


def test_a_counter_of_32_bits_of_ones_is_a_value(nvml: Process) -> None:
    nvml.tell(f"energy {2**32 - 1}")
    nvml.discover()
    assert nvml.read()[0]["energy_uj"] == (2**32 - 1) * 1000


def test_a_sentinel_for_energy_or_limit_at_discovery(nvml: Process) -> None:
    nvml.tell(f"energy {2**64 - 1}", f"limit {2**32 - 1}", "serial_rc 3", "name_rc 3")
    (device,) = nvml.discover()
    assert (device["method"], device["power_limit_watts"]) == ("integral", None)
    assert (device["serial"], device["model"]) == ("", "")


def test_a_serial_number_that_is_not_text(nvml: Process) -> None:
    nvml.tell("serial \udcff\udcfe")
    assert nvml.discover()[0]["serial"] == ""


def test_driver_reload_leaves_the_counter_raw(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("energy 0")
    assert nvml.read()[0]["energy_uj"] == 0
    nvml.tell("energy 250")
    assert nvml.read()[0]["energy_uj"] == 250_000


@pytest.mark.parametrize(
    ("lines", "watts", "scope", "kind"),
    [
        (("power_average 90500",), 90.5, "gpu", "gpu"),
        (("power_average 0", "power_instant 91000"), 91.0, "gpu", "gpu"),
        (("module_average 512000", "module_instant 530000"), 512.0, "module", "module"),
        (("module_instant 530000",), 530.0, "module", "module"),
    ],
)
def test_power_falls_back_from_gpu_to_module(
    nvml: Process, lines: tuple[str, ...], watts: float, scope: str, kind: str
) -> None:
    nvml.tell("energy_rc 3", "power_rc 3", *lines)
    (device,) = nvml.discover()
    assert (device["scope"], device["kind"], device["overlap"]) == (scope, kind, "")
    assert device["power_limit_watts"] == (700.0 if scope == "gpu" else None)
    assert nvml.read()[0]["power_watts"] == watts


@pytest.mark.parametrize(
    ("calls", "watts", "asked"),
    [
        ((), 100.0, ["energy 0", "power 0"]),
        (("power_rc",), 90.5, ["fields 0", "energy 0"]),
        (("energy_call_rc",), 100.0, ["fields 0", "power 0"]),
        (("energy_call_rc", "power_rc"), 90.5, ["fields 0"]),
    ],
)
def test_calls_come_before_fields_and_fields_together(
    start: Start, calls: tuple[str, ...], watts: float, asked: list[str]
) -> None:
    nvml = start(detail_seconds=3600.0)
    nvml.tell("energy 5000", "power_average 90500", *(f"{call} 3" for call in calls))
    nvml.discover()
    nvml.read()  # asks the details as well
    nvml.calls()
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["power_watts"]) == (5_000_000, watts)
    assert nvml.calls() == ["count -1", *asked, "utilization 0", "temperature 0", "memory 0"]


@pytest.mark.parametrize(
    ("kind", "text", "energy_uj"),
    [
        (0, "84123456.0", 84_123_456_000),
        (1, "4294967294", 4_294_967_294_000),
        (2, "84123456789", 84_123_456_789_000),
        (4, "84123456789", 84_123_456_789_000),
        (5, "84123", 84_123_000),
        (4, "-1", None),
        (1, "4294967295", None),
        (3, str(2**64 - 1), None),
        (99, "84123456789", None),
    ],
)
def test_a_field_is_read_by_its_type(
    nvml: Process, kind: int, text: str, energy_uj: int | None
) -> None:
    nvml.tell("energy 1", "energy_call_rc 3")
    nvml.discover()
    nvml.tell(f"energy {text}", f"field_83_0_type {kind}", "energy_call_rc 3")
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["power_watts"], reading["gap"]) == (energy_uj, 100.0, "")


def test_module_power_is_not_mixed_with_the_gpus_counter(nvml: Process) -> None:
    nvml.tell("power_rc 3", "module_average 512000")
    assert nvml.discover()[0]["scope"] == "gpu"
    (reading,) = nvml.read()
    assert (reading["energy_uj"], reading["power_watts"]) == (1_000_000_000, None)


def test_count_changes(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("count 3")
    assert nvml.ask("read")["error"] == "DevicesChanged"
    assert [device["name"] for device in nvml.discover()] == ["gpu0", "gpu1", "gpu2"]
    assert len(nvml.read()) == 3


def test_a_power_limit_that_is_raised_is_told_anew(nvml: Process) -> None:
    nvml.tell("limit 300000", "power 290000")
    assert nvml.discover()[0]["power_limit_watts"] == 300.0
    nvml.tell("limit 300000", "power 310000")
    assert nvml.read()[0]["power_watts"] == 310.0  # a little more for a moment is no news
    nvml.tell("limit 700000", "power 650000")
    answer = nvml.ask("read")
    assert answer["message"] == "the power limit of GPU 0 is no longer 300 W"
    assert nvml.discover()[0]["power_limit_watts"] == 700.0
    assert nvml.read()[0]["power_watts"] == 650.0


def test_stale_handles_are_renewed(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("generation 1")
    assert nvml.read()[0]["gap"] == "driver_error"
    assert nvml.read()[0]["energy_uj"] == 1_000_000_000


def test_another_gpu_behind_a_stale_handle(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("generation 1", "uuid GPU-new")
    assert nvml.ask("read")["message"] == "GPU 0 is now GPU-new"
    assert nvml.discover()[0]["key"] == "GPU-new"


def test_gpu_that_is_lost_at_discovery_comes_back(nvml: Process) -> None:
    nvml.tell("count 2", "device_rc.0 15")
    assert [device["key"] for device in nvml.discover()] == ["GPU-fake-1"]
    assert [reading["device"] for reading in nvml.read()] == ["GPU-fake-1"]
    nvml.tell("count 2")
    answer = nvml.ask("read")
    assert (answer["error"], answer["message"]) == ("DevicesChanged", "GPU 0 answers again")
    assert len(nvml.discover()) == 2


def test_the_only_gpu_is_lost_at_discovery(nvml: Process) -> None:
    nvml.tell("device_rc 15")
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == ("SourceError", "gpu_lost")
    assert answer["message"] == "no GPU answers: GPU is lost"
    assert nvml.ask("held")["held"] is False
    nvml.tell()
    assert len(nvml.discover()) == 1


def test_nvml_is_set_up_anew_when_every_gpu_fails_for_long(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("device_rc 999")
    assert [nvml.read()[0]["gap"] for _ in range(20)] == ["driver_error"] * 20
    nvml.tell()
    assert nvml.read()[0]["gap"] == ""
    nvml.ask("pass")
    nvml.tell("device_rc 999")
    assert nvml.read()[0]["gap"] == "driver_error"
    nvml.ask("pass")
    assert nvml.ask("read")["message"] == "no GPU answers: NVML is initialised anew"
    nvml.tell()
    nvml.discover()
    assert nvml.read()[0]["gap"] == ""


def test_driver_unloaded_and_loaded_while_running(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("library_rc 9", "init_rc 9")
    assert nvml.ask("read")["error"] == "DevicesChanged"
    answer = nvml.ask("discover")
    assert answer["error"] == "NoData"
    assert answer["message"] == "no NVIDIA driver here: Driver Not Loaded"
    assert nvml.ask("read")["error"] == "DevicesChanged"
    nvml.tell("energy 7")
    nvml.discover()
    assert nvml.read()[0]["energy_uj"] == 7000


def test_a_driver_loaded_anew_sees_no_gpu_at_first(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("loaded 1", "count 0")
    assert nvml.ask("read")["error"] == "DevicesChanged"
    assert nvml.ask("discover")["error"] == "NoData"
    assert nvml.ask("held")["held"] is False
    nvml.tell("loaded 2", "energy 7")
    nvml.discover()
    assert nvml.read()[0]["energy_uj"] == 7000


def test_driver_upgraded_while_running(nvml: Process) -> None:
    nvml.discover()
    nvml.tell("library_rc 18", "init_rc 18")
    assert nvml.ask("read")["error"] == "DevicesChanged"
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == ("SourceError", "driver_mismatch")
    assert "restart the exporter" in answer["message"]


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (6, "NoData", "none_here"),
        (12, "NoData", "none_here"),
        (4, "SourceError", "permission"),
        (27, "SourceError", "not_ready"),
        (999, "SourceError", "driver_error"),
    ],
)
def test_nvml_does_not_start(nvml: Process, code: int, error: str, reason: str) -> None:
    nvml.tell(f"init_rc {code}")
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == (error, reason)
    nvml.tell()
    assert len(nvml.discover()) == 1


def test_gpus_that_cannot_be_counted(nvml: Process) -> None:
    nvml.tell("count_rc 999")
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == ("SourceError", "driver_error")
    assert nvml.ask("held")["held"] is False


@pytest.mark.parametrize("lines", [("count 0",), ("energy_rc 3", "power_rc 3")])
def test_no_meter_is_no_data(nvml: Process, lines: tuple[str, ...]) -> None:
    nvml.tell(*lines)
    answer = nvml.ask("discover")
    assert (answer["error"], answer["message"]) == ("NoData", "no GPU here reports power or energy")


def test_a_gpu_without_a_meter_beside_one_with(nvml: Process) -> None:
    nvml.tell("count 2", "energy_rc.0 3", "power_rc.0 3")
    assert [device["key"] for device in nvml.discover()] == ["GPU-fake-1"]
    assert len(nvml.read()) == 1


def test_close_holds_nothing_and_may_be_repeated(nvml: Process) -> None:
    nvml.discover()
    nvml.discover()
    assert nvml.ask("held")["held"] is True
    assert nvml.ask("close") == {"held": False, "samples": 0, "event_sets": 0}
    assert nvml.ask("close") == {"held": False, "samples": 0, "event_sets": 0}
    assert nvml.ask("read")["error"] == "DevicesChanged"
    nvml.discover()
    assert nvml.read()[0]["gap"] == ""


def test_without_the_python_package(start: Start, tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text("raise ModuleNotFoundError('No module named pynvml')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    answer = start(environ={"PYTHONPATH": path}).ask("discover")
    assert answer["error"] == "NoData"
    assert "pip install 'wattshed[nvidia]'" in answer["message"]


def library() -> str:
    """Return why the real library cannot be loaded, "" where it can."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        return str(error)
    return ""


@pytest.mark.skipif(not library(), reason="this machine has the real libnvidia-ml.so.1")
def test_without_the_library(start: Start, tmp_path: Path) -> None:
    answer = start(tmp_path).ask("discover")
    assert answer["error"] == "NoData"
    assert answer["message"].startswith("no NVIDIA driver here: libnvidia-ml.so.1")


def test_a_driver_that_hangs_does_not_hold_up_the_others(nvml: Process) -> None:
    """A call of the library lets other threads run, so the sampler says that it is late."""
    nvml.tell("count 2", "sleep_ms 20")
    answer = nvml.ask("deadline")
    assert answer["gaps"] == ["deadline"] * 2
    assert answer["watts"] == [100.0] * 2


@pytest.mark.gpu
def test_the_real_library(start: Start, tmp_path: Path) -> None:
    if reason := library():
        pytest.skip(f"no NVIDIA driver library: {reason}")
    nvml = start(tmp_path)
    answer = nvml.ask("discover")
    if answer.get("error") == "NoData":
        pytest.skip(answer["message"])
    first = nvml.read()
    time.sleep(1)
    second = nvml.read()
    assert nvml.ask("close")["held"] is False
    for device, before, after in zip(answer["devices"], first, second, strict=True):
        assert device["key"].startswith("GPU-")
        assert not after["gap"]
        assert 0 < after["power_watts"] < 1.5 * device["power_limit_watts"]
        if device["method"] == "counter":
            joules = (after["energy_uj"] - before["energy_uj"]) / 1e6
            assert 0 < joules < 1.5 * device["power_limit_watts"] * 3
