"""What a meter cannot have meant: limits of belief, sensors that hang, counters that disagree.

Every guard only looks: it says that a value is to be dropped, or that something deserves a flag
with a reason, and never makes up a number. Sources: Intel xpumanager issue 130 (3.69e12 W from an
unsigned underflow), AMD amdsmi issue 38 and rocm_smi_lib issue 180 (counters that stand still),
Zeus issue 181 (a counter at half of what power says), and the SC24 study of GPU sensors by Yang et
al. (polling faster than the sensor updates only repeats values).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .model import MICRO, Device, Kind

PLAUSIBLE = 1.2
"""Power above this multiple of the device's limit is a fault of the sensor."""
CEILING_WATTS = {
    Kind.CPU: 5e3,
    Kind.GPU: 1e4,
    Kind.MEMORY: 5e3,
    Kind.MODULE: 2e4,
    Kind.BOARD: 2e4,
    Kind.HOST: 1e6,
    Kind.BATTERY: 1e6,
    Kind.SITE: 1e10,
}
"""Power that no device of a kind draws, where it has no limit of its own."""
JUMP = 10
"""A counter that gains more than this multiple of the device's limit did not count but jumped."""
LARGEST_UJ = 2**63 - 1
"""Largest energy that the store can hold; what an underflow leaves is above it."""
LARGEST_BYTES = 2**47
"""Memory from which on a value is a sentinel: drivers say 2**47 or 2**63 for not known."""
COLDEST, HOTTEST = -100.0, 250.0
STEP_MS = 1000
"""A wall clock that moves by more than this against the monotonic clock was set."""
DRIFT_RATIO = 1e-3
"""How fast a clock may be slewed without having been set; the kernel slews by half of that."""
BACK_MS = 60_000
"""After a step back by more than this a meter starts anew; after less it waits for the time."""

FROZEN = "counter_frozen"
FROZEN_MS = 60_000
FROZEN_STEPS = 5
"""Steps of its usual size that a counter must have missed before it counts as frozen."""
FROZEN_UJ = 10_000 * MICRO
"""The same for a counter that has never been seen to move: more than two watt-hours."""
FROZEN_POWER_MS = 300_000
FROZEN_POWER_LOAD = 0.5
"""How far utilisation must have moved while power stayed the same to the last bit."""
WINDOW_MS = 300_000
WINDOW_STEPS = 20
"""Steps of the counter that a comparison needs, so that the step itself is below 5 % of it."""
AGREE = (0.9, 1.1)
SPACINGS = 32


def most_watts(device: Device) -> float:
    """Return the highest power of a device that can be believed."""
    limit = device.power_limit_watts
    return PLAUSIBLE * limit if limit else CEILING_WATTS[device.kind]


def jump_watts(device: Device) -> float:
    """Return the mean power above which a counter that does not wrap must have jumped."""
    return JUMP * (device.power_limit_watts or CEILING_WATTS[device.kind])


@dataclass(slots=True)
class ClockWatch:
    """Tells when the time of day was set, by a clock that only ever runs forward.

    A machine that was suspended looks the same as one whose clock was set forward: the monotonic
    clock stood still meanwhile.
    """

    wall_ms: int = 0
    """The time of day at the last look."""
    _monotonic: float | None = None

    def step_ms(self, wall_ms: int, monotonic: float) -> int:
        """Return by how much the clock was set since the last look; 0 where it was not."""
        before, since = self.wall_ms, self._monotonic
        self.wall_ms, self._monotonic = wall_ms, monotonic
        if since is None:
            return 0
        elapsed_ms = (monotonic - since) * 1000
        step = wall_ms - before - elapsed_ms
        return round(step) if abs(step) > STEP_MS + DRIFT_RATIO * elapsed_ms else 0


@dataclass(slots=True)
class CounterGuard:
    """Holds a counter against power: whether it moves, and by as much as power says.

    ``ratio`` is energy by the counter over energy by power in the last full window of at least
    five minutes; ``frozen`` that the counter stands still although the device draws power.
    """

    ratio: float | None = None
    frozen: bool = False
    _still_ms: int = 0
    _missed_uj: float = 0.0
    _step_uj: int = 0
    _window_ms: int = 0
    _counted_uj: int = 0
    _powered_uj: float = 0.0

    def feed(self, dt_ms: int, gained_uj: int, power_uj: float) -> str:
        """Take what counter and power say of the last ``dt_ms``; return a reason to flag, or ""."""
        if not gained_uj:
            self._still_ms += dt_ms
            self._missed_uj += power_uj
            if self._still_ms >= FROZEN_MS and not self.frozen and self._misses():
                self.frozen = True
                self.forget()
                return FROZEN
        else:
            if self._still_ms:
                self.frozen, self._still_ms, self._missed_uj = False, 0, 0.0
            if not self._step_uj or gained_uj < self._step_uj:
                self._step_uj = gained_uj
        if self.frozen:
            return ""
        window_ms = self._window_ms = self._window_ms + dt_ms
        self._counted_uj += gained_uj
        self._powered_uj += power_uj
        return self._compare() if gained_uj and window_ms >= WINDOW_MS else ""

    def forget(self) -> None:
        """Begin a new window: time, counter or power was not continuous."""
        self._window_ms, self._counted_uj, self._powered_uj = 0, 0, 0.0
        if not self.frozen:
            self._still_ms, self._missed_uj = 0, 0.0

    def _misses(self) -> bool:
        return self._missed_uj >= (FROZEN_STEPS * self._step_uj or FROZEN_UJ)

    def _compare(self) -> str:
        if self._powered_uj < WINDOW_STEPS * self._step_uj:
            return ""
        self.ratio = self._counted_uj / self._powered_uj
        self.forget()
        return "" if AGREE[0] <= self.ratio <= AGREE[1] else "counter_power_mismatch"


@dataclass(slots=True)
class PowerGuard:
    """Tells values that a sensor merely repeats from a sensor that hangs.

    ``period_ms`` is how often the sensor gives a new value, from the spacing of distinct values
    (the lower quartile, because the same value may also come twice in truth); None until known.
    """

    period_ms: float | None = None
    _watts: float | None = None
    _since_ms: int = 0
    _lowest: float = 1.0
    _highest: float = 0.0
    _flagged: bool = False
    _spacings: deque[int] = field(default_factory=lambda: deque(maxlen=SPACINGS))
    _changes: int = 0

    def feed(self, ts_ms: int, watts: float, utilization: float | None, interval_ms: int) -> str:
        """Take a reading; return ``repeated_value`` or ``frozen_power``, else ""."""
        if watts != self._watts:
            if self._watts is not None and ts_ms > self._since_ms:
                self._spacing(ts_ms - self._since_ms)
            self._watts, self._since_ms = watts, ts_ms
            self._lowest, self._highest, self._flagged = 1.0, 0.0, False
            return ""
        same_ms = ts_ms - self._since_ms
        if utilization is not None:
            self._lowest = min(self._lowest, utilization)
            self._highest = max(self._highest, utilization)
        moved = self._highest - self._lowest >= FROZEN_POWER_LOAD
        if same_ms >= FROZEN_POWER_MS and moved and not self._flagged:
            self._flagged = True
            return "frozen_power"
        period = self.period_ms
        faster = period is not None and period > 1.5 * interval_ms and same_ms < period
        return "repeated_value" if faster else ""

    def forget(self) -> None:
        """Begin anew: time was not continuous."""
        self._watts = None

    def _spacing(self, spacing_ms: int) -> None:
        self._spacings.append(spacing_ms)
        self._changes += 1
        if self._changes % SPACINGS == 0:
            self.period_ms = float(sorted(self._spacings)[SPACINGS // 4])
