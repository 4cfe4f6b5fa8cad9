"""Power of the fleet now: each device's newest reading, divided by share among who holds it now.

What a query costs here is what the engine needs before it reads a row, and a join of views is ten
such costs. So plain questions are asked, in columns of fixed width, and joined as arrays. Where one
process writes all of a store, what they would say is known without asking (``now``).
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .client import Client
from .energy_queries import Record

PLACES = ("node", "site", "kind", "cluster")
HOLDERS = ("workload", "team", "project", "cost_center", "namespace", "queue", "owner")

FRESH_S = 15 * 60
"""A device that was not heard of for longer says nothing of now, as in ``v_live``."""
HELD_S = 120
"""A running allocation is said again within this time."""
HOUR_S = 3600
ROUNDING = 1e-9
"""Shares that sum to the whole but for this leave nothing to nobody."""
_ONE_THREAD = "SETTINGS max_threads = 1"

IDS = np.dtype([("device", "<u8")])
READING = np.dtype([("device", "<u8"), ("power_uw", "<u8"), ("said", "<u8")])
"""The newest of a device: twice the time in Unix milliseconds, and 1 where it says a power."""
HELD = np.dtype(
    [
        ("device", "<u8"),
        ("workload", "<u8"),
        ("start", "<i8"),
        ("revision", "<u4"),
        ("end", "<i8"),
        ("share", "<f8"),
    ]
)
"""An allocation; times in Unix milliseconds."""

READINGS = f"SELECT device_id, power FROM latest FINAL {_ONE_THREAD}"
"""The power is the low half of a number, and the lowest bit of the high half says that there is."""
_NOT_COUNTED = f"SELECT device_id FROM device FINAL WHERE overlap != '' {_ONE_THREAD}"
HOLDINGS = f"""
SELECT device_id, workload_id, start_ts, revision, end_ts, share FROM allocation FINAL
WHERE toStartOfHour(start_ts) IN (
          SELECT start_hour FROM allocation_hour
          WHERE hour >= toDateTime({{hour:UInt32}}, 'UTC'))
  AND (end_ts >= fromUnixTimestamp64Milli({{since_ms:Int64}}, 'UTC') OR revision > 0)
{_ONE_THREAD}
"""
"""What lasts until a time or longer, and corrections: who knows what they correct is to be told."""

Array = NDArray[Any]


class Source(Protocol):
    """Says what power now is made of. Times are Unix seconds."""

    def readings(self) -> Array:
        """Return the newest of each device, of ``READING``, in any order."""

    def apart(self, devices: Array) -> Array:
        """Return which of ``devices`` contain others, or lie in another, shape (devices,)."""

    def held(self, now: float) -> Array:
        """Return at least what was held within ``HELD_S`` of ``now``, once each, of ``HELD``."""

    def named(self, table: str, column: str, ids: Array) -> dict[int, str]:
        """Return what devices or workloads are called; who is not known is absent, or ""."""


def power_now(client: Client, by: str, now: float | None = None) -> list[Record]:
    """Ask the store for ``power``; ``now`` is the present if None."""
    return power(Asked(client), by, time.time() if now is None else now)


def power(source: Source, by: str, now: float) -> list[Record]:
    """Watts of the newest readings per ``by`` (of ``PLACES`` or ``HOLDERS``), largest first.

    ``name`` is "" for nobody. ``devices`` counts those whose power is known, at least in part;
    watts are None where there are none. A meter that contains others, or lies in another, is left
    out. ``now`` is in Unix seconds.
    """
    device, watts = _watts(source, now)
    if by in PLACES:
        return _summed(_names(source, "device", by, device), watts)
    if by not in HOLDERS:
        raise ValueError(f"power is not summed by {by!r}")
    held_device, holder, part = _held(source, now)
    place = np.searchsorted(device, held_device)
    is_known = place < len(device)
    is_known[is_known] = device[place[is_known]] == held_device[is_known]
    place, holder, part = place[is_known], holder[is_known], part[is_known]
    left = 1 - np.bincount(place, part, len(device))
    nobody = np.flatnonzero(left > ROUNDING)
    names = _names(source, "workload", by, holder)
    return _summed(
        np.concatenate([names, np.full(len(nobody), "", np.object_)]),
        np.concatenate([watts[place] * part, watts[nobody] * left[nobody]]),
    )


class Asked:
    """What the store says; each answer is a query."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def readings(self) -> Array:
        return self._client.array(READINGS, READING)

    def apart(self, devices: Array) -> Array:
        apart = self._client.array(_NOT_COUNTED, IDS)["device"]
        return np.isin(devices, apart)

    def held(self, now: float) -> Array:
        since_ms = round((now - HELD_S) * 1000)
        hour = int(now) // HOUR_S * HOUR_S - HOUR_S
        return self._client.array(HOLDINGS, HELD, {"hour": hour, "since_ms": since_ms})

    def named(self, table: str, column: str, ids: Array) -> dict[int, str]:
        asked, told = "", {}
        if table == "workload":  # of all that ever ran only these; of devices nearly all are meant
            asked, told = "WHERE workload_id IN {ids:Array(UInt64)}", {"ids": ids.tolist()}
        rows = self._client.rows(
            f"SELECT {table}_id, {column} FROM {table} FINAL {asked} {_ONE_THREAD}", told
        )
        return {int(number): str(name) for number, name in rows}


def _watts(source: Source, now: float) -> tuple[Array, Array]:
    """Return the devices that count, ascending, and their watts, NaN where not known."""
    rows = source.readings()
    rows = rows[rows["said"] >> np.uint64(1) >= max(0, round((now - FRESH_S) * 1000))]
    rows = rows[~source.apart(rows["device"])]
    rows = rows[np.argsort(rows["device"], kind="stable")]  # mostly they are in order
    return rows["device"], np.where(rows["said"] & 1 == 1, rows["power_uw"] / 1e6, np.nan)


def _held(source: Source, now: float) -> tuple[Array, Array, Array]:
    """Return device, workload and part for all that is held; of a device at most the whole."""
    rows, now_ms = source.held(now), now * 1000
    is_meant = (rows["start"] <= now_ms) & (rows["end"] >= round((now - HELD_S) * 1000))
    rows = rows[is_meant & (rows["share"] > 0)]
    rows = rows[np.lexsort((rows["end"], rows["workload"], rows["device"]))]
    key = rows[["device", "workload"]]
    rows = rows[np.append(key[1:] != key[:-1], True)[: len(rows)]]
    _, at = np.unique(rows["device"], return_inverse=True)
    whole = np.bincount(at, rows["share"])
    return rows["device"], rows["workload"], rows["share"] / np.maximum(whole, 1)[at]


def _names(source: Source, table: str, by: str, ids: Array) -> Array:
    """Return what each of ``ids`` is called, "" for one that is not known."""
    unique, at = np.unique(ids, return_inverse=True)
    known = source.named(table, "name" if by == "workload" else by, unique)
    names: Array = np.array([known.get(i, "") for i in unique.tolist()], object)
    return names[at]


def _summed(names: Array, watts: Array) -> list[Record]:
    unique, at = np.unique(names.astype(str), return_inverse=True)
    is_known = ~np.isnan(watts)
    sums = np.bincount(at, np.where(is_known, watts, 0), len(unique)).tolist()
    counts = np.bincount(at, is_known, len(unique)).astype(int).tolist()
    rows = [
        {"name": name, "watts": total if count else None, "devices": count}
        for name, total, count in zip(unique.tolist(), sums, counts, strict=True)
    ]
    return sorted(rows, key=lambda row: (-(row["watts"] or 0.0), row["name"]))
