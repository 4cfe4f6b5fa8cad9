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
        self._overlapping: set[str] = set()

    def observe(self, batch: Batch) -> None:
        for device in batch.devices:
            if device.overlap is not Overlap.NONE:
                self._overlapping.add(device.key)
        for tick in batch.ticks:
            known = self._beats.get(tick.device)
            if known is None or known.ts_ms <= tick.ts_ms:
                self._beats[tick.device] = Beat(tick.ts_ms, tick.interval_ms, tick.power_watts)

    def devices(self) -> int:
        return len(self._recent())

    def power_watts(self) -> float | None:
        """Return the power of the meters that do not overlap; None where none says."""
        known = [
            beat.power_watts
            for key, beat in self._recent().items()
            if key not in self._overlapping and beat.power_watts is not None
        ]
        return sum(known) if known else None

    def newest_ms(self) -> int | None:
        return max((beat.ts_ms for beat in dict(self._beats).values()), default=None)

    def _recent(self) -> dict[str, Beat]:
        now_ms = self._now() * 1000
        return {
            key: beat
            for key, beat in dict(self._beats).items()
            if now_ms - beat.ts_ms <= max(RECENT_MS, FEWEST_INTERVALS * beat.interval_ms)
        }
