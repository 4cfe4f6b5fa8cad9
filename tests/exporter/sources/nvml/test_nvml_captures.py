"""What nvidia-smi printed on real machines, told to the stand-in, and said again by the source."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_exporter.sources.nvml_details import REASON_BITS

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Details, Process

FOLDER = "recordings/nvidia-smi/captures_nvidia_gpu_exporter"
MACHINES = (
    "linux-x86_64__nvidia-geforce-rtx-2080-super__595.71.05",
    "linux-x86_64__nvidia-geforce-rtx-2080-super__610.57.04",
    "linux-x86_64__nvidia-geforce-rtx-4080-super__595.71.05",
    "linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01",
    "linux-x86_64__nvidia-h100-mig__590.48.01",
    "linux-x86_64__nvidia-h200-mig__590.48.01",
    "linux-x86_64__nvidia-h200__590.48.01",
    "linux-x86_64__nvidia-l40s__595.80",
    "windows-x86_64__nvidia-geforce-rtx-2080-super__591.86",
    "windows-x86_64__nvidia-geforce-rtx-2080-super__610.62",
)
WITH_SYMBOLS = "linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01"
MIB = 1 << 20

SMI_TO_KEY = {
    "power.draw.average": ("power_average", 1000),
    "power.draw.instant": ("power_instant", 1000),
    "module.power.draw.average": ("module_average", 1000),
    "module.power.draw.instant": ("module_instant", 1000),
    "power.limit": ("field_192_0", 1000),
    "power.default_limit": ("field_189_0", 1000),
    "power.min_limit": ("field_187_0", 1000),
    "power.max_limit": ("field_188_0", 1000),
    "temperature.memory": ("field_82_0", 1),
    "utilization.encoder": ("encoder", 1),
    "utilization.decoder": ("decoder", 1),
    "utilization.jpeg": ("jpeg", 1),
    "utilization.ofa": ("ofa", 1),
    "clocks.current.graphics": ("clock_0", 1),
    "clocks.current.sm": ("clock_1", 1),
    "clocks.current.memory": ("clock_2", 1),
    "clocks.current.video": ("clock_3", 1),
    "clocks_event_reasons_counters.sw_power_cap": ("field_74_0", 1000),
    "clocks_event_reasons_counters.sync_boost": ("field_76_0", 1000),
    "clocks_event_reasons_counters.sw_thermal_slowdown": ("slowdown_0", 1000),
    "clocks_event_reasons_counters.hw_thermal_slowdown": ("slowdown_1", 1000),
    "clocks_event_reasons_counters.hw_power_brake_slowdown": ("slowdown_2", 1000),
    "ecc.errors.corrected.volatile.total": ("field_3_0", 1),
    "ecc.errors.uncorrected.volatile.total": ("field_4_0", 1),
    "remapped_rows.correctable": ("field_142_0", 1),
    "remapped_rows.uncorrectable": ("field_143_0", 1),
    "remapped_rows.pending": ("field_144_0", 1),
    "remapped_rows.failure": ("field_145_0", 1),
    "mig.mode.current": ("mig", 1),
}
"""What the driver answers: not supported where nvidia-smi printed N/A."""
CALLS = {
    "power.draw": ("power", 1000),
    "enforced.power.limit": ("limit", 1000),
    "memory.used": ("memory", MIB),
    "memory.total": ("memory_total", MIB),
    "utilization.gpu": ("utilization", 1),
    "temperature.gpu": ("temperature", 1),
}
"""The same for calls that the stand-in answers by itself unless told that they fail."""
SMI_TO_DETAIL = {
    "power.draw.average": ("wattshed_power_reading_watts", "gpu", "average"),
    "power.draw.instant": ("wattshed_power_reading_watts", "gpu", "instant"),
    "module.power.draw.average": ("wattshed_power_reading_watts", "module", "average"),
    "power.limit": ("wattshed_power_limit_bound_watts", "requested"),
    "power.default_limit": ("wattshed_power_limit_bound_watts", "default"),
    "power.min_limit": ("wattshed_power_limit_bound_watts", "min"),
    "power.max_limit": ("wattshed_power_limit_bound_watts", "max"),
    "memory.total": ("wattshed_memory_total_bytes",),
    "utilization.memory": ("wattshed_memory_activity_ratio",),
    "temperature.memory": ("wattshed_sensor_temperature_celsius", "memory"),
    "utilization.encoder": ("wattshed_engine_utilization_ratio", "encoder"),
    "utilization.decoder": ("wattshed_engine_utilization_ratio", "decoder"),
    "utilization.jpeg": ("wattshed_engine_utilization_ratio", "jpeg"),
    "utilization.ofa": ("wattshed_engine_utilization_ratio", "ofa"),
    "clocks.current.graphics": ("wattshed_clock_hertz", "graphics"),
    "clocks.current.sm": ("wattshed_clock_hertz", "sm"),
    "clocks.current.memory": ("wattshed_clock_hertz", "memory"),
    "clocks.current.video": ("wattshed_clock_hertz", "video"),
    "ecc.errors.corrected.volatile.total": ("wattshed_ecc_errors_total", "corrected"),
    "ecc.errors.uncorrected.volatile.total": ("wattshed_ecc_errors_total", "uncorrected"),
    "remapped_rows.correctable": ("wattshed_remapped_rows", "corrected"),
    "remapped_rows.uncorrectable": ("wattshed_remapped_rows", "uncorrected"),
    "remapped_rows.pending": ("wattshed_remapped_rows", "pending"),
    "remapped_rows.failure": ("wattshed_remapped_rows", "failed"),
    **{
        f"clocks_event_reasons_counters.{name}": ("wattshed_throttled_seconds_total", name)
        for name in REASON_BITS.values()
    },
    **{
        f"clocks_event_reasons.{name}": ("wattshed_throttled", name)
        for name in REASON_BITS.values()
    },
}
UNITS = {"W": 1.0, "MiB": float(MIB), "%": 0.01, "MHz": 1e6, "us": 1e-6, "": 1.0}
WORDS = {"Yes": 1.0, "No": 0.0, "Enabled": 1.0, "Disabled": 0.0, "Active": 1.0, "Not Active": 0.0}


def printed(text: str, state: str) -> dict[str, str]:
    """Return the values of the first GPU as printed, without those that are N/A."""
    found = re.search(rf"# {state} :: query-gpu \(csv.*?\n#[^\n]*\n#+\n(.*?)\n\n", text, re.S)
    assert found
    head, row = found.group(1).splitlines()[:2]
    names = [re.sub(r" \[.*\]$", "", name) for name in head.split(", ")]
    values = dict(zip(names, row.split(", "), strict=True))
    return {k: v for k, v in values.items() if v.strip("[]") not in ("N/A", "Not Supported", "")}


def number(value: str) -> float:
    """Return a printed value in base units."""
    if value in WORDS:
        return WORDS[value]
    digits, _, unit = value.partition(" ")
    return float(digits) * UNITS[unit]


def scenario(values: dict[str, str]) -> Iterator[str]:
    for name, (key, factor) in (SMI_TO_KEY | CALLS).items():
        if name in values:
            digits = values[name].partition(" ")[0]
            yield f"{key} {round(float(WORDS.get(values[name], 0) or _digits(digits)) * factor)}"
        elif name in CALLS:
            yield f"{key}_rc 3"
    for name, key in (("serial", "serial"), ("name", "name"), ("vbios_version", "vbios")):
        yield f"{key} {values[name]}" if name in values else f"{key}_rc 3"
    yield f"driver {values['driver_version']}"
    yield f"reasons {values['clocks_event_reasons.active']}"
    if "utilization.memory" in values:
        yield f"utilization_memory {values['utilization.memory'].partition(' ')[0]}"


def _digits(text: str) -> float:
    return float(text) if text.replace(".", "").isdigit() else 0.0


def instances(text: str, state: str) -> Iterator[tuple[str, ...]]:
    """Yield GPU instance, compute instance, MiB in use and profile of each MIG device printed."""
    listed = re.findall(r"^  MIG (\S+)", text, re.M)
    part = re.search(rf"# {state} :: query \(-q\)(.*?)# {state} :: query-gpu", text, re.S)
    assert part
    found = re.findall(
        r"MIG Device\n.*?GPU Instance ID\s+: (\d+)\n.*?Compute Instance ID\s+: (\d+)\n"
        r".*?FB Memory Usage\n.*?Used\s+: (\d+) MiB",
        part.group(1),
        re.S,
    )
    for row, profile in zip(found, listed, strict=True):
        yield (*row, profile)


def mig_scenario(rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"mig_count {len(rows)}"
    for index, (gpu, compute, mib, profile) in enumerate(rows):
        yield f"mig{index}_gi {gpu}"
        yield f"mig{index}_ci {compute}"
        yield f"mig{index}_uuid MIG-{index}"
        yield f"mig{index}_name NVIDIA MIG {profile}"
        yield f"mig{index}_memory {int(mib) * MIB}"
        yield f"mig{index}_slices {profile[0]},{profile[0]},0"


@pytest.fixture(params=[(m, s) for m in MACHINES for s in ("idle", "load")], ids="-".join)
def capture(request: pytest.FixtureRequest, data: Path) -> tuple[str, str]:
    machine, state = request.param
    text = (data / FOLDER / f"{machine}.txt").read_text(encoding="utf-8", errors="replace")
    return text, state


def test_the_source_says_what_nvidia_smi_printed(nvml: Process, capture: tuple[str, str]) -> None:
    values = printed(*capture)
    cut = list(instances(*capture)) if values.get("mig.mode.current") == "Enabled" else []
    nvml.tell(*scenario(values), *mig_scenario(cut))
    (device,) = nvml.discover()
    (reading,), details = nvml.sample()
    assert device["model"] == values["name"]
    assert device["serial"] == values.get("serial", "")
    assert (device["driver"], device["firmware"]) == (
        values["driver_version"],
        values["vbios_version"],
    )
    assert device["power_limit_watts"] == number(values["enforced.power.limit"])
    assert reading["power_watts"] == number(values["power.draw"])
    assert reading["memory_used_bytes"] == number(values["memory.used"])
    assert reading["temperature_celsius"] == number(values["temperature.gpu"])
    expected = number(values["utilization.gpu"]) if "utilization.gpu" in values else None
    assert reading["utilization_ratio"] == expected
    check_details(details, values)
    check_instances(details, cut)


def check_details(details: Details, values: dict[str, str]) -> None:
    expected = {
        key: pytest.approx(number(values[name]), rel=1e-9)
        for name, key in SMI_TO_DETAIL.items()
        if name in values
    }
    asked = set(SMI_TO_DETAIL.values())
    assert {key: value for key, value in details.items() if key in asked} == {
        **expected,
        # Not a column of the CSV, but a bit of its mask.
        ("wattshed_throttled", "display_clock_setting"): 0.0,
    }


def check_instances(details: Details, cut: list[tuple[str, ...]]) -> None:
    said = {key[1:3]: key[4] for key in details if key[0] == "wattshed_mig_instance_info"}
    assert said == {(f"{gpu}/{compute}", profile): profile[0] for gpu, compute, _, profile in cut}
    memory = {k[1]: v for k, v in details.items() if k[0] == "wattshed_mig_memory_used_bytes"}
    assert memory == {gpu: float(mib) * MIB for gpu, _, mib, _ in cut}


def test_every_symbol_of_the_stand_in_is_one_of_the_real_library(
    fake_nvml: Path, data: Path
) -> None:
    if (tool := shutil.which("nm")) is None:
        pytest.skip("there is no nm to list the symbols of a library")
    command = [tool, "-D", "--defined-only", "--format=posix", str(fake_nvml / "libnvidia-ml.so.1")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ours = {line.split()[0] for line in text.splitlines() if line.startswith("nvml")}
    capture = (data / FOLDER / f"{WITH_SYMBOLS}.txt").read_text(encoding="utf-8")
    real = set(re.findall(r"^nvml\w+$", capture.partition(":: nvml-symbols")[2], re.M))
    assert len(real) > 300
    assert ours - real == set()
    assert len(ours) > 40
