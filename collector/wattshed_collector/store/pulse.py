"""What the fleet does right now, from the rows that pass by: no query, for a status line."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_exporter.model import Device, Overlap

from .insert import Frame
from .rows import Ids

RECENT_MS = 120_000
FEWEST_INTERVALS = 3
BEAT = {"device": "u8", "ts_ms": "i8", "interval_ms": "u4", "power_watts": "f8"}
"""The newest tick of a device; a power that is not said is NaN."""
Beats = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device is: its key, the keys around it, and whether others' energy is in it."""

    key: str
    around: frozenset[str]
    overlap: Overlap


NOWHERE = Place("", frozenset(), Overlap.NONE)


class Pulse:
    """Remembers each device's newest tick; devices unheard of for a while do not count.

    Told by the writer's thread, asked by others.
    """

    def __init__(self, ids: Ids, now: Callable[[], float] = time.time) -> None:
        self._ids = ids
        self._now = now
        self._lock = threading.Lock()
        self._beats = _beats(*(np.empty(0, dtype) for dtype in BEAT.values()))
        """By device, sorted."""
        self._places: dict[int, Place] = {}

    def know(self, devices: Iterable[Device]) -> None:
        """Learn where devices are."""
        for device in devices:
            around = frozenset((device.node, device.parent)) - {""}
            self._places[self._ids[device.key]] = Place(device.key, around, device.overlap)

    def observe(self, ticks: Frame) -> None:
        """Learn the newest of some rows of ``tick``; of equally new ones the last."""
        newest = _newest(ticks)
        with self._lock:
            known = self._beats
            at = np.searchsorted(known["device"], newest["device"])
            inside = at < len(known)
            inside[inside] = known["device"][at[inside]] == newest["device"][inside]
            later = inside.copy()
            later[inside] = newest["ts_ms"][inside] >= known["ts_ms"][at[inside]]
            known[at[later]] = newest[later]
            if not inside.all():
                self._beats = np.insert(known, at[~inside], newest[~inside])

    def devices(self) -> int:
        return len(self._recent())

    def power_watts(self) -> float | None:
        """Return the power of the meters that are counted now; None where none says.

        A meter around others counts while no other of its machine, and none that names it as its
        parent, says its power. Of two around each other the report, which knows the tree, says
        better.
        """
        recent = self._recent()
        watts_of = zip(recent["device"].tolist(), recent["power_watts"].tolist(), strict=True)
        said = [(self._places.get(device, NOWHERE), watts) for device, watts in watts_of]
        known = [
            (place, watts)
            for place, watts in said
            if place.overlap is not Overlap.INNER and not math.isnan(watts)
        ]
        inside = set[str]()
        for place, _ in known:
            inside |= set() if place.overlap is Overlap.OUTER else place.around
        counted = [
            watts
            for place, watts in known
            if place.overlap is not Overlap.OUTER or not inside & {place.key, *place.around}
        ]
        return sum(counted) if counted else None

    def newest_ms(self) -> int | None:
        with self._lock:
            return int(self._beats["ts_ms"].max()) if len(self._beats) else None

    def _recent(self) -> Beats:
        now_ms = self._now() * 1000
        with self._lock:
            beats = self._beats.copy()
        longest = np.maximum(RECENT_MS, FEWEST_INTERVALS * beats["interval_ms"].astype(np.int64))
        return beats[now_ms - beats["ts_ms"] <= longest]


def _beats(*columns: NDArray[Any]) -> Beats:
    beats = np.empty(len(columns[0]), list(BEAT.items()))
    for name, values in zip(BEAT, columns, strict=True):
        beats[name] = values
    return beats


def _newest(ticks: Frame) -> Beats:
    """Return the newest row of each device, by device."""
    columns = ticks.columns
    devices, ts_ms = columns["device_id"].values, columns["ts"].values
    order = np.lexsort((ts_ms, devices))
    last = np.ones(len(order), np.bool_)
    last[:-1] = devices[order][1:] != devices[order][:-1]
    rows = order[last]
    watts = np.full(len(rows), np.nan)
    power = columns.get("power_uw")
    if power is not None:
        watts = power.values[rows] / 1e6
        if power.present is not None:
            watts[~power.present[rows]] = np.nan
    return _beats(devices[rows], ts_ms[rows], columns["interval_ms"].values[rows], watts)
