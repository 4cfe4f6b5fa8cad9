"""What each device was doing, in seconds and joules: busy, idle in one of four ways, or unknown.

Two signals that fail independently decide. A driver's utilisation says 0 for a board in MIG mode,
and profiling counters can say 0 under full load (dcgm-exporter issues 216 and 662), so whichever
of the two sees work is believed; and where both see none, power still has to be near the learned
baseline before the device counts as idle. Power well above it, with nothing done, is a process that
runs without working: execution idle. What cannot be told is ``unknown``, never guessed:

* without utilisation or activity there is only power, which tells idle by a baseline, or nothing;
* the utilisation of a GPU that was never seen to move may be one of those zeros;
* nobody saw what happened in a gap, although its energy may be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .baseline import BARE, CONTEXT, Baseline
from .config import Idle
from .model import MICRO, Allocation, Detail, Device, Kind, Reading, Tick
from .split import GAP_INTERVALS, spans

CLASSES = (
    "unknown",
    "unallocated",
    "allocated_no_context",
    "parked",
    "execution_idle",
    "busy",
)
UNKNOWN, UNALLOCATED, ALLOCATED, PARKED, EXECUTION_IDLE, BUSY = range(6)
DOUBTED = frozenset({Kind.GPU, Kind.MODULE})
"""Kinds whose utilisation alone is not believed before it was seen to move."""
IDLE_LIMIT_RATIO = 0.5
"""No device idles above this share of its power limit, whatever its counters say."""
HELD = 32
"""Allocations of one device that are remembered, the latest ones."""
DEVICES_HELD = 10_000
"""Devices whose allocations are remembered, the latest ones to be held first."""
HELD_MS = 30_000
"""How long an allocation is taken to go on after its end was last told."""


class Holdings:
    """Who holds which device, from the allocations that pass by in samples of any source."""

    def __init__(self) -> None:
        self._held: dict[str, dict[tuple[str, int], int]] = {}

    def take(self, allocations: Sequence[Allocation]) -> None:
        """Remember allocations; one that goes on is told again with a later end."""
        for a in allocations:
            if a.share > 0:
                # A new dict, because another thread may be looking at this one.
                held = {**self._held.get(a.device, {}), (a.workload, a.start_ms): a.end_ms}
                if len(held) > HELD:
                    del held[min(held, key=held.__getitem__)]
                self._held[a.device] = held
        while len(self._held) > DEVICES_HELD:
            del self._held[next(iter(self._held))]

    def holds(self, device: str, ts_ms: int) -> bool:
        """Return whether somebody holds the device at a time, or did so until a moment ago."""
        held = self._held.get(device)
        return held is not None and any(
            start_ms <= ts_ms <= end_ms + HELD_MS for (_, start_ms), end_ms in held.items()
        )


class Activity:
    """Time and energy of one device by class, since its first reading or a clock that was set back.

    Args:
        device: what is read.
        idle: the thresholds.
        baseline: what the device draws while idle; it learns from what passes by here.
        holdings: who holds which device.
    """

    __slots__ = (
        "_alive",
        "_baseline",
        "_below",
        "_device",
        "_factor",
        "_gap",
        "_holdings",
        "_idle_watts",
        "_last",
        "_start_ms",
        "microjoules",
        "milliseconds",
    )

    def __init__(self, device: Device, idle: Idle, baseline: Baseline, holdings: Holdings) -> None:
        self.milliseconds = [0] * len(CLASSES)
        self.microjoules = [0] * len(CLASSES)
        self._below = idle.activity_below
        self._factor = 1 + idle.power_above_baseline
        self._baseline = baseline
        self._holdings = holdings
        self._last: Tick | None = None
        self._gap: Tick | None = None
        self._start_ms: int | None = None
        # What was learned before was learned from a signal that moved.
        self._alive = any(baseline.watts(state) is not None for state in (BARE, CONTEXT))
        self.adopt(device)

    def adopt(self, device: Device) -> None:
        """Take what is now known of the device."""
        self._device = device
        limit = device.power_limit_watts
        self._idle_watts = IDLE_LIMIT_RATIO * limit if limit else float("inf")

    def clock_set(self, gap: Tick) -> None:
        """Take the gap that a clock left; begin anew where it shows a time again."""
        if self._last is None or gap.ts_ms > self._last.ts_ms:
            self._gap = self._gap or gap
            return
        self.milliseconds = [0] * len(CLASSES)
        self.microjoules = [0] * len(CLASSES)
        self._last = self._gap = self._start_ms = None
        self._baseline.busy()

    def feed(self, tick: Tick, reading: Reading) -> None:
        """Book the time and the energy since the last tick under what the device was doing."""
        if tick.gap and tick.power_watts is None:
            self._gap = self._gap or tick
            return
        last, self._last = self._last, tick
        if last is None:
            self._start_ms, self._gap = tick.ts_ms, None
            return
        dt_ms = tick.ts_ms - last.ts_ms
        energy_uj = tick.energy_uj
        if energy_uj is not None and last.energy_uj is not None and tick.start_ms == last.start_ms:
            gained = max(0, energy_uj - last.energy_uj)
        else:
            gained = _known_uj(last, self._gap, tick)
        if self._gap is not None or dt_ms > GAP_INTERVALS * tick.interval_ms:
            self._gap = None
            self._baseline.busy()
            index = UNKNOWN
        else:
            watts = tick.power_watts
            if watts is None:
                watts = gained / dt_ms / 1000
            index = self._class(tick, reading, watts, dt_ms)
        self.milliseconds[index] += dt_ms
        self.microjoules[index] += gained

    def details(self) -> Iterator[Detail]:
        """Yield seconds and joules of each class seen so far, and the baselines as learned."""
        if self._last is None:
            return
        key, ts_ms = self._device.key, self._last.ts_ms
        for index, name in enumerate(CLASSES):
            if self.milliseconds[index]:
                for metric, value in (
                    ("wattshed_activity_seconds_total", self.milliseconds[index] / 1000),
                    ("wattshed_activity_joules_total", self.microjoules[index] / MICRO),
                ):
                    yield Detail(key, metric, ts_ms, value, (name,), self._start_ms)
        for state in (BARE, CONTEXT):
            watts = self._baseline.watts(state)
            if watts is not None:
                yield Detail(key, "wattshed_idle_baseline_watts", ts_ms, watts, (state,))

    def _class(self, tick: Tick, reading: Reading, watts: float, dt_ms: int) -> int:
        used, worked = tick.utilization_ratio, reading.activity_ratio
        if (used is not None and used >= self._below) or (
            worked is not None and worked >= self._below
        ):
            self._alive = True
            self._baseline.busy()
            return BUSY
        context = bool(reading.contexts)
        level = self._level(context)
        if used is None and worked is None:
            self._baseline.busy()
            known = level is not None and watts <= level * self._factor
            return self._idle(context, tick.ts_ms) if known else UNKNOWN
        doubted = used is None or worked is None
        if doubted and not self._alive and self._device.kind in DOUBTED:
            return UNKNOWN
        if watts > self._idle_watts:
            self._baseline.busy()
            return UNKNOWN if level is None else EXECUTION_IDLE
        self._baseline.idle(CONTEXT if context else BARE, tick.ts_ms, dt_ms, watts)
        if level is not None and watts > level * self._factor:
            return EXECUTION_IDLE
        return self._idle(context, tick.ts_ms)

    def _level(self, context: bool) -> float | None:
        return self._baseline.watts(CONTEXT if context else BARE)

    def _idle(self, context: bool, ts_ms: int) -> int:
        if context:
            return PARKED
        held = self._holdings.holds(self._device.key, ts_ms)
        return ALLOCATED if held else UNALLOCATED


def _known_uj(last: Tick, gap: Tick | None, tick: Tick) -> int:
    """Return the energy that the ledger will know of between two ticks."""
    between = (last, tick) if gap is None or gap.ts_ms <= last.ts_ms else (last, gap, tick)
    return sum(round(s.joules * MICRO) for s in spans(between) if s.joules is not None)
