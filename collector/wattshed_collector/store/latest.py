"""What each device said last, as rows of ``latest``, from the ticks that are written.

Each quantity lies below the time that it is of, in one number, and the greater one stands: neither
order nor repeats make it go back, and several collectors may write. ``0014_latest.sql`` says which
bit is what. A materialized view did the same, at the price of an insert and of a merge with every
commit; here a busy writer gathers for some seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .client import Client
from .frames import cast
from .insert import Column, Frame
from .schema import GAP, POWER

Array = NDArray[Any]
Packed = Mapping[str, Array]
"""Columns of ``latest``, several rows of a device."""

TABLE = "latest"
METHODS = ("counter", "integral", "estimated", "simulated", "unknown")
_METHOD = {method: n for n, method in enumerate(METHODS, 1)}
_BITS_16, _SAID_16, _ZERO_TEMP = np.uint64(1 << 17), np.uint64(1 << 16), 1 << 15
_U8 = np.dtype("<u8")

FOUND_AGAIN = """
INSERT INTO latest
SELECT device_id, max(k.ts),
       max(bitShiftLeft(toUInt128(toUInt64(toUnixTimestamp64Milli(k.ts))), 65)
           + if(isNull(power_uw), toUInt128(0), bitShiftLeft(toUInt128(1), 64) + power_uw)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 2 + isNotNull(energy_uj)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 131072
           + if(isNull(util_e4), 0, 65536 + util_e4)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 131072
           + if(isNull(temp_e1), 0, 98304 + temp_e1)),
       max(toUInt64(toUnixTimestamp64Milli(k.ts)) * 8 + indexOf({methods:Array(String)}, k.method)),
       maxIf((toUInt64(toUnixTimestamp64Milli(k.ts)), toString(ifNull(k.gap, ''))),
             isNotNull(k.gap)),
       maxIf(toUInt64(toUnixTimestamp64Milli(k.ts)), isNotNull(k.withdrawn))
FROM tick AS k
WHERE toStartOfHour(k.ts) >= toDateTime({since:UInt32}, 'UTC')
GROUP BY device_id
"""
LATEST_SECONDS = 5.0
"""How long a busy collector gathers: exporters send as often."""
RECENT_S, HOUR_S = 15 * 60, 3600
"""Power now looks back so far, and ticks are found by their hour."""


def find_again(client: Client, now: float) -> None:
    """Write what the ticks of recent hours say: a writer that was killed had gathered some."""
    since = max(0, (int(now) - RECENT_S) // HOUR_S * HOUR_S)
    client.command(FOUND_AGAIN, {"methods": list(METHODS), "since": since})


class Latest:
    """Gathers rows of ``latest`` and says when they are due: ``every_seconds``, 0: at once."""

    def __init__(self, every_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_seconds = every_seconds
        self._clock = clock
        self._written_at = -every_seconds
        self._waiting: Frame | None = None

    @property
    def is_due(self) -> bool:
        return self._clock() - self._written_at >= self._every_seconds

    @property
    def waiting(self) -> Frame | None:
        """What was gathered and is not written, None where nothing is."""
        return self._waiting

    def with_waiting(self, rows: Frame) -> Frame:
        """Return some rows and those that wait as one, a row a device."""
        return rows if self._waiting is None else merged((self._waiting, rows))

    def gather(self, rows: Frame) -> None:
        """Keep rows until they are due."""
        self._waiting = self.with_waiting(rows)

    def written(self) -> None:
        """Everything that waited is in the store."""
        self._waiting, self._written_at = None, self._clock()


def newest(ticks: Frame) -> Frame:
    """Return what some rows of ``tick`` say last of each device, a row of ``latest`` each."""
    ms = ticks.columns["ts"].values.astype(np.int64).astype(_U8)
    gap, gaps = _present(ticks, "gap"), np.zeros(len(ticks), GAP)
    gaps["gap"] = ""
    gaps["ms"][gap] = ms[gap]
    gaps["gap"][gap] = ticks.columns["gap"].values[gap] if gap.any() else ""
    power = np.zeros(len(ticks), POWER)
    power["power_uw"] = _numbers(ticks, "power_uw")
    power["said"] = ms * np.uint64(2) + _present(ticks, "power_uw")
    methods = [_METHOD.get(method, 0) for method in ticks.columns["method"].values.tolist()]
    return _greatest(
        {
            "device_id": cast("tick.device_id", ticks.columns["device_id"].values, _U8),
            "ts": ms,
            "power": power,
            "energy": ms * np.uint64(2) + _present(ticks, "energy_uj"),
            "util": ms * _BITS_16 + _below(ticks, "util_e4", 0),
            "temp": ms * _BITS_16 + _below(ticks, "temp_e1", _ZERO_TEMP),
            "method": ms * np.uint64(8) + np.array(methods, _U8),
            "gap": gaps,
            "withdrawn": np.where(_present(ticks, "withdrawn"), ms, np.uint64(0)),
        }
    )


def merged(told: Sequence[Frame]) -> Frame:
    """Return rows of ``latest`` as one row of each device."""
    names = told[0].columns
    return _greatest({n: np.concatenate([f.columns[n].values for f in told]) for n in names})


def _present(ticks: Frame, name: str) -> NDArray[np.bool_]:
    column = ticks.columns.get(name)
    if column is None:
        return np.zeros(len(ticks), bool)
    return np.ones(len(ticks), bool) if column.present is None else column.present


def _numbers(ticks: Frame, name: str) -> Array:
    """Return a column, 0 where nothing is said."""
    column = ticks.columns.get(name)
    if column is None:
        return np.zeros(len(ticks), _U8)
    return np.where(_present(ticks, name), column.values, column.values.dtype.type(0))


def _below(ticks: Frame, name: str, zero: int) -> Array:
    """Return seventeen bits: whether something is said, and what, above ``-zero``."""
    said = (_numbers(ticks, name).astype(np.int64) + zero).astype(_U8)
    return np.where(_present(ticks, name), _SAID_16 + said, np.uint64(0))


def _greatest(rows: Packed) -> Frame:
    """Return the greatest number of each column by device."""
    order = np.argsort(rows["device_id"], kind="stable")
    device = rows["device_id"][order]
    starts = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
    found = {"device_id": device[starts]}
    for name, values in rows.items():
        if name == "power":
            found[name] = _greatest_power(values[order], starts)
        elif name == "gap":
            found[name] = _greatest_gap(values[order], starts)
        elif name != "device_id":
            found[name] = np.maximum.reduceat(values[order], starts)
    found["ts"] = found["ts"].astype(np.int64)
    return Frame(TABLE, {name: Column(values) for name, values in found.items()})


def _greatest_power(power: Array, starts: Array) -> Array:
    greatest = np.zeros(len(starts), POWER)
    greatest["said"] = np.maximum.reduceat(power["said"], starts)
    lengths = np.diff(np.append(starts, len(power)))
    is_newest = power["said"] == np.repeat(greatest["said"], lengths)
    low = np.where(is_newest, power["power_uw"], np.uint64(0))
    greatest["power_uw"] = np.maximum.reduceat(low, starts)
    return greatest


def _greatest_gap(gaps: Array, starts: Array) -> Array:
    greatest = np.zeros(len(starts), GAP)
    greatest["gap"] = ""
    said = np.flatnonzero(gaps["ms"])
    at = np.searchsorted(starts, said, side="right") - 1
    for row, place in zip(said.tolist(), at.tolist(), strict=True):
        greatest[place] = max(gaps[row].tolist(), greatest[place].tolist())
    return greatest
