"""The synthetic fleet as rows of our tables, in arrays, as the collector's fast path makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.fleetgen import MEMORY_BYTES, Fleet, Hour
from wattshed_collector.store.insert import Column, Frame

Ids = NDArray[np.uint64]

TICK: Mapping[str, tuple[str, float]] = {
    "power_uw": ("gpu_power_watts", 1e6),
    "energy_uj": ("gpu_energy_joules_total", 1e6),
    "util_e4": ("gpu_util_percent", 100),
    "mem_used_bytes": ("gpu_mem_used_bytes", 1),
    "temp_e1": ("gpu_temp_celsius", 10),
}
DETAIL: Mapping[str, tuple[str, float]] = {
    "memory_activity_e6": ("gpu_mem_util_percent", 1e4),
    "sm_activity_e6": ("gpu_sm_active_ratio", 1e6),
    "tensor_activity_e6": ("gpu_tensor_active_ratio", 1e6),
    "sm_clock_hertz": ("gpu_sm_clock_hz", 1),
    "memory_clock_hertz": ("gpu_mem_clock_hz", 1),
    "memory_temp_e1": ("gpu_mem_temp_celsius", 10),
    "default_limit_uw": ("gpu_power_limit_watts", 1e6),
    "pcie_receive_bytes": ("gpu_pcie_rx_bytes_total", 1),
    "pcie_transmit_bytes": ("gpu_pcie_tx_bytes_total", 1),
}
"""Our column, the fleet's metric and the scale. Free memory is told by the total instead."""


def ticks(fleet: Fleet, hour: Hour, at: range, ids: Ids) -> Frame:
    """Return some ticks of an hour of all GPUs; of more identities than GPUs each stands for one,
    over and over, from another counter."""
    columns = _columns(fleet, hour, at, ids, TICK)
    copies = len(ids) // fleet.devices
    apart = np.repeat(np.arange(copies) * 10**9, fleet.devices)
    columns["energy_uj"] += np.tile(apart, len(at))
    shape = len(at) * len(ids)
    columns["interval_ms"] = np.full(shape, fleet.step * 1000)
    columns["method"] = np.full(shape, "counter", object)
    return _frame("tick", columns)


def details(fleet: Fleet, hour: Hour, at: range, ids: Ids) -> Frame:
    """Return what the GPUs say beside, as ``ticks`` does."""
    columns = _columns(fleet, hour, at, ids, DETAIL)
    columns["memory_total_bytes"] = np.full(len(at) * len(ids), MEMORY_BYTES)
    return _frame("detail", columns)


def _columns(
    fleet: Fleet, hour: Hour, at: range, ids: Ids, named: Mapping[str, tuple[str, float]]
) -> dict[str, NDArray[Any]]:
    emitted = hour.values
    copies = len(ids) // fleet.devices
    begin = fleet.start + hour.index * 3600
    times = (begin + (np.array(at) + 1) * fleet.step) * 1000
    found: dict[str, NDArray[Any]] = {
        "ts": np.repeat(times, len(ids)),
        "device_id": np.tile(ids, len(at)),
    }
    for column, (metric, scale) in named.items():
        part = np.rint(emitted[metric][at.start : at.stop] * scale).astype(np.int64)
        found[column] = np.tile(part, (1, copies)).reshape(-1)
    return found


def _frame(table: str, columns: Mapping[str, NDArray[Any]]) -> Frame:
    return Frame(table, {name: Column(values) for name, values in columns.items()})


def portions(count: int, at_once: int) -> Sequence[range]:
    """Cut ``count`` ticks into ranges of at most ``at_once``."""
    return [range(at, min(at + at_once, count)) for at in range(0, count, at_once)]
