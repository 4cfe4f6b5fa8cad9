"""Details that many devices say at every reading: a column each, one row per device and instant.

A narrow row of ``sample`` takes three bytes and its share of an insert, a column here a fraction of
both. Values are integers in the unit that the column's name tells. One that the integer does not
hold (more decimals than the column has, too large, negative) stays a row of ``sample``: nothing is
rounded but what lies within a few units in the last place of the decimal number that was meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_exporter.model import Detail

from .insert import Column, Frame
from .schema import KINDS, TABLES

TABLE = "detail"
MEANT = 2.0**-50
"""Relative distance of a float from the decimal number it stands for, after a few operations."""
Key = tuple[str, tuple[str, ...]]
"""A metric and the values of its own labels."""


@dataclass(frozen=True, slots=True)
class Wide:
    """One column: what it holds, and how many of its units make one of the metric's."""

    metric: str
    attributes: tuple[str, ...]
    column: str
    scale: int
    start_column: str = ""
    """When a counter stood at zero; "" for what is no counter."""

    def scaled(self, values: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values, shape (n,), in units of the column, and which of them it can hold."""
        dtype = KINDS[TABLES[TABLE][self.column]].dtype
        assert dtype is not None
        bounds = np.iinfo(dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            whole = np.rint(values * self.scale)
            holds = np.abs(whole / self.scale - values) <= MEANT * np.abs(values)
            # As floats: the largest 64-bit integer is rounded up to one that would wrap around.
            holds &= (whole >= float(bounds.min)) & (whole < float(bounds.max))
            # A zero below zero would come back without its sign.
            holds &= ~(np.signbit(values) & (whole == 0))
        return np.where(holds, whole, 0).astype(dtype), holds


def _gauges(metric: str, scale: int, **columns: tuple[str, ...]) -> tuple[Wide, ...]:
    return tuple(Wide(metric, own, column, scale) for column, own in columns.items())


def _counters(metric: str, scale: int, **columns: tuple[str, ...]) -> tuple[Wide, ...]:
    return tuple(
        Wide(metric, own, column, scale, f"{column.rpartition('_')[0]}_start")
        for column, own in columns.items()
    )


WIDE: tuple[Wide, ...] = (
    *_gauges("wattshed_memory_total_bytes", 1, memory_total_bytes=()),
    *_gauges("wattshed_memory_activity_ratio", 10**6, memory_activity_e6=()),
    *_gauges("wattshed_sm_activity_ratio", 10**6, sm_activity_e6=()),
    *_gauges(
        "wattshed_pipe_activity_ratio",
        10**6,
        tensor_activity_e6=("tensor",),
        fp64_activity_e6=("fp64",),
        fp32_activity_e6=("fp32",),
        fp16_activity_e6=("fp16",),
    ),
    *_gauges("wattshed_process_utilization_ratio", 10**6, process_utilization_e6=()),
    *_gauges("wattshed_contexts", 1, contexts=()),
    *_gauges(
        "wattshed_clock_hertz",
        1,
        graphics_clock_hertz=("graphics",),
        sm_clock_hertz=("sm",),
        memory_clock_hertz=("memory",),
        video_clock_hertz=("video",),
    ),
    *_gauges("wattshed_sensor_temperature_celsius", 10, memory_temp_e1=("memory",)),
    *_gauges(
        "wattshed_power_reading_watts",
        10**6,
        gpu_average_power_uw=("gpu", "average"),
        gpu_instant_power_uw=("gpu", "instant"),
        module_instant_power_uw=("module", "instant"),
        memory_instant_power_uw=("memory", "instant"),
    ),
    *_gauges(
        "wattshed_power_limit_bound_watts",
        10**6,
        requested_limit_uw=("requested",),
        default_limit_uw=("default",),
        min_limit_uw=("min",),
        max_limit_uw=("max",),
    ),
    *_counters(
        "wattshed_link_bytes_total",
        1,
        pcie_transmit_bytes=("pcie", "transmit"),
        pcie_receive_bytes=("pcie", "receive"),
        nvlink_transmit_bytes=("nvlink", "transmit"),
        nvlink_receive_bytes=("nvlink", "receive"),
    ),
)
COLUMNS = frozenset(wide.column for wide in WIDE)
BY_KEY: dict[Key, Wide] = {(wide.metric, wide.attributes): wide for wide in WIDE}


def split(details: Sequence[Detail], ids: Sequence[int]) -> tuple[Frame | None, list[int]]:
    """Return the rows of ``detail``, None without any, and the places of details that stay narrow.

    ``ids`` are the devices' by detail. Of two values for one place the later one counts.
    """
    rows: dict[tuple[int, int], int] = {}
    found: dict[str, dict[int, int]] = {}
    narrow: list[int] = []
    for place, detail in enumerate(details):
        wide = BY_KEY.get((detail.metric, detail.attributes))
        if wide is None or (detail.start_ms is not None and not wide.start_column):
            narrow.append(place)
            continue
        row = rows.setdefault((ids[place], detail.ts_ms), len(rows))
        found.setdefault(wide.column, {})[row] = place
    if not rows:
        return None, narrow
    columns = {
        "ts": Column(np.array([ts for _, ts in rows], np.int64)),
        "device_id": Column(np.array([device for device, _ in rows], np.uint64)),
    }
    for wide in WIDE:
        if places := found.get(wide.column):
            said = [details[place] for place in places.values()]
            holds = _fill(columns, wide, len(rows), list(places), said)
            narrow += [p for p, held in zip(places.values(), holds, strict=True) if not held]
    return Frame(TABLE, columns), narrow


def said(rows: Frame) -> int:
    """Return how many values rows say: of ``detail`` those of all columns, else one a row."""
    if rows.table != TABLE:
        return len(rows)
    count = 0
    for name, column in rows.columns.items():
        if name in COLUMNS:
            present = column.present
            count += len(column.values) if present is None else int(np.count_nonzero(present))
    return count


def _fill(
    columns: dict[str, Column], wide: Wide, rows: int, at: list[int], said: Sequence[Detail]
) -> list[bool]:
    """Put the values into their column, and return which of them it holds."""
    values, holds = wide.scaled(np.array([detail.value for detail in said], float))
    columns[wide.column] = _spread(rows, at, values, holds)
    if wide.start_column:
        starts = [detail.start_ms for detail in said]
        known = np.array([start is not None for start in starts]) & holds
        told = np.array([start or 0 for start in starts], np.int64)
        columns[wide.start_column] = _spread(rows, at, told, known)
    return list(map(bool, holds))


def _spread(rows: int, at: list[int], values: NDArray[Any], said: NDArray[np.bool_]) -> Column:
    spread, present = np.zeros(rows, values.dtype), np.zeros(rows, bool)
    spread[at], present[at] = values, said
    return Column(spread, present)
