"""Power limits as they change, from the rows that are written: a row for each change, and no more.

``bound`` is what was said: ``requested`` is what somebody set, and comes with the readings of a
source that tells it; ``enforced`` is that of a device's description, which a source reads when it
finds the device. A description has no time of its own: it holds from the first reading of the
device beside it on. What comes late (a backlog, imported history) takes its place in time. Times
are full minutes, of which the last thing said counts, so that who sets limits all the time fills no
disk.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

import numpy as np

from .client import Client
from .frames import frame
from .insert import Frame

TABLE = "device_limit"
ENFORCED, REQUESTED = "enforced", "requested"
MINUTE_MS = 60_000
MOST_WATTS = 1e9
MOST_CHANGES = 64
"""Of each device and bound that are remembered, the newest."""
ALL = f"""
SELECT device_id, bound, arraySlice(groupArray((at, uw)), -{MOST_CHANGES}) FROM (
    SELECT device_id, toString(bound) AS bound, toUnixTimestamp64Milli(since_ts) AS at,
           limit_uw AS uw
    FROM device_limit FINAL ORDER BY device_id, bound, since_ts
)
GROUP BY device_id, bound
"""

Key = tuple[int, str]
"""A device and a bound."""
Changes = dict[Key, list[tuple[int, int]]]
"""Times in Unix milliseconds, rising, and the limits in microwatts from then on."""
Said = tuple[int, str, int, int]
"""A device, a bound, when, and microwatts."""
_time = itemgetter(0)


def stored(client: Client) -> Changes:
    """Return the changes that the store holds."""
    return {(device, bound): sorted(map(tuple, said)) for device, bound, said in client.rows(ALL)}


class Limits:
    """Knows the limits of devices, to write only what changed.

    ``now`` gives Unix seconds: when a description holds from that came without a reading.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._known: Changes = defaultdict(list)
        self._is_read = False

    def changes(self, facts: Sequence[Frame], held: Callable[[], Changes | None]) -> Frame | None:
        """Return the rows that ``facts`` add, None where there are none.

        ``held`` is asked once what the store holds; None: nobody can tell now, and what is written
        again then is harmless.
        """
        said = sorted(_said(facts, self._now), key=itemgetter(2))
        if not said:
            return None
        if not self._is_read and (known := held()) is not None:
            self._is_read = True
            for key, changes in known.items():
                for at, uw in self._known[key]:
                    _put(changes, at, uw)
                self._known[key] = changes
        found = list(self._news(said))
        if not found:
            return None
        ids, bounds, times, limits = zip(*found, strict=True)
        return frame(
            TABLE,
            {"device_id": ids, "bound": bounds, "since_ts": times, "limit_uw": limits},
        )

    def remember(self, rows: Frame) -> None:
        """These rows are in the store."""
        values = (rows.columns[name].values.tolist() for name in rows.columns)
        for device, bound, at, uw in zip(*values, strict=True):
            changes = self._known[device, bound]
            _put(changes, at, uw)
            del changes[:-MOST_CHANGES]

    def _news(self, said: Sequence[Said]) -> Iterator[Said]:
        """Give of what was said, in the order of time, what differs from what held before."""
        added: Changes = {}
        for device, bound, ms, uw in said:
            key, at = (device, bound), ms // MINUTE_MS * MINUTE_MS
            changes = added.get(key) or self._known.get(key, [])
            place = bisect_right(changes, at, key=_time)
            if place and changes[place - 1][1] == uw:
                continue
            added[key] = [*changes]
            _put(added[key], at, uw)
            yield device, bound, at, uw


def _put(changes: list[tuple[int, int]], at: int, uw: int) -> None:
    place = bisect_right(changes, at, key=_time)
    begin = place - 1 if place and changes[place - 1][0] == at else place
    changes[begin:place] = [(at, uw)]


def _said(facts: Sequence[Frame], now: Callable[[], float]) -> Iterator[Said]:
    for rows in facts:
        if rows.table == "device":
            yield from _described(rows, facts, now)
        elif rows.table == "detail":
            yield from _requested(rows)


def _described(rows: Frame, facts: Sequence[Frame], now: Callable[[], float]) -> Iterator[Said]:
    ids, limits = rows.columns["device_id"].values, rows.columns["power_limit_watts"]
    known = (limits.values > 0) & (limits.values < MOST_WATTS)
    present = known if limits.present is None else known & limits.present
    if not present.any():
        return
    firsts = _firsts(facts)
    for device, watts in zip(ids[present].tolist(), limits.values[present].tolist(), strict=True):
        yield device, ENFORCED, firsts.get(device) or round(now() * 1000), round(watts * 1e6)


def _firsts(facts: Sequence[Frame]) -> dict[int, int]:
    """Return the first time, Unix milliseconds, of the readings of each device."""
    ticks = next((rows for rows in facts if rows.table == "tick"), None)
    if ticks is None:
        return {}
    ids, times = ticks.columns["device_id"].values, ticks.columns["ts"].values
    order = np.lexsort((times, ids))
    ids, times = ids[order], times[order]
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
    return dict(zip(ids[starts].tolist(), times[starts].tolist(), strict=True))


def _requested(rows: Frame) -> Iterator[Said]:
    column = rows.columns.get("requested_limit_uw")
    if column is None:
        return
    present = np.ones(len(rows), bool) if column.present is None else column.present
    said = (rows.columns["device_id"].values, rows.columns["ts"].values, column.values)
    for device, at, uw in zip(*(values[present].tolist() for values in said), strict=True):
        yield device, REQUESTED, at, uw
