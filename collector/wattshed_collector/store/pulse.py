"""What the fleet does right now, from the batches that pass by: no query, for a status line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from wattshed_exporter.model import Batch, Overlap

RECENT_MS = 120_000
FEWEST_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Beat:
    """The newest tick of one device."""

    ts_ms: int
    interval_ms: int
    power_watts: float | None


class Pulse:
    """Remembers each device's newest tick; devices unheard of for a while do not count."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._beats: dict[str, Beat] = {}
        self._inner: set[str] = set()
        self._outer: set[str] = set()
        self._around: dict[str, set[str]] = {}

    def observe(self, batch: Batch) -> None:
        for device in batch.devices:
            for overlap, keys in ((Overlap.INNER, self._inner), (Overlap.OUTER, self._outer)):
                (keys.add if device.overlap is overlap else keys.discard)(device.key)
            self._around[device.key] = {device.node, device.parent} - {""}
        for tick in batch.ticks:
            known = self._beats.get(tick.device)
            if known is None or known.ts_ms <= tick.ts_ms:
                self._beats[tick.device] = Beat(tick.ts_ms, tick.interval_ms, tick.power_watts)

    def devices(self) -> int:
        return len(self._recent())

    def power_watts(self) -> float | None:
        """Return the power of the meters that are counted now; None where none says.

        A meter around others counts while no other of its machine, and none that names it as its
        parent, says its power. Of two around each other the report, which knows the tree, says
        better.
        """
        known = {
            key: beat.power_watts
            for key, beat in self._recent().items()
            if key not in self._inner and beat.power_watts is not None
        }
        inside = set[str]()
        for key in known:
            inside |= set() if key in self._outer else self._around.get(key, set())
        counted = [
            watts
            for key, watts in known.items()
            if key not in self._outer or not inside & {key, *self._around.get(key, set())}
        ]
        return sum(counted) if counted else None

    def newest_ms(self) -> int | None:
        return max((beat.ts_ms for beat in dict(self._beats).values()), default=None)

    def _recent(self) -> dict[str, Beat]:
        now_ms = self._now() * 1000
        return {
            key: beat
            for key, beat in dict(self._beats).items()
            if now_ms - beat.ts_ms <= max(RECENT_MS, FEWEST_INTERVALS * beat.interval_ms)
        }
