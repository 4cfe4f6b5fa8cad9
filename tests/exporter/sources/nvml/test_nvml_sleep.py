"""GPUs in runtime suspend are left asleep: no call of the driver's library concerns them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_exporter.sources.nvml_sleep import Sleep

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Process, Start

FIRST, SECOND, THIRD = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"


def has_library() -> bool:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def pci(
    sysfs: Path,
    address: str,
    status: str = "active",
    *,
    control: str = "auto",
    vendor: str = "0x10de",
    kind: str = "0x030200",
    driver: str = "nvidia",
) -> Path:
    folder = sysfs / "bus/pci/devices" / address
    (folder / "power").mkdir(parents=True, exist_ok=True)
    (folder / "driver").unlink(missing_ok=True)
    if driver:
        (folder / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")
    (folder / "power/control").write_text(f"{control}\n")
    (folder / "power/runtime_status").write_text(f"{status}\n")
    return folder / "power/runtime_status"


def test_every_gpu_asleep_is_an_error_without_a_call(nvml: Process) -> None:
    status = pci(nvml.sysfs, FIRST, "suspended")
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == ("SourceError", "suspended")
    assert nvml.calls() == []
    status.write_text("active\n")
    assert len(nvml.discover()) == 1


@pytest.mark.parametrize("driver", ["nouveau", "vfio-pci", ""])
def test_a_gpu_asleep_without_nvidias_driver_is_nothing_here(nvml: Process, driver: str) -> None:
    pci(nvml.sysfs, FIRST, "suspended", driver=driver)
    nvml.tell("init_rc 9")
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == ("NoData", "none_here")


@pytest.mark.skipif(has_library(), reason="this machine has the real libnvidia-ml.so.1")
def test_a_gpu_asleep_without_the_library_is_nothing_here(start: Start, tmp_path: Path) -> None:
    nvml = start(tmp_path)
    pci(nvml.sysfs, FIRST, "suspended")
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == ("NoData", "none_here")


def test_a_gpu_that_falls_asleep_is_a_gap_without_a_call(nvml: Process) -> None:
    nvml.tell("count 2")
    pci(nvml.sysfs, FIRST)
    status = pci(nvml.sysfs, SECOND)
    nvml.discover()
    nvml.details()
    status.write_text("suspended\n")
    nvml.calls()
    awake, asleep = nvml.read()
    assert (awake["gap"], asleep["gap"]) == ("", "suspended")
    assert (asleep["power_watts"], asleep["energy_uj"]) == (None, None)
    assert not [call for call in nvml.calls() if call.endswith(" 1")]
    details = nvml.ask("sample")["details"]
    assert not [call for call in nvml.calls() if call.endswith(" 1")]
    assert {row[0] for row in details} == {"GPU-fake-0"}
    status.write_text("active\n")
    assert [reading["gap"] for reading in nvml.read()] == ["", ""]


def test_all_gpus_may_sleep_for_long_while_nvml_stays(nvml: Process) -> None:
    status = pci(nvml.sysfs, FIRST)
    nvml.discover()
    status.write_text("suspending\n")
    assert [nvml.read()[0]["gap"] for _ in range(25)] == ["suspended"] * 25
    status.write_text("active\n")
    assert nvml.read()[0]["gap"] == ""


def test_one_asleep_at_discovery_is_not_woken_and_joins_later(nvml: Process) -> None:
    nvml.tell("count 2")
    status = pci(nvml.sysfs, FIRST, "suspended")
    pci(nvml.sysfs, SECOND)
    assert [device["name"] for device in nvml.discover()] == ["gpu1"]
    assert [reading["device"] for reading in nvml.read()] == ["GPU-fake-1"]
    assert not [call for call in nvml.calls() if call.endswith(" 0")]
    status.write_text("active\n")
    answer = nvml.ask("read")
    assert answer["message"] == "the GPU at 0000:01:00.0 woke"
    assert [device["name"] for device in nvml.discover()] == ["gpu0", "gpu1"]


def test_one_that_was_known_stays_listed_when_nvml_is_set_up_anew(nvml: Process) -> None:
    nvml.tell("count 2")
    pci(nvml.sysfs, FIRST)
    status = pci(nvml.sysfs, SECOND)
    nvml.discover()
    status.write_text("suspended\n")
    nvml.calls()
    assert [device["key"] for device in nvml.discover()] == ["GPU-fake-0", "GPU-fake-1"]
    readings, details = nvml.sample()
    assert {reading["device"]: reading["gap"] for reading in readings} == {
        "GPU-fake-0": "",
        "GPU-fake-1": "suspended",
    }
    assert details
    assert not [call for call in nvml.calls() if call.endswith(" 1")]


def test_a_silent_gpu_is_not_asked_while_one_sleeps(nvml: Process) -> None:
    nvml.tell("count 2", "device_rc.1 15")
    status = pci(nvml.sysfs, FIRST)
    pci(nvml.sysfs, SECOND)
    nvml.discover()
    status.write_text("suspended\n")
    nvml.tell("count 2")
    assert [reading["gap"] for reading in nvml.read()] == ["suspended"]
    status.write_text("active\n")
    assert nvml.ask("read")["message"] == "GPU 1 answers again"


def test_one_that_fails_while_another_sleeps_is_asked_again(nvml: Process) -> None:
    nvml.tell("count 3", "device_rc.1 15")
    pci(nvml.sysfs, FIRST, "suspended")
    pci(nvml.sysfs, SECOND)
    pci(nvml.sysfs, THIRD)
    assert [device["name"] for device in nvml.discover()] == ["gpu2"]
    assert [reading["gap"] for reading in nvml.read()] == [""]
    nvml.tell("count 3")
    assert nvml.ask("read")["message"] == f"GPU {SECOND} answers again"
    assert [device["name"] for device in nvml.discover()] == ["gpu1", "gpu2"]
    assert not [call for call in nvml.calls() if call.endswith(" 0")]


def test_the_only_one_awake_fails_while_another_sleeps(nvml: Process) -> None:
    nvml.tell("count 2", "device_rc.1 15")
    pci(nvml.sysfs, FIRST, "suspended")
    pci(nvml.sysfs, SECOND)
    answer = nvml.ask("discover")
    assert (answer["error"], answer["reason"]) == ("SourceError", "gpu_lost")


@pytest.mark.parametrize("code", [2, 4, 6])
def test_one_that_is_not_given_to_this_container_is_left_alone(nvml: Process, code: int) -> None:
    nvml.tell("count 3", f"device_rc.1 {code}")
    pci(nvml.sysfs, FIRST, "suspended")
    pci(nvml.sysfs, SECOND)
    pci(nvml.sysfs, THIRD)
    assert [device["name"] for device in nvml.discover()] == ["gpu2"]
    nvml.tell("count 3")
    assert len(nvml.read()) == 1


@pytest.mark.parametrize(
    "how",
    [
        {"status": "active"},
        {"status": "resuming"},
        {"status": "unsupported"},
        {"status": "suspended", "control": "on"},
        {"status": "suspended", "vendor": "0x1002"},
        {"status": "suspended", "kind": "0x040300"},
        {"status": "suspended", "driver": "nouveau"},
        {"status": "suspended", "driver": "vfio-pci"},
        {"status": "suspended", "driver": ""},
    ],
)
def test_what_counts_as_a_gpu_asleep(tmp_path: Path, how: dict[str, str]) -> None:
    pci(tmp_path, FIRST, **how)
    sleep = Sleep(tmp_path)
    assert not sleep.sleepers()
    assert not sleep.asleep(FIRST)
    sleep.close()


def test_a_device_that_vanishes_does_not_sleep(tmp_path: Path) -> None:
    status = pci(tmp_path, FIRST, "suspended")
    pci(tmp_path, SECOND).unlink()
    (tmp_path / "bus/pci/devices" / SECOND / "class").unlink()
    sleep = Sleep(tmp_path)
    assert sleep.asleep(FIRST)
    status.write_text("")
    assert not sleep.asleep(FIRST)
    sleep.close()
    sleep.close()
    assert not sleep.asleep(FIRST)


def test_files_are_given_back(tmp_path: Path) -> None:
    for number in range(5):
        pci(tmp_path, f"0000:0{number}:00.0")
    before = len(list(Path("/proc/self/fd").iterdir()))
    sleep = Sleep(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 5
    sleep.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
