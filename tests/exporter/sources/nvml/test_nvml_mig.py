"""A board that is cut into MIG instances: one device, with its instances as details."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Process

INFO, MEMORY = "wattshed_mig_instance_info", "wattshed_mig_memory_used_bytes"
TWO = (
    "mig 1",
    "mig_count 2",
    "mig0_gi 2",
    "mig0_ci 0",
    "mig0_uuid MIG-a",
    "mig0_name NVIDIA H100 80GB HBM3 MIG 3g.40gb",
    "mig0_slices 3,3,40448",
    "mig0_memory 11629756416",
    "mig1_gi 9",
    "mig1_ci 0",
    "mig1_uuid MIG-b",
    "mig1_slices 1,1,9984",
    "mig1_memory 9437184",
)


def test_instances_are_details_of_one_device(nvml: Process) -> None:
    nvml.tell(*TWO)
    assert len(nvml.discover()) == 1
    readings, details = nvml.sample()
    assert len(readings) == 1
    assert readings[0]["utilization_ratio"] is None
    assert {key: value for key, value in details.items() if "mig" in key[0]} == {
        (INFO, "2/0", "3g.40gb", "MIG-a", "3"): 1.0,
        (INFO, "9/0", "1g.10gb", "MIG-b", "1"): 1.0,
        (MEMORY, "2"): 11629756416.0,
        (MEMORY, "9"): 9437184.0,
    }
    assert ("wattshed_memory_activity_ratio",) not in details


def test_memory_of_a_gpu_instance_is_said_once_for_its_compute_instances(nvml: Process) -> None:
    lines = [
        line.replace("mig1_gi 9", "mig1_gi 2").replace("mig1_ci 0", "mig1_ci 1") for line in TWO
    ]
    lines[-2] = "mig1_slices 3,1,40448"
    nvml.tell(*lines)
    nvml.discover()
    details = nvml.details()
    assert [key for key in details if key[0] == MEMORY] == [(MEMORY, "2")]
    assert (INFO, "2/1", "1c.3g.40gb", "MIG-b", "1") in details


def test_what_an_instance_does_not_say_is_empty_or_absent(nvml: Process) -> None:
    nvml.tell(*TWO, "mig1_slices_rc 3", f"mig1_memory {2**64 - 1}", "mig0_gi_rc 999")
    nvml.discover()
    assert {key for key in nvml.details() if "mig" in key[0]} == {(INFO, "9/0", "", "MIG-b", "")}


def test_mig_switched_on_and_off_asks_everything_anew(nvml: Process) -> None:
    nvml.tell("mig 0", "gpm_2 50", "encoder 3")
    nvml.discover()
    nvml.details()
    details = nvml.details()
    assert ("wattshed_sm_activity_ratio",) in details
    nvml.tell(*TWO, "gpm_2 50", "encoder_rc 3")
    details = nvml.details()
    assert ("wattshed_sm_activity_ratio",) not in details
    assert len([key for key in details if key[0] == INFO]) == 2
    assert nvml.ask("held")["samples"] == 0
    nvml.tell("mig 0", "gpm_2 50", "encoder 3")
    nvml.details()
    details = nvml.details()
    assert details[("wattshed_sm_activity_ratio",)] == 0.5
    assert details[("wattshed_engine_utilization_ratio", "encoder")] == 0.03
    assert not [key for key in details if key[0] == INFO]
    assert nvml.ask("held")["samples"] == 2


def test_a_board_without_mig_is_asked_once(nvml: Process) -> None:
    nvml.discover()
    nvml.details()
    assert "mig 0" in nvml.calls()
    nvml.details()
    assert not [call for call in nvml.calls() if call.startswith("mig")]
