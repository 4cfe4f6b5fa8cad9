"""What the fleet does right now, from the rows that pass by: no query, for a status line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from wattshed_exporter.model import Device, Overlap

from .insert import Frame
from .rows import Ids

RECENT_MS = 120_000
FEWEST_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Beat:
    """The newest tick of one device."""

    ts_ms: int
    interval_ms: int
    power_watts: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device is: its key, the keys around it, and whether others' energy is in it."""

    key: str
    around: frozenset[str]
    overlap: Overlap


NOWHERE = Place("", frozenset(), Overlap.NONE)


class Pulse:
    """Remembers each device's newest tick; devices unheard of for a while do not count."""

    def __init__(self, ids: Ids, now: Callable[[], float] = time.time) -> None:
        self._ids = ids
        self._now = now
        self._beats: dict[int, Beat] = {}
        self._places: dict[int, Place] = {}

    def know(self, devices: Iterable[Device]) -> None:
        """Learn where devices are."""
        for device in devices:
            around = frozenset((device.node, device.parent)) - {""}
            self._places[self._ids[device.key]] = Place(device.key, around, device.overlap)

    def observe(self, ticks: Frame) -> None:
        """Learn the newest of some rows of ``tick``."""
        columns = ticks.columns
        ts, interval, power = columns["ts"], columns["interval_ms"], columns.get("power_uw")
        order = np.argsort(ts.values, kind="stable")
        devices = columns["device_id"].values[order].tolist()
        for device, row in dict(zip(devices, order.tolist(), strict=True)).items():
            at, known = int(ts.values[row]), self._beats.get(device)
            if known is not None and known.ts_ms > at:
                continue
            said = power is not None and (power.present is None or bool(power.present[row]))
            watts = float(power.values[row]) / 1e6 if power is not None and said else None
            self._beats[device] = Beat(at, int(interval.values[row]), watts)

    def devices(self) -> int:
        return len(self._recent())

    def power_watts(self) -> float | None:
        """Return the power of the meters that are counted now; None where none says.

        A meter around others counts while no other of its machine, and none that names it as its
        parent, says its power. Of two around each other the report, which knows the tree, says
        better.
        """
        said = [
            (self._places.get(device, NOWHERE), beat.power_watts)
            for device, beat in self._recent().items()
        ]
        known = [
            (place, watts)
            for place, watts in said
            if place.overlap is not Overlap.INNER and watts is not None
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
        return max((beat.ts_ms for beat in dict(self._beats).values()), default=None)

    def _recent(self) -> dict[int, Beat]:
        now_ms = self._now() * 1000
        return {
            device: beat
            for device, beat in dict(self._beats).items()
            if now_ms - beat.ts_ms <= max(RECENT_MS, FEWEST_INTERVALS * beat.interval_ms)
        }
