"""Every form in which a device plugin or a DRA driver names what a pod holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.allocations import Meters
from wattshed_exporter.allocations.device_ids import Names, Part, minors, slices
from wattshed_exporter.model import Device, Instance, Kind

A = "GPU-5b1f2c3d-0000-1111-2222-333344445555"
B = "GPU-6b1f2c3d-0000-1111-2222-333344445555"
MIG = "MIG-7b1f2c3d-0000-1111-2222-333344445555"
OTHER = "MIG-8b1f2c3d-0000-1111-2222-333344445555"
AMD = "AMD-0123456789abcdef"
ADDRESS = "0000:03:00.0"


def board(key: str, model: str = "NVIDIA H100 80GB HBM3") -> Device:
    return Device(key, Kind.GPU, "n1", "nvml", model=model)


def instance(uuid: str = MIG, name: str = "3/0", slices: int | None = 3,
             activity: float | None = 0.5, device: str = B) -> Instance:  # fmt: skip
    return Instance(device, name, uuid, 0, slices, activity)


def meters(*instances: Instance, model: str = "NVIDIA H100 80GB HBM3") -> Meters:
    amd = Device(AMD, Kind.GPU, "n1", "amdgpu", "card1", "AMD")
    devices = {device.key: device for device in (board(A), board(B, model), amd)}
    return Meters(0, devices, instances or (instance(), instance(OTHER, "5/0", 1, None)))


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
        (MIG, Part(B, "3/0", 3 / 7, 3 / 14)),
        (f"{MIG}::7", Part(B, "3/0", 3 / 7, 3 / 14)),
        (OTHER, Part(B, "5/0", 1 / 7, None)),
        (f"MIG-{B}/3/0", Part(B, "3/0", 3 / 7, 3 / 14)),
        ("nvidia0", Part(B)),
        ("nvidia1", Part(A)),
        ("nvidia1/vgpu1", Part(A)),
        ("nvidia0/gi3", Part(B, "3/0", 3 / 7, 3 / 14)),
        ("nvidia0/gi3/vgpu2", Part(B, "3/0", 3 / 7, 3 / 14)),
        (ADDRESS, Part(AMD)),
        (f"{ADDRESS}-slice-2", Part(AMD)),
    ],
)
def test_each_form_of_an_id(roots: Path, device_id: str, part: Part) -> None:
    assert names(roots).plugin(device_id) == part


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
    assert names(roots).plugin(device_id) is None


@pytest.mark.parametrize(
    ("attributes", "part"),
    [
        ({"type": "gpu", "uuid": A}, Part(A)),
        ({"type": "mig", "uuid": MIG, "parentUUID": B}, Part(B, "3/0", 3 / 7, 3 / 14)),
        ({"type": "mig", "parentUUID": B}, None),
        ({"type": "amdgpu", "pciBusID": ADDRESS}, Part(AMD)),
        ({"type": "amdgpu-partition", "pciBusID": ADDRESS, "name": "p1"}, Part(AMD, "p1", None)),
        ({}, None),
    ],
)
def test_the_attributes_of_drivers(
    roots: Path, attributes: dict[str, str], part: Part | None
) -> None:
    assert names(roots).driver(attributes) == part


def test_a_gpu_instance_of_two_compute_instances_is_their_sum(roots: Path) -> None:
    now = meters(instance("a", "3/0", 1, 1.0), instance("b", "3/1", 2, 0.25))
    part = names(roots, now).plugin("nvidia0/gi3")
    assert part is not None
    assert (part.device, part.name) == (B, "3/0+3/1")
    assert (part.share, part.activity) == pytest.approx((3 / 7, 1.5 / 7))


def test_slices_that_are_not_told_are_no_share(roots: Path) -> None:
    assert names(roots, meters(instance(slices=None))).plugin(MIG) == Part(B, "3/0", None, None)


@pytest.mark.parametrize(
    ("model", "count"),
    [("NVIDIA A30", 4), ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 4),
     ("NVIDIA A100-SXM4-40GB", 7), ("", 7)],
)  # fmt: skip
def test_a_board_is_cut_into_as_many_slices_as_its_model(model: str, count: int) -> None:
    assert slices(board(A, model)) == count


def test_an_instance_is_never_more_than_its_board(roots: Path) -> None:
    now = meters(instance(slices=9, activity=1.0), model="NVIDIA A30")
    assert names(roots, now).plugin(MIG) == Part(B, "3/0", 1.0, 1.0)


def test_minors_that_cannot_be_read_are_left_out(roots: Path) -> None:
    for name, text in (("x", "GPU UUID: GPU-x\n"), ("y", "Device Minor: z\nGPU UUID: GPU-y\n")):
        (roots / "driver/nvidia/gpus" / name).mkdir()
        (roots / "driver/nvidia/gpus" / name / "information").write_text(text)
    (roots / "driver/nvidia/gpus/empty").mkdir()
    assert minors(roots / "driver/nvidia/gpus") == {0: B, 1: A}
    assert minors(roots / "none") == {}


def test_without_procfs_no_minor_is_guessed(tmp_path: Path) -> None:
    assert names(tmp_path).plugin("nvidia0") is None


@given(st.text("GPUMIGnvidiacel0123:/.-", max_size=40))
def test_any_text_is_a_part_or_nothing(text: str) -> None:
    part = Names(meters(), Path("/nonexistent"), Path("/nonexistent")).plugin(text)
    assert part is None or part.device in meters().devices
