"""Every form in which a device plugin or a DRA driver names what a pod holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.allocations import Meters
from wattshed_exporter.allocations.device_ids import Names, Part
from wattshed_exporter.allocations.nvidia_minors import minors
from wattshed_exporter.model import Device, Instance, Kind

A = "GPU-5b1f2c3d-0000-1111-2222-333344445555"
B = "GPU-6b1f2c3d-0000-1111-2222-333344445555"
MIG = "MIG-7b1f2c3d-0000-1111-2222-333344445555"
OTHER = "MIG-8b1f2c3d-0000-1111-2222-333344445555"
AMD = "AMD-0123456789abcdef"
ADDRESS = "0000:03:00.0"


def board(key: str) -> Device:
    return Device(key, Kind.GPU, "n1", "nvml")


def meters(*instances: Instance) -> Meters:
    amd = Device(AMD, Kind.GPU, "n1", "amdgpu", "card1", "AMD")
    devices = {device.key: device for device in (board(A), board(B), amd)}
    own = (Instance(B, "3/0", MIG, 0, 3, 0.5), Instance(B, "5/0", OTHER, 0, 1))
    return Meters(0, devices, instances or own)


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A procfs where minor 0 is the second board, and a sysfs with one AMD card."""
    for address, uuid, minor in (("0000:01:00.0", A, 1), ("0000:02:00.0", B, 0)):
        folder = tmp_path / "driver/nvidia/gpus" / address
        folder.mkdir(parents=True)
        (folder / "information").write_text(
            f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 137\nGPU UUID: \t {uuid}\n"
            f"Video BIOS: \t 96.00\nBus Location: \t {address}\nDevice Minor: \t {minor}\n"
        )
    (tmp_path / f"bus/pci/devices/{ADDRESS}/drm/card1").mkdir(parents=True)
    (tmp_path / f"bus/pci/devices/{ADDRESS}/drm/renderD129").mkdir()
    return tmp_path


def names(roots: Path, now: Meters | None = None) -> Names:
    return Names(now or meters(), roots, roots)


@pytest.mark.parametrize(
    ("device_id", "part"),
    [
        (A, Part(A)),
        (f"{A}::0", Part(A)),
        (f"{A}::11", Part(A)),
        (MIG, Part(MIG)),
        (f"{MIG}::7", Part(MIG)),
        (OTHER, Part(OTHER)),
        (f"MIG-{B}/3/0", Part(MIG)),
        ("nvidia0", Part(B)),
        ("nvidia1", Part(A)),
        ("nvidia1/vgpu1", Part(A)),
        ("nvidia0/gi3", Part(MIG)),
        ("nvidia0/gi3/vgpu2", Part(MIG)),
        (ADDRESS, Part(AMD)),
        (f"{ADDRESS}-slice-2", Part(AMD)),
    ],
)
def test_each_form_of_an_id(roots: Path, device_id: str, part: Part) -> None:
    assert names(roots).plugin(device_id) == (part,)


@pytest.mark.parametrize(
    "device_id",
    [
        "GPU-00000000-0000-0000-0000-000000000000",
        "MIG-00000000-0000-0000-0000-000000000000",
        f"MIG-{B}/4/0",
        f"MIG-{A}/3/0",
        "nvidia2",
        "nvidia0/gi4",
        "nvidia1/gi3",
        "nvidia",
        "0000:04:00.0",
        "amdgpu_xcp_30",
        "",
        "::",
    ],
)
def test_what_is_not_metered_is_nothing(roots: Path, device_id: str) -> None:
    assert names(roots).plugin(device_id) == ()


@pytest.mark.parametrize(
    ("attributes", "part"),
    [
        ({"type": "gpu", "uuid": A}, Part(A)),
        ({"type": "mig", "uuid": MIG, "parentUUID": B}, Part(MIG)),
        ({"type": "mig", "parentUUID": B}, None),
        ({"type": "amdgpu", "pciBusID": ADDRESS}, Part(AMD)),
        ({"type": "amdgpu-partition", "pciBusID": ADDRESS, "name": "p1"}, Part(AMD, whole=False)),
        ({}, None),
    ],
)
def test_the_attributes_of_drivers(
    roots: Path, attributes: dict[str, str], part: Part | None
) -> None:
    assert names(roots).driver(attributes) == (() if part is None else (part,))


def test_a_gpu_instance_of_two_compute_instances_is_both(roots: Path) -> None:
    now = meters(Instance(B, "3/0", "MIG-a", 0, 1), Instance(B, "3/1", "MIG-b", 0, 2))
    assert names(roots, now).plugin("nvidia0/gi3") == (Part("MIG-a"), Part("MIG-b"))


def test_an_instance_of_a_board_that_is_not_metered_is_nothing(roots: Path) -> None:
    now = meters(Instance("GPU-gone", "3/0", "MIG-a", 0, 1))
    assert names(roots, now).plugin("MIG-a") == ()


def test_minors_that_cannot_be_read_are_left_out(roots: Path) -> None:
    for name, text in (("x", "GPU UUID: GPU-x\n"), ("y", "Device Minor: z\nGPU UUID: GPU-y\n")):
        (roots / "driver/nvidia/gpus" / name).mkdir()
        (roots / "driver/nvidia/gpus" / name / "information").write_text(text)
    (roots / "driver/nvidia/gpus/empty").mkdir()
    assert minors(roots) == {0: B, 1: A}
    assert minors(roots / "none") is None


def test_without_procfs_no_minor_is_guessed(tmp_path: Path) -> None:
    assert names(tmp_path).plugin("nvidia0") == ()


@given(st.text("GPUMIGnvidiacel0123:/.-", max_size=40))
def test_any_text_is_something_metered_or_nothing(text: str) -> None:
    parts = Names(meters(), Path("/nonexistent"), Path("/nonexistent")).plugin(text)
    known = {*meters().devices, MIG, OTHER}
    assert {part.device for part in parts} <= known
