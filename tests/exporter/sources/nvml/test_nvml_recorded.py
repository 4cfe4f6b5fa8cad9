"""What a real driver answered to every field, type and code, told to the stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from tests.fixtures.nvml.recorded import recording

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Process

H100 = recording()
KEYS = {"83.0": "energy", "185.0": "power_average", "186.0": "power_instant"}
"""What the stand-in calls these fields."""
SLOWDOWNS = {"269.0": "slowdown_0", "270.0": "slowdown_1", "271.0": "slowdown_2"}


def scenario(state: Mapping[str, Any]) -> Iterator[str]:
    yield f"name {H100.name}"
    yield f"driver {H100.driver}"
    yield f"power {state['power_mw']}"
    yield f"memory {state['memory_used_bytes']}"
    yield f"memory_total {state['memory_total_bytes']}"
    yield f"utilization {state['utilization'][0]}"
    yield f"utilization_memory {state['utilization'][1]}"
    yield f"temperature {state['celsius']}"
    yield f"reasons {state['reasons']}"
    yield from (f"clock_{n} {mhz}" for n, mhz in enumerate(state["clocks_mhz"]))
    for identity, answer in state["fields"].items():
        own = f"field_{identity.replace('.', '_')}"
        if answer == "untouched":
            yield f"{own}_untouched 1"
            continue
        yield f"{KEYS.get(identity) or SLOWDOWNS.get(identity) or own} {answer['bits']}"
        yield f"{own}_type {answer['type']}"


@pytest.mark.parametrize("name", H100.states)
def test_the_source_says_what_the_driver_answered(nvml: Process, name: str) -> None:
    state = H100.states[name]
    fields = state["fields"]
    nvml.tell(*scenario(state))
    (device,) = nvml.discover()
    (reading,), details = nvml.sample()
    assert (device["model"], device["driver"]) == (H100.name, H100.driver)
    assert reading["power_watts"] == pytest.approx(state["power_mw"] / 1000)
    assert reading["energy_uj"] == fields["83.0"]["bits"] * 1000
    assert reading["temperature_celsius"] == state["celsius"]
    assert reading["memory_used_bytes"] == state["memory_used_bytes"]
    watts = "wattshed_power_reading_watts"
    assert details[watts, "gpu", "average"] == pytest.approx(fields["185.0"]["bits"] / 1000)
    assert details[watts, "memory", "average"] == pytest.approx(fields["185.2"]["bits"] / 1000)
    assert details["wattshed_sensor_temperature_celsius", "memory"] == fields["82.0"]["bits"]
    throttled = "wattshed_throttled_seconds_total"
    assert details[throttled, "sw_power_cap"] == pytest.approx(fields["74.0"]["bits"] / 1e9)
    assert details[throttled, "sw_thermal_slowdown"] == pytest.approx(fields["269.0"]["bits"] / 1e9)


def test_counters_that_wrap_in_seconds_and_entries_left_alone_say_nothing(nvml: Process) -> None:
    """The bytes of PCIe came with 32 bits on this driver, and 187 to 192 were not written to."""
    state = H100.states["prefill"]
    assert state["fields"]["197.0"]["type"] == 1
    assert state["fields"]["187.0"] == "untouched"
    nvml.tell(*scenario(state))
    nvml.discover()
    details = nvml.details()
    assert not [key for key in details if key[0] == "wattshed_link_bytes_total"]
    assert not [key for key in details if key[0] == "wattshed_power_limit_bound_watts"]
