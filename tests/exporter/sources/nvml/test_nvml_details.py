"""What a GPU says beside its readings: powers, limits, clocks, engines, throttling, errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from wattshed_exporter.semconv import DETAIL_METRICS
from wattshed_exporter.sources.nvml_details import CALLS, FIELDS, REASON_BITS, slowdowns

if TYPE_CHECKING:
    from pathlib import Path

    from tests.exporter.sources.nvml.conftest import Details, Process, Start

POWER, BOUND = "wattshed_power_reading_watts", "wattshed_power_limit_bound_watts"
LINK, HELD = "wattshed_link_bytes_total", "wattshed_throttled"
TIME = "wattshed_throttled_seconds_total"
ALL_LINKS = 2**32 - 1
ALWAYS = {
    ("wattshed_memory_total_bytes",): 80.0 * 2**30,
    ("wattshed_memory_activity_ratio",): 0.5,
    ("wattshed_device_status", "ok"): 1.0,
    ("wattshed_device_status", "degraded"): 0.0,
    ("wattshed_device_status", "failed"): 0.0,
}
"""What the stand-in tells by default."""


def of(details: Details, metric: str) -> Details:
    return {key[1:]: value for key, value in details.items() if key[0] == metric}


@pytest.mark.parametrize(
    "row", [*FIELDS, *slowdowns("580.1"), *CALLS], ids=lambda row: f"{row.key}"
)
def test_every_row_is_of_a_declared_metric(row: object) -> None:
    metric, own = row.key  # type: ignore[attr-defined]
    assert len(DETAIL_METRICS[metric].own) == len(own)


def test_a_board_that_answers_nothing_more(nvml: Process) -> None:
    nvml.discover()
    assert nvml.details() == ALWAYS


def test_power_by_scope_and_window(nvml: Process) -> None:
    nvml.tell(
        "power_average 433780",
        "power_instant 447350",
        "module_average 512000",
        "module_instant 0",
        "field_185_2 61000",
    )
    nvml.discover()
    assert of(nvml.details(), POWER) == {
        ("gpu", "average"): pytest.approx(433.78),
        ("gpu", "instant"): pytest.approx(447.35),
        ("module", "average"): 512.0,
        ("memory", "average"): 61.0,
    }


@pytest.mark.parametrize(
    "lines",
    [
        ("field_192_0 600000", "field_189_0 700000", "field_187_0 200000", "field_188_0 700000"),
        ("limit_requested 600000", "limit_default 700000", "limit_min 200000", "limit_max 700000"),
        ("field_192_0 600000", "limit_default 700000", "limit_min 200000", "limit_max 700000"),
    ],
)
def test_bounds_of_the_limit_by_field_or_call(nvml: Process, lines: tuple[str, ...]) -> None:
    nvml.tell(*lines)
    nvml.discover()
    assert of(nvml.details(), BOUND) == {
        ("requested",): 600.0,
        ("default",): 700.0,
        ("min",): 200.0,
        ("max",): 700.0,
    }


def test_clocks_engines_and_temperature(nvml: Process) -> None:
    nvml.tell("clock_0 1980", "clock_2 2619", "encoder 72", "ofa 0", "jpeg 101", "field_82_0 54")
    nvml.discover()
    details = nvml.details()
    assert of(details, "wattshed_clock_hertz") == {("graphics",): 1.98e9, ("memory",): 2.619e9}
    engines = of(details, "wattshed_engine_utilization_ratio")
    assert engines == {("encoder",): 0.72, ("ofa",): 0.0}
    assert of(details, "wattshed_sensor_temperature_celsius") == {("memory",): 54.0}


def test_a_memory_temperature_of_0_is_no_sensor(nvml: Process) -> None:
    nvml.tell("field_82_0 0")
    nvml.discover()
    assert nvml.details() == ALWAYS


@pytest.mark.parametrize(
    ("mask", "held"),
    [
        ("0x0", set()),
        ("0x1", set()),
        ("0x4", {"sw_power_cap"}),
        ("0x48", {"hw_slowdown", "hw_thermal_slowdown"}),
        ("0xffffffff00000021", {"sw_thermal_slowdown"}),
    ],
)
def test_reasons_for_low_clocks(nvml: Process, mask: str, held: set[str]) -> None:
    nvml.tell(f"reasons {mask}")
    nvml.discover()
    said = of(nvml.details(), HELD)
    assert said == {(name,): float(name in held) for name in REASON_BITS.values()}


def test_throttled_time_is_nanoseconds(nvml: Process) -> None:
    nvml.tell("field_74_0 824898457000", "field_78_0 0", "slowdown_1 1500000000")
    nvml.discover()
    assert of(nvml.details(), "wattshed_throttled_seconds_total") == {
        ("sw_power_cap",): pytest.approx(824.898457),
        ("low_utilization",): 0.0,
        ("hw_thermal_slowdown",): 1.5,
    }


@pytest.mark.parametrize(
    ("driver", "asked"),
    [
        ("550.54.15", True),
        ("575.57.08", True),
        ("580.65.06", True),
        ("610.62", True),
        ("unknown", False),
        ("580", False),
    ],
)
def test_slowdowns_are_asked_by_what_this_driver_calls_them(
    nvml: Process, driver: str, asked: bool
) -> None:
    nvml.tell(f"driver {driver}", "slowdown_0 1000000000", "slowdown_1 0", "slowdown_2 3000000000")
    nvml.discover()
    told = {
        ("sw_thermal_slowdown",): 1.0,
        ("hw_thermal_slowdown",): 0.0,
        ("hw_power_brake_slowdown",): 3.0,
    }
    assert of(nvml.details(), TIME) == (told if asked else {})


def test_without_the_version_of_the_driver_no_slowdown_is_asked(nvml: Process) -> None:
    nvml.tell("driver_rc 999", "slowdown_1 1000000000")
    nvml.discover()
    assert nvml.details() == ALWAYS


@pytest.mark.parametrize(
    "lines",
    [
        ("slowdown_0 1000000000", "field_251_0_type 1"),
        ("field_197_0 8000000", "field_197_0_type 1"),
        ("field_198_0 8000000", "field_198_0_type 5"),
    ],
)
def test_a_counter_that_is_not_of_64_bits_is_not_said(
    nvml: Process, lines: tuple[str, ...]
) -> None:
    nvml.tell(*lines)
    nvml.discover()
    assert nvml.details() == ALWAYS


def test_heat_is_not_said_twice(nvml: Process) -> None:
    nvml.tell("field_75_0 7000000000")
    nvml.discover()
    assert of(nvml.details(), TIME) == {("thermal",): 7.0}
    both = ("field_75_0 7000000000", "slowdown_0 7000000000")
    nvml.tell(*both)
    nvml.discover()
    assert of(nvml.details(), TIME) == {("sw_thermal_slowdown",): 7.0}
    nvml.tell(*both, "field_251_0_rc 999")
    assert of(nvml.details(), TIME) == {}


def test_a_0_hides_a_value_and_not_the_question(nvml: Process) -> None:
    nvml.tell("power_average 0", "field_82_0 0", "field_192_0 0", "limit_requested 300000")
    nvml.discover()
    assert nvml.details() == {**ALWAYS, (BOUND, "requested"): 300.0}
    nvml.tell("power_average 90500", "field_82_0 41", "field_192_0 600000")
    assert nvml.details() == {
        **ALWAYS,
        (POWER, "gpu", "average"): 90.5,
        ("wattshed_sensor_temperature_celsius", "memory"): 41.0,
        (BOUND, "requested"): 600.0,
    }


def test_calls_stand_in_for_fields_whenever_those_begin_to_answer(nvml: Process) -> None:
    nvml.tell("fields_rc 999", "limit_requested 300000")
    nvml.discover()
    assert nvml.details() == {**ALWAYS, (BOUND, "requested"): 300.0}
    nvml.tell("field_192_0_rc 3", "limit_requested 300000")
    assert nvml.details() == {**ALWAYS, (BOUND, "requested"): 300.0}


def test_bytes_over_the_links(nvml: Process) -> None:
    nvml.tell(
        "field_197_0 8000000000",
        "field_198_0 9000000000",
        f"field_138_{ALL_LINKS} 3",
        f"field_139_{ALL_LINKS} {2**50}",
    )
    nvml.discover()
    assert of(nvml.details(), LINK) == {
        ("pcie", "transmit"): 8e9,
        ("pcie", "receive"): 9e9,
        ("nvlink", "transmit"): 3072.0,
        ("nvlink", "receive"): math.ldexp(1, 60),
    }


def test_garbage_is_not_said_but_asked_again(nvml: Process) -> None:
    nvml.tell(
        "clock_1 4294967294",
        "field_192_0 4000000000",
        "encoder 4294967295",
        "field_82_0 4294967295",
    )
    nvml.discover()
    assert nvml.details() == ALWAYS
    nvml.tell("clock_1 345", "field_192_0 400000", "encoder 3", "field_82_0 41")
    assert nvml.details().keys() - ALWAYS.keys() == {
        ("wattshed_clock_hertz", "sm"),
        (BOUND, "requested"),
        ("wattshed_engine_utilization_ratio", "encoder"),
        ("wattshed_sensor_temperature_celsius", "memory"),
    }


def test_what_is_not_supported_is_asked_once(nvml: Process) -> None:
    nvml.discover()
    nvml.details()
    nvml.calls()
    nvml.details()
    again = [call.partition(" ")[0] for call in nvml.calls()]
    reading = ["count", "energy", "power", "utilization", "temperature", "memory"]
    assert again == [*reading, "wait"]
    nvml.tell("clock_1 345", "field_82_0 41")
    assert nvml.details() == ALWAYS
    nvml.discover()
    assert len(nvml.details()) == len(ALWAYS) + 2


def test_an_error_that_passes_closes_no_question(nvml: Process) -> None:
    nvml.tell("clock_1 345", "clock_1_rc 27", "field_82_0 41", "field_82_0_rc 999", "reasons_rc 27")
    nvml.discover()
    assert nvml.details() == ALWAYS
    nvml.tell("clock_1 345", "field_82_0 41", "reasons 0")
    assert len(nvml.details()) == len(ALWAYS) + 2 + len(REASON_BITS)


def test_an_older_driver_says_less_by_its_older_names(start: Start, fake_nvml: Path) -> None:
    nvml = start(fake_nvml / "r525")
    nvml.tell("reasons 4", "compute 7 8", "graphics 8 9", "gpm_2 50", "jpeg 5", "clock_1 345")
    nvml.discover()
    details = nvml.details()
    assert of(details, HELD)[("sw_power_cap",)] == 1.0
    assert details[("wattshed_contexts",)] == 3.0
    assert details[("wattshed_clock_hertz", "sm")] == 3.45e8
    assert not of(details, "wattshed_sm_activity_ratio")
    assert not of(details, "wattshed_engine_utilization_ratio")


def test_the_oldest_driver_still_says_clocks_and_limits(start: Start, fake_nvml: Path) -> None:
    nvml = start(fake_nvml / "old")
    nvml.tell("clock_0 1200", "limit_min 60000", "limit_max 75000", "compute 7", "reasons 0x20")
    nvml.discover()
    details = nvml.details()
    assert of(details, BOUND) == {("min",): 60.0, ("max",): 75.0}
    assert details[("wattshed_contexts",)] == 1.0
    assert details[("wattshed_device_status", "degraded")] == 1.0


def test_details_come_when_they_are_due(start: Start) -> None:
    nvml = start(detail_seconds=3600.0)
    nvml.discover()
    assert nvml.ask("sample")["details"]
    assert not nvml.ask("sample")["details"]
    nvml.discover()
    assert nvml.ask("sample")["details"]


def test_a_gpu_that_is_a_gap_is_not_asked(nvml: Process) -> None:
    nvml.tell("count 2", "clock_0 1200")
    nvml.discover()
    nvml.tell("count 2", "clock_0 1200", "device_rc.0 27")
    answer = nvml.ask("sample")
    assert answer["readings"][0]["gap"] == "not_ready"
    assert {row[0] for row in answer["details"]} == {"GPU-fake-1"}
