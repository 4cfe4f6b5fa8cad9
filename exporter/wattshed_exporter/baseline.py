"""How much power a device draws while it is idle, learned from the device itself.

No table can tell: a context alone costs 26 to 66 W on a data-centre GPU, whatever memory it holds
("Model Parking Tax", arXiv 2605.23918), and cards of one model differ. The lowest power ever seen
is no baseline either: it is an outlier by construction and never drifts back up with temperature.
So each stretch of at least half a minute of sure and steady idleness gives one mean, and the
baseline is the lower quartile of the latest of those means.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

BARE, CONTEXT = "bare", "context"
STATES = (BARE, CONTEXT)
KEPT = 64
"""Means that are kept per state; at most one in ten minutes, so ten hours of idleness or more."""
ENOUGH = 3
QUICK = 8
"""So many means are taken as they come; then one in ``SPACING_MS``."""
SPACING_MS = 600_000
STEADY_RATIO, STEADY_WATTS = 0.2, 3.0
"""How far power may range within a stretch that counts as idle: a loaded device is not steady."""
VERSION = 1
SAVE_SECONDS = 600.0
REMEMBERED_MS = 90 * 86_400_000
"""How long a device that is not here any more is remembered."""
MOST_DEVICES = 1000
"""Devices that are remembered beside those that are here, the last seen ones."""

Means = dict[str, list[tuple[int, float]]]
"""Unix milliseconds and watts by state."""


class Baseline:
    """What one device was seen to draw while idle: ``bare``, or with a ``context`` resident.

    Args:
        window_ms: how long it must have been idle at a stretch.
        means: what was learned before, as pairs of Unix milliseconds and watts by state.
    """

    __slots__ = ("_area", "_highest", "_lowest", "_means", "_ms", "_state", "_watts", "_window_ms")

    def __init__(
        self, window_ms: int, means: Mapping[str, Iterable[tuple[int, float]]] | None = None
    ) -> None:
        self._window_ms = window_ms
        # Tuples, because they are saved by another thread than the one that learns.
        self._means = {s: tuple((means or {}).get(s, ()))[-KEPT:] for s in STATES}
        self._watts: dict[str, float | None] = {s: self._level(s) for s in STATES}
        self._state = ""
        self._ms = 0
        self._area = self._lowest = self._highest = 0.0

    def watts(self, state: str) -> float | None:
        """Return the learned power in a state, None until enough was seen of it."""
        return self._watts[state]

    @property
    def means(self) -> Means:
        """What was learned, in the form that ``__init__`` takes."""
        return {state: list(means) for state, means in self._means.items() if means}

    def idle(self, state: str, ts_ms: int, dt_ms: int, watts: float) -> None:
        """Take ``dt_ms`` of sure idleness at a power, up to ``ts_ms``."""
        if state != self._state:
            self._state, self._ms, self._area = state, 0, 0.0
        if not self._ms:
            self._lowest = self._highest = watts
        elif watts < self._lowest:
            self._lowest = watts
        elif watts > self._highest:
            self._highest = watts
        self._ms += dt_ms
        self._area += watts * dt_ms
        if self._ms >= self._window_ms:
            mean = self._area / self._ms
            if self._highest - self._lowest <= max(STEADY_RATIO * mean, STEADY_WATTS):
                self._learn(state, ts_ms, mean)
            self.busy()

    def busy(self) -> None:
        """End the present stretch: the device is not, or not surely, idle."""
        self._state = ""

    def _learn(self, state: str, ts_ms: int, watts: float) -> None:
        means = self._means[state]
        if len(means) >= QUICK and 0 <= ts_ms - means[-1][0] < SPACING_MS:
            return
        self._means[state] = (*means, (ts_ms, watts))[-KEPT:]
        self._watts[state] = self._level(state)

    def _level(self, state: str) -> float | None:
        means = sorted(watts for _, watts in self._means[state])
        return means[len(means) // 4] if len(means) >= ENOUGH else None


class Baselines:
    """The baselines of all devices, kept in ``baselines.json`` where there is a folder for it.

    Args:
        folder: where to keep them; None keeps them in memory only.
        window_seconds: how long a device must be idle at a stretch to be learned from.
        now_ms: Unix time in milliseconds.
    """

    def __init__(
        self,
        folder: Path | None,
        window_seconds: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._now_ms = now_ms
        self._file = folder / "baselines.json" if folder else None
        self._window_ms = round(window_seconds * 1000)
        self._saved_at: float | None = None
        self._warned = False
        self._devices: dict[str, Baseline] = {}
        self._seen_ms: dict[str, int] = {}
        """When each device that is not here was seen last."""
        for key, seen_ms, means in self._load():
            self._devices[key] = Baseline(self._window_ms, means)
            self._seen_ms[key] = seen_ms
        self._forget()

    def of(self, key: str) -> Baseline:
        """Return the baseline of a device, which learns from then on."""
        self._seen_ms.pop(key, None)
        return self._devices.setdefault(key, Baseline(self._window_ms))

    def idle_watts(self, key: str) -> float | None:
        """Return the lowest power at which a device was learned to idle, None for unknown."""
        known = self._devices.get(key)
        levels = [known.watts(state) for state in STATES] if known is not None else []
        return min((watts for watts in levels if watts is not None), default=None)

    def let_go(self, keys: Iterable[str]) -> None:
        """Take note that devices are gone; only those of which something was learned are kept."""
        now_ms = self._now_ms()
        for key in keys:
            baseline = self._devices.get(key)
            if baseline is not None and baseline.means:
                self._seen_ms[key] = now_ms
            else:
                self._devices.pop(key, None)
        self._forget()

    def _forget(self) -> None:
        """Forget devices that were not seen for long, and the first of too many."""
        oldest_ms = self._now_ms() - REMEMBERED_MS
        latest = sorted(self._seen_ms.items(), key=lambda seen: seen[1], reverse=True)
        for at, (key, seen_ms) in enumerate(latest):
            if at >= MOST_DEVICES or seen_ms < oldest_ms:
                self._seen_ms.pop(key, None)
                self._devices.pop(key, None)

    def save_if_due(self, monotonic: float) -> None:
        """Save once in ten minutes."""
        if self._saved_at is None:
            self._saved_at = monotonic
        elif monotonic - self._saved_at >= SAVE_SECONDS:
            self._saved_at = monotonic
            self.save()

    def save(self) -> None:
        """Replace the file as a whole; a failure is told once and changes nothing else."""
        self._forget()
        now_ms = self._now_ms()
        told = {
            key: {"seen_ms": self._seen_ms.get(key, now_ms), **means}
            for key, baseline in list(self._devices.items())
            if (means := baseline.means)
        }
        if self._file is None or not told:
            return
        import json

        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft = self._file.with_suffix(".tmp")
            draft.write_text(json.dumps({"version": VERSION, "devices": told}))
            os.replace(draft, self._file)
        except OSError as error:
            if not self._warned:
                log.warning("learned baselines cannot be kept in %s: %s", self._file, error)
            self._warned = True

    def _load(self) -> list[tuple[str, int, Means]]:
        if self._file is None:
            return []
        # Only where there is a folder, because a node without one need not give the memory.
        import json

        try:
            return _parse(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("learned baselines cannot be read from %s: %s", self._file, error)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            self._set_aside(error)
        return []

    def _set_aside(self, error: Exception) -> None:
        assert self._file is not None
        aside = self._file.with_suffix(".broken")
        log.warning("%s is broken and set aside as %s: %s", self._file, aside.name, error)
        try:
            os.replace(self._file, aside)
        except OSError as failure:
            log.warning("%s cannot be set aside: %s", self._file, failure)


def _parse(told: Any) -> list[tuple[str, int, Means]]:
    """Return what a file says; any of several errors where it is not of our making."""
    if told["version"] != VERSION:
        raise ValueError(f"version {told['version']!r} is not {VERSION}")
    return [
        (
            key,
            int(device["seen_ms"]),
            {s: [_mean(*pair) for pair in device[s]] for s in STATES if s in device},
        )
        for key, device in told["devices"].items()
    ]


def _mean(ts_ms: Any, watts: Any) -> tuple[int, float]:
    if not (isinstance(ts_ms, int) and isinstance(watts, int | float)):
        raise ValueError(f"{ts_ms!r}, {watts!r} is no time and power")
    if not (math.isfinite(watts) and watts >= 0):
        raise ValueError(f"{watts!r} is no power")
    return ts_ms, float(watts)
