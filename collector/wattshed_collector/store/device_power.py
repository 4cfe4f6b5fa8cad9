"""The power of one device by the minute: from a row for each hour that is over, else from readings.

``tick`` is ordered by the hour first, so that a day of one device costs a granule for each hour.
The ledger therefore keeps in ``power_hour`` what a device's readings of an hour were by the minute.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from wattshed_exporter.model import stable_id

from .client import Client
from .energy_queries import HOUR_S, Record
from .pieces_sql import HI, LO, MINE

MINUTE_S, MINUTES = 60, 60
SETTLED_S = 300
"""An hour that ended so long ago was computed after its last reading, if the ledger runs. What
comes later is in the answer with the ledger's next run, as it is in energy."""
HOURS_AT_ONCE = 2000
"""A server takes 128 KiB of one parameter (http_max_field_value_size)."""

POWER_HOURS = f"""
INSERT INTO power_hour (device_id, hour, watts, readings, version)
SELECT device_id, hour, groupArrayInsertAt(toFloat32(nan), {MINUTES})(toFloat32(watts), minute),
       groupArrayInsertAt(toUInt32(0), {MINUTES})(toUInt32(readings), minute), {{version:UInt64}}
FROM (
    SELECT toStartOfHour(ts) AS hour, device_id, toUInt32(toMinute(ts)) AS minute,
           avg(assumeNotNull(power_uw)) / 1e6 AS watts, count() AS readings
    FROM tick FINAL
    WHERE toStartOfHour(ts) >= {LO} AND toStartOfHour(ts) < {HI} AND {MINE}
      AND isNotNull(power_uw)
    GROUP BY hour, device_id, minute
)
GROUP BY device_id, hour
SETTINGS max_threads = 1
"""
"""Writes the hours of [lo, hi) of a slice of the fleet; each reading counts once."""

_HOURS = """
SELECT {columns} FROM power_hour FINAL
PREWHERE device_id = {{device:UInt64}} AND hour >= {{first:UInt32}}
SETTINGS max_threads = 1
"""
"""To plan for a window's end as well costs more than the rows after it: most end now."""
_HOUR = [("hour", "<u4"), ("length", "u1"), ("watts", "<f4", MINUTES)]
_COUNTED = [*_HOUR, ("length_too", "u1"), ("readings", "<u4", MINUTES)]
"""Rows as RowBinary has them: the length of an array stands before it, in one byte up to 127."""

_READINGS = """
SELECT toUInt32(intDiv(toUnixTimestamp(at), 60) * 60) AS t, avg(said) / 1e6 AS watts,
       toUInt64(count()) AS readings
FROM (
    SELECT ts AS at, argMax(assumeNotNull(power_uw), ingested_at) AS said FROM tick
    PREWHERE device_id = {device:UInt64}
    WHERE toStartOfHour(ts) IN {hours:Array(DateTime('UTC'))} AND isNotNull(power_uw)
    GROUP BY ts
)
GROUP BY t SETTINGS max_threads = 1
"""
"""A reading that came twice counts once; to have the engine merge for that took twice as long, and
so did a window's begin and end beside the hours."""
_MINUTE = np.dtype([("t", "<u4"), ("watts", "<f8"), ("readings", "<u8")])
Minutes = NDArray[np.void]


def device_power(
    client: Client, device: str, since: int, until: int, step: int, now: float | None = None
) -> list[Record]:
    """Mean watts of one device's readings per step of ``step`` seconds, ascending by ``t``.

    Steps are whole minutes, and so are those that the window begins and ends with. ``now`` (Unix
    seconds) is the present if None.
    """
    at = time.time() if now is None else now
    number, since = stable_id(device), since // MINUTE_S * MINUTE_S
    first, beyond = since // HOUR_S * HOUR_S, -(-until // HOUR_S) * HOUR_S
    end = min(beyond, int(at - SETTLED_S) // HOUR_S * HOUR_S)
    told = _of_hours(client, number, (first, end), step > MINUTE_S)
    known = set(told["hour"].tolist())
    hours = [h for h in range(first, until, HOUR_S) if h not in known]
    read = [
        client.array(_READINGS, _MINUTE, {"device": number, "hours": hours[n : n + HOURS_AT_ONCE]})
        for n in range(0, len(hours), HOURS_AT_ONCE)
    ]
    minutes = np.concatenate([_minutes(told), *read])
    return _stepped(minutes[(minutes["t"] >= since) & (minutes["t"] < until)], step)


def _of_hours(
    client: Client, number: int, window: tuple[int, int], are_counted: bool
) -> NDArray[np.void]:
    """Return what is kept of the hours of a window, how many readings a minute had if asked for.

    Each column that is not read saves a fifth of what the answer costs.
    """
    first, end = window
    if first >= end:
        return np.empty(0, _HOUR)
    names = ", ".join(name for name in ("hour", "watts", "readings")[: 2 + are_counted])
    kind = np.dtype(_COUNTED if are_counted else _HOUR)
    sql = _HOURS.format(columns=names)
    rows = client.array(sql, kind, {"device": number, "first": first})
    return rows[rows["hour"] < end]


def _minutes(hours: NDArray[np.void]) -> Minutes:
    """Return the minutes of ``hours`` in which anything was read, of one reading unless told."""
    minutes = np.empty((len(hours), MINUTES), _MINUTE)
    minutes["t"] = hours["hour"][:, None] + np.arange(MINUTES, dtype="<u4") * MINUTE_S
    minutes["watts"] = hours["watts"]
    minutes["readings"] = hours["readings"] if "readings" in (hours.dtype.names or ()) else 1
    read: Minutes = minutes[~np.isnan(minutes["watts"])]
    return read


def _stepped(minutes: Minutes, step: int) -> list[Record]:
    """Return the mean of all readings of each step; a minute counts by how many it has."""
    times, at = np.unique(minutes["t"] // step * step, return_inverse=True)
    sums = np.bincount(at, minutes["watts"] * minutes["readings"], len(times))
    watts = sums / np.bincount(at, minutes["readings"], len(times))
    return [{"t": t, "watts": mean} for t, mean in zip(times.tolist(), watts.tolist(), strict=True)]
