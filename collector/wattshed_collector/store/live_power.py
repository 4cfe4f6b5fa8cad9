"""Power of the fleet now: each device's newest reading, divided by share among who holds it now.

What a query costs here is what the engine needs before it reads a row, and a join of views is ten
such costs. So three plain questions are asked, in columns of fixed width, and joined as arrays.
"""

from __future__ import annotations

import time
from typing import Any

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

_IDS = np.dtype([("device", "<u8")])
_READING = np.dtype([("device", "<u8"), ("power_uw", "<u8"), ("said", "<u8"), ("ts", "<i8")])
_HELD = np.dtype(
    [("device", "<u8"), ("workload", "<u8"), ("start", "<i8"), ("end", "<i8"), ("share", "<f8")]
)

_READINGS = f"SELECT device_id, power, ts FROM latest FINAL {_ONE_THREAD}"
"""The power is the low half of a number, and the lowest bit of the high half says that there is."""
_NOT_COUNTED = f"SELECT device_id FROM device FINAL WHERE overlap != '' {_ONE_THREAD}"
_HOLDINGS = f"""
SELECT device_id, workload_id, start_ts, end_ts, share FROM allocation FINAL
WHERE toStartOfHour(start_ts) IN (
          SELECT start_hour FROM allocation_hour
          WHERE hour >= toDateTime({{hour:UInt32}}, 'UTC'))
  AND end_ts >= fromUnixTimestamp64Milli({{since_ms:Int64}}, 'UTC') AND share > 0
{_ONE_THREAD}
"""

Array = NDArray[Any]


def power_now(client: Client, by: str, now: float | None = None) -> list[Record]:
    """Watts of the newest readings per ``by`` (of ``PLACES`` or ``HOLDERS``), largest first.

    ``name`` is "" for nobody. ``devices`` counts those whose power is known, at least in part;
    watts are None where there are none. A meter that contains others, or lies in another, is left
    out. ``now`` (Unix seconds) is the present if None.
    """
    at = time.time() if now is None else now
    device, watts = _watts(client, at)
    if by in PLACES:
        return _summed(_names(client, "device", by, device), watts)
    if by not in HOLDERS:
        raise ValueError(f"power is not summed by {by!r}")
    held_device, holder, part = _held(client, at)
    place = np.searchsorted(device, held_device)
    is_known = place < len(device)
    is_known[is_known] = device[place[is_known]] == held_device[is_known]
    place, holder, part = place[is_known], holder[is_known], part[is_known]
    left = 1 - np.bincount(place, part, len(device))
    nobody = np.flatnonzero(left > ROUNDING)
    names = _names(client, "workload", "name" if by == "workload" else by, holder)
    return _summed(
        np.concatenate([names, np.full(len(nobody), "", np.object_)]),
        np.concatenate([watts[place] * part, watts[nobody] * left[nobody]]),
    )


def _watts(client: Client, now: float) -> tuple[Array, Array]:
    """Return the devices that count, ascending, and their watts, NaN where not known."""
    rows = client.array(_READINGS, _READING)
    apart = client.array(_NOT_COUNTED, _IDS)["device"]
    is_meant = rows["ts"] >= (now - FRESH_S) * 1000
    if len(apart):
        is_meant &= ~np.isin(rows["device"], apart)
    rows = np.sort(rows[is_meant], order="device")
    return rows["device"], np.where(rows["said"] & 1 == 1, rows["power_uw"] / 1e6, np.nan)


def _held(client: Client, now: float) -> tuple[Array, Array, Array]:
    """Return device, workload and part for all that is held; of a device at most the whole."""
    since_ms = round((now - HELD_S) * 1000)
    hour = int(now) // HOUR_S * HOUR_S - HOUR_S
    rows = client.array(_HOLDINGS, _HELD, {"hour": hour, "since_ms": since_ms})
    rows = rows[rows["start"] <= now * 1000]
    rows = rows[np.lexsort((rows["end"], rows["workload"], rows["device"]))]
    key = rows[["device", "workload"]]
    rows = rows[np.append(key[1:] != key[:-1], True)[: len(rows)]]
    _, at = np.unique(rows["device"], return_inverse=True)
    whole = np.bincount(at, rows["share"])
    return rows["device"], rows["workload"], rows["share"] / np.maximum(whole, 1)[at]


def _names(client: Client, table: str, column: str, ids: Array) -> Array:
    """Return what each of ``ids`` is called, "" for one that is not known."""
    unique, at = np.unique(ids, return_inverse=True)
    asked, told = "", {}
    if table == "workload":  # of all that ever ran only these; of devices nearly all are meant
        asked, told = "WHERE workload_id IN {ids:Array(UInt64)}", {"ids": unique.tolist()}
    rows = client.rows(
        f"SELECT {table}_id, {column} FROM {table} FINAL {asked} {_ONE_THREAD}", told
    )
    known = {int(number): str(name) for number, name in rows}
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
