"""From readings to ticks: one ``Meter`` per device unwraps its counter or integrates its power.

Pure and without I/O or clock. The published counter never decreases while ``start_ms`` stays the
same, so whoever reads it gets energy by difference and sees from a new ``start_ms`` that the time
before it is unknown:

* a hardware counter that does not wrap is published raw, so that what was burned while the
  exporter was away comes back by difference;
* a wrapping counter is unwrapped in integers, from zero at the first reading;
* power without a counter is integrated as a trapezoid, from zero at the first reading, and from
  zero again after every gap, because nobody knows what was burned in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .model import MICRO, Device, Kind, Method, Reading, Tick
from .split import GAP_INTERVALS

PLAUSIBLE = 1.2
"""Power above this multiple of the device's limit is a fault of the sensor."""
CEILING_WATTS = {Kind.CPU: 1000.0, Kind.MEMORY: 1000.0}
"""Power that no wrapping counter of a kind exceeds, where the device has no limit of its own."""
OTHER_CEILING_WATTS = 10_000.0
JUMP = 10
"""A counter that gains more than this multiple of the device's limit did not count but jumped."""
LARGEST_UJ = 2**63 - 1
"""Largest energy that the store can hold."""


@dataclass(slots=True)
class Meter:
    """The state of one device between two readings.

    Args:
        device: what is read; its counter range and power limit decide what is plausible.
        interval_ms: nominal time between two readings.
        boot_ms: when the machine started, and with it a counter that does not wrap; None where
            that says nothing about the counter, as in a recording.
    """

    device: Device
    interval_ms: int
    boot_ms: int | None = None
    unknown_ms: dict[str, int] = field(default_factory=dict)
    """Milliseconds so far in which the energy is unknown, by reason."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Readings and values so far that could not be believed, by reason."""
    _last_ms: int | None = None
    _seen_ms: int | None = None
    _gap: str = ""
    _counting: bool = False
    _raw_uj: int | None = None
    _raw_ms: int = 0
    _total_uj: int | None = None
    _start_ms: int | None = None
    _power_watts: float | None = None
    _power_ms: int = 0
    _remainder_uj: float = 0.0

    def feed(self, reading: Reading) -> Tick | None:
        """Return the tick of a reading, or None where it repeats or precedes the one before."""
        if self._last_ms is not None and reading.ts_ms <= self._last_ms:
            self._reject("duplicate" if reading.ts_ms == self._last_ms else "out_of_order")
            return None
        power = self._believable_power(reading.power_watts)
        energy = self._believable_energy(reading.ts_ms, reading.energy_uj)
        if reading.gap or (power is None and energy is None):
            return self._gap_tick(reading, reading.gap or self._blame(reading))
        tick = self._tick(reading, power, energy)
        self._last_ms = reading.ts_ms
        self._seen_ms = max(reading.ts_ms, self._seen_ms or 0)
        return tick

    def _tick(self, reading: Reading, power: float | None, energy: int | None) -> Tick:
        ts_ms = reading.ts_ms
        if energy is not None:
            self._count(ts_ms, energy, reading.start_ms)
        elif power is not None and not self._counting:
            self._integrate(ts_ms, power)
        published = energy is not None or not self._counting
        self._power_watts, self._power_ms, self._gap = power, ts_ms, ""
        return Tick(
            device=self.device.key,
            ts_ms=ts_ms,
            interval_ms=self.interval_ms,
            method=self._method(published and self._counting and self._total_uj is not None),
            power_watts=power,
            energy_uj=self._total_uj if published else None,
            start_ms=self._start_ms if published and self._total_uj is not None else None,
            utilization_ratio=self._ratio(reading.utilization_ratio),
            memory_used_bytes=reading.memory_used_bytes,
            temperature_celsius=_finite(reading.temperature_celsius),
        )

    def _gap_tick(self, reading: Reading, reason: str) -> Tick:
        if not self._counting:
            self._lose(self._gap or reason, self._seen_ms, reading.ts_ms)
        self._gap, self._seen_ms = reason, max(reading.ts_ms, self._seen_ms or 0)
        return Tick(
            device=self.device.key,
            ts_ms=reading.ts_ms,
            interval_ms=self.interval_ms,
            method=Method.UNKNOWN,
            utilization_ratio=self._ratio(reading.utilization_ratio),
            memory_used_bytes=reading.memory_used_bytes,
            temperature_celsius=_finite(reading.temperature_celsius),
            gap=reason,
        )

    def _method(self, counted: bool) -> Method:
        if self.device.method in (Method.SIMULATED, Method.ESTIMATED):
            return self.device.method
        return Method.COUNTER if counted else Method.INTEGRAL

    def _count(self, ts_ms: int, energy_uj: int, start_ms: int | None) -> None:
        if not self._counting and self._total_uj is not None:
            # The counter appeared late: its total is not that of the integral published so far,
            # so one tick goes without energy and the difference is never taken.
            self._counting, self._total_uj, self._start_ms = True, None, None
        elif self.device.counter_range_uj is None:
            self._follow(ts_ms, energy_uj, start_ms)
        else:
            self._unwrap(ts_ms, energy_uj, self.device.counter_range_uj)
        self._counting = True
        self._raw_uj, self._raw_ms = energy_uj, ts_ms

    def _follow(self, ts_ms: int, energy_uj: int, start_ms: int | None) -> None:
        """Publish the counter as it is; where it fell, it started anew after the last reading."""
        if start_ms is None and self._start_ms is None and self.boot_ms is not None:
            start_ms = min(self.boot_ms, ts_ms)
        if self._raw_uj is not None and energy_uj < self._raw_uj:
            start_ms = max(self._raw_ms, start_ms or 0)
            self._reject("counter_reset")
        if start_ms is not None:
            self._start_ms = max(start_ms, self._start_ms or 0)
        self._total_uj = energy_uj

    def _unwrap(self, ts_ms: int, energy_uj: int, range_uj: int) -> None:
        gained = self._gained(ts_ms, energy_uj, range_uj)
        if gained is None or self._total_uj is None:
            if self._raw_uj is not None:
                self._lose(self._gap or "reset", self._raw_ms, ts_ms)
            self._total_uj, self._start_ms = 0, ts_ms
        else:
            self._total_uj += gained

    def _gained(self, ts_ms: int, energy_uj: int, range_uj: int) -> int | None:
        """Return the energy since the last reading, or None where it cannot be known."""
        if self._raw_uj is None:
            return None
        ceiling_watts = CEILING_WATTS.get(self.device.kind, OTHER_CEILING_WATTS)
        limit_watts = self.device.power_limit_watts or ceiling_watts
        most_uj = PLAUSIBLE * limit_watts * (ts_ms - self._raw_ms) / 1000 * MICRO
        if most_uj >= range_uj:
            self._reject("wrap_ambiguous")  # it may have gone round more than once
            return None
        if energy_uj >= self._raw_uj:
            return energy_uj - self._raw_uj
        wrapped_uj = energy_uj - self._raw_uj + range_uj
        if 0 <= wrapped_uj <= most_uj:
            return wrapped_uj
        self._reject("counter_reset")
        return energy_uj if energy_uj <= most_uj else None

    def _integrate(self, ts_ms: int, power_watts: float) -> None:
        before_watts = self._power_watts
        dt_ms = ts_ms - self._power_ms
        if self._total_uj is None or before_watts is None:
            self._total_uj, self._start_ms, self._remainder_uj = 0, ts_ms, 0.0
        elif self._gap or dt_ms > GAP_INTERVALS * self.interval_ms:
            self._lose(self._gap or "no_data", self._seen_ms, ts_ms)
            self._total_uj, self._start_ms, self._remainder_uj = 0, ts_ms, 0.0
        else:
            gained = (before_watts + power_watts) / 2 * dt_ms / 1000 * MICRO + self._remainder_uj
            self._total_uj += int(gained)
            self._remainder_uj = gained - int(gained)

    def _believable_power(self, watts: float | None) -> float | None:
        limit = self.device.power_limit_watts
        if watts is None:
            return None
        if not math.isfinite(watts) or watts < 0 or (limit and watts > PLAUSIBLE * limit):
            self._reject("impossible_power")
            return None
        return watts

    def _believable_energy(self, ts_ms: int, energy_uj: int | None) -> int | None:
        if energy_uj is None:
            return None
        if not 0 <= energy_uj <= LARGEST_UJ:
            self._reject("impossible_energy")
            return None
        if self._raw_uj and self.device.counter_range_uj is None:
            # Believing a wrong value would make the whole counter new energy, now or next time.
            gained = energy_uj if energy_uj < self._raw_uj else energy_uj - self._raw_uj
            if energy_uj == 0 or gained > self._most_uj(ts_ms):
                self._reject("counter_jump" if energy_uj else "zero_counter")
                return None
        return energy_uj

    def _most_uj(self, ts_ms: int) -> float:
        limit = self.device.power_limit_watts
        # One second more, because a counter may be updated less often than it is read.
        seconds = (ts_ms - self._raw_ms) / 1000 + 1
        return math.inf if limit is None else JUMP * limit * seconds * MICRO

    def _ratio(self, ratio: float | None) -> float | None:
        if ratio is None:
            return None
        if not 0 <= ratio <= 1:
            self._reject("impossible_utilization")
            return None
        return ratio

    def _blame(self, reading: Reading) -> str:
        if reading.power_watts is not None:
            return "impossible_power"
        return "no_data" if reading.energy_uj is None else "impossible_energy"

    def _lose(self, reason: str, since_ms: int | None, ts_ms: int) -> None:
        if since_ms is not None and ts_ms > since_ms:
            self.unknown_ms[reason] = self.unknown_ms.get(reason, 0) + ts_ms - since_ms

    def _reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
