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
from dataclasses import dataclass, field, replace

from .guards import (
    BACK_MS,
    COLDEST,
    FROZEN,
    HOTTEST,
    LARGEST_BYTES,
    LARGEST_UJ,
    PLAUSIBLE,
    CounterGuard,
    PowerGuard,
    jump_watts,
    most_watts,
)
from .model import MICRO, Device, Kind, Method, Reading, Tick
from .split import GAP_INTERVALS, SAME_START_MS

WRAP_CEILING_WATTS = {Kind.CPU: 1000.0, Kind.MEMORY: 1000.0}
"""Power that no wrapping counter of a kind exceeds, where the device has no limit of its own."""
OTHER_WRAP_CEILING_WATTS = 10_000.0
STILL_TICKS = 2000
"""Ticks of a counter that stands still which can be amended once it is found to be frozen."""
STARTS = 1000
"""Starts that are remembered, to tell them apart once a clock shows the same time again."""
REASONS = 32
"""Reasons that are told apart; a recording may hold any."""
UJ_PER_WATT_MS = 1000
COUNTER, INTEGRAL = Method.COUNTER, Method.INTEGRAL


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
    amended: list[Tick] = field(default_factory=list)
    """Ticks that went out with the energy of a frozen counter, to be sent again without it."""
    noted: bool = False
    """Whether any of the three above has grown; whoever has looked sets it back."""
    refused: int = 0
    """Readings in a row that came too late for what was published before."""
    counter: CounterGuard = field(default_factory=CounterGuard)
    power: PowerGuard = field(default_factory=PowerGuard)
    _most_watts: float = 0.0
    _jump_watts: float = 0.0
    _fixed: Method | None = None
    _last_ms: int | None = None
    _seen_ms: int | None = None
    _gap: str = ""
    _counting: bool = False
    _raw_uj: int | None = None
    _raw_ms: int = 0
    _base_uj: int = 0
    _total_uj: int | None = None
    _start_ms: int | None = None
    _power_watts: float | None = None
    _power_ms: int = 0
    _remainder_uj: float = 0.0
    _still: list[Tick] = field(default_factory=list)
    _compared_ms: int = 0
    _mute_until_ms: int | None = None
    _unstarted_ms: int = 0
    """The latest reading that was published with a counter whose start is not known."""
    _starts: list[int] = field(default_factory=list)
    _newest_start_ms: int | None = None
    _foreign: tuple[int, ...] = ()
    _first_ms: int | None = None
    _relived: tuple[int, int] | None = None
    """From when until when time has been shown before, and power next to it could be mixed up."""

    def __post_init__(self) -> None:
        self.adopt(self.device)

    def adopt(self, device: Device) -> None:
        """Take what is now known of the device, whose state goes on."""
        self.device = device
        self._most_watts, self._jump_watts = most_watts(device), jump_watts(device)
        modelled = device.method in (Method.SIMULATED, Method.ESTIMATED)
        self._fixed = device.method if modelled else None

    def feed(self, reading: Reading) -> Tick | None:
        """Return the tick of a reading, or None where it repeats or precedes the one before."""
        ts_ms, last_ms = reading.ts_ms, self._last_ms
        if last_ms is not None and ts_ms <= last_ms:
            self._refuse(ts_ms)
            return None
        self.refused = 0
        power, energy = reading.power_watts, reading.energy_uj
        if power is not None and not 0 <= power <= self._most_watts:
            power = None
            self._reject("impossible_power")
        if energy is not None and not self._believable(ts_ms, energy):
            energy = None
        if reading.gap or (power is None and energy is None):
            return self._gap_tick(reading, reading.gap or self._blame(reading))
        tick = self._tick(reading, power, energy)
        if not tick.gap or tick.power_watts is not None:
            self._last_ms = ts_ms
            if self._first_ms is None:
                self._first_ms = ts_ms
        seen_ms = self._seen_ms
        if seen_ms is None or ts_ms > seen_ms:
            self._seen_ms = ts_ms
        return tick

    def clock_set(self, step_ms: int, now_ms: int) -> Tick | None:
        """Take note that the clock that stamps the readings was set by ``step_ms`` to ``now_ms``.

        Forward is a gap. Back by less than a minute is nothing: readings are refused until time
        has caught up. Back by more, the meter starts anew, so that nothing is ever subtracted
        from what was published of the time that comes twice.
        """
        latest = self._latest_ms
        if latest is None:
            return None
        # From now on in the time of the new clock, to know what has really elapsed.
        self._raw_ms += step_ms
        self.counter.forget()
        self.power.forget()
        self._compared_ms = 0
        self._still.clear()
        if latest - now_ms > BACK_MS:
            self._start_anew(now_ms, latest)
            return self._gap_tick(Reading(self.device.key, now_ms), "clock_step")
        if step_ms > 0 and now_ms - 1 > latest:
            return self._gap_tick(Reading(self.device.key, now_ms - 1), "clock_step")
        return None

    def follows(self, wall_ms: int) -> bool:
        """Return whether the last reading was stamped by a clock that said ``wall_ms`` then."""
        return self._latest_ms is not None and abs(self._latest_ms - wall_ms) <= BACK_MS

    @property
    def _latest_ms(self) -> int | None:
        return self._seen_ms if self._last_ms is None else max(self._last_ms, self._seen_ms or 0)

    def _start_anew(self, now_ms: int, latest_ms: int) -> None:
        margin_ms = GAP_INTERVALS * self.interval_ms
        since_ms = latest_ms if self._first_ms is None else self._first_ms
        before = self._relived or (since_ms, latest_ms)
        self._relived = min(before[0], since_ms - margin_ms), max(before[1], latest_ms + margin_ms)
        self._first_ms = None
        self._last_ms, self._seen_ms = None, now_ms
        self._foreign = tuple(self._starts)
        self._total_uj = self._start_ms = None
        if self.device.counter_range_uj is not None:
            self._raw_uj = None
        elif self._counting:
            # Of a counter without a start nobody could tell that it is not this one.
            self._mute_until_ms = max(self._unstarted_ms, now_ms)

    def _tick(self, reading: Reading, power: float | None, energy: int | None) -> Tick:
        ts_ms, before_uj, since_ms = reading.ts_ms, self._total_uj, self._start_ms
        if energy is not None:
            self._count(ts_ms, energy, reading.start_ms)
        elif power is not None and not self._counting:
            self._integrate(ts_ms, power)
        counting = self._counting
        total_uj = self._total_uj if energy is not None or not counting else None
        start_ms = self._start_ms if total_uj is not None else None
        still, taken_back = False, ""
        if power is None:
            if total_uj is None:
                return self._gap_tick(reading, self._gap or "counter_changed")
        else:
            if energy is not None and total_uj is not None:
                same = before_uj is not None and since_ms == start_ms
                still = self._hold_against(ts_ms, power, total_uj - (before_uj or 0), same)
                if self.counter.frozen:
                    total_uj = start_ms = None
                    taken_back = FROZEN
            reason = self.power.feed(ts_ms, power, reading.utilization_ratio, self.interval_ms)
            if reason:
                self._reject(reason)
        if total_uj is None and self._relived and self._relived[0] <= ts_ms <= self._relived[1]:
            return self._gap_tick(reading, "clock_step")
        self._power_watts, self._power_ms, self._gap = power, ts_ms, ""
        if start_ms is not None:
            if start_ms != self._newest_start_ms:
                self._remember(start_ms)
        elif total_uj is not None:
            self._unstarted_ms = max(ts_ms, self._unstarted_ms)
        tick = Tick(
            self.device.key,
            ts_ms,
            self.interval_ms,
            self._fixed or (COUNTER if counting and total_uj is not None else INTEGRAL),
            power,
            total_uj,
            start_ms,
            *self._state(reading),
            taken_back,
        )
        if still and total_uj is not None and len(self._still) < STILL_TICKS:
            self._still.append(tick)
        return tick

    def _remember(self, start_ms: int) -> None:
        self._newest_start_ms = start_ms
        self._starts.append(start_ms)
        del self._starts[:-STARTS]

    def _hold_against(self, ts_ms: int, power: float, gained_uj: int, same: bool) -> bool:
        """Compare what the counter gained with power; return whether it stands still."""
        before, dt_ms = self._power_watts, ts_ms - self._compared_ms
        self._compared_ms = ts_ms
        long = dt_ms > GAP_INTERVALS * self.interval_ms
        if before is None or self._gap or long or not same:
            self.counter.forget()
            self._still.clear()
            return False
        reason = self.counter.feed(dt_ms, gained_uj, (before + power) / 2 * dt_ms * UJ_PER_WATT_MS)
        if reason:
            self._reject(reason)
        if gained_uj:
            self._still.clear()
        elif reason:
            method = self._fixed or Method.INTEGRAL
            self.amended += [
                replace(tick, method=method, energy_uj=None, start_ms=None, gap=reason)
                for tick in self._still
            ]
            self._still.clear()
        return not gained_uj

    def _gap_tick(self, reading: Reading, reason: str) -> Tick:
        if not self._counting:
            self._lose(self._gap or reason, self._seen_ms, reading.ts_ms)
        self._gap, self._seen_ms = reason, max(reading.ts_ms, self._seen_ms or 0)
        ratio, used, degrees = self._state(reading)
        return Tick(
            device=self.device.key,
            ts_ms=reading.ts_ms,
            interval_ms=self.interval_ms,
            method=Method.UNKNOWN,
            utilization_ratio=ratio,
            memory_used_bytes=used,
            temperature_celsius=degrees,
            gap=reason,
        )

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
        if self._mute_until_ms is not None:
            self._rebase(ts_ms, energy_uj, self._mute_until_ms)
            return
        if start_ms is None and self._start_ms is None and self.boot_ms is not None:
            start_ms = min(self.boot_ms, ts_ms)
        if self._raw_uj is not None and energy_uj < self._raw_uj:
            start_ms, self._base_uj = max(self._raw_ms, start_ms or 0), 0
            self._reject("counter_reset")
        if start_ms is not None and (self._start_ms or 0) < start_ms <= ts_ms:
            self._start_ms = start_ms
            while self._foreign and self._clashes(self._start_ms):
                self._start_ms -= SAME_START_MS + 1
        self._total_uj = energy_uj - self._base_uj

    def _rebase(self, ts_ms: int, energy_uj: int, until_ms: int) -> None:
        """Count from zero, as soon as that cannot be taken for what was counted before."""
        if ts_ms > until_ms:
            self._base_uj = energy_uj
            self._from_zero(ts_ms)
            self._mute_until_ms = until_ms if self._total_uj is None else None

    def _unwrap(self, ts_ms: int, energy_uj: int, range_uj: int) -> None:
        gained = self._gained(ts_ms, energy_uj, range_uj)
        if gained is None or self._total_uj is None:
            if self._raw_uj is not None:
                self._lose(self._gap or "reset", self._raw_ms, ts_ms)
            self._from_zero(ts_ms)
        else:
            self._total_uj += gained

    def _from_zero(self, ts_ms: int) -> None:
        self._total_uj, self._start_ms, self._remainder_uj = 0, ts_ms, 0.0
        if self._foreign and self._clashes(ts_ms):
            # It would look like the counter of a time that the clock had shown before.
            self._total_uj = self._start_ms = None

    def _clashes(self, start_ms: int) -> bool:
        return any(abs(start_ms - other) <= SAME_START_MS for other in self._foreign)

    def _gained(self, ts_ms: int, energy_uj: int, range_uj: int) -> int | None:
        """Return the energy since the last reading, or None where it cannot be known."""
        if self._raw_uj is None:
            return None
        ceiling_watts = WRAP_CEILING_WATTS.get(self.device.kind, OTHER_WRAP_CEILING_WATTS)
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
            self._from_zero(ts_ms)
        elif self._gap or dt_ms > GAP_INTERVALS * self.interval_ms:
            self._lose(self._gap or "no_data", self._seen_ms, ts_ms)
            self._from_zero(ts_ms)
        else:
            gained = (before_watts + power_watts) / 2 * dt_ms / 1000 * MICRO + self._remainder_uj
            self._total_uj += int(gained)
            self._remainder_uj = gained - int(gained)

    def _believable(self, ts_ms: int, energy_uj: int) -> bool:
        if not 0 <= energy_uj <= LARGEST_UJ:
            self._reject("impossible_energy")
            return False
        before_uj = self._raw_uj
        if before_uj and self.device.counter_range_uj is None:
            # Believing a wrong value would make the whole counter new energy, now or next time.
            gained = energy_uj if energy_uj < before_uj else energy_uj - before_uj
            # One second more, because a counter may be updated less often than it is read.
            most_uj = self._jump_watts * (ts_ms - self._raw_ms + 1000) * UJ_PER_WATT_MS
            if energy_uj == 0 or gained > most_uj:
                self._reject("counter_jump" if energy_uj else "zero_counter")
                return False
        return True

    def _state(self, reading: Reading) -> tuple[float | None, int | None, float | None]:
        """Return utilisation, memory and temperature; what cannot be is counted and left out."""
        ratio, used = reading.utilization_ratio, reading.memory_used_bytes
        degrees = reading.temperature_celsius
        if ratio is not None and not 0 <= ratio <= 1:
            ratio = None
            self._reject("impossible_utilization")
        if used is not None and not 0 <= used < LARGEST_BYTES:
            used = None
            self._reject("impossible_memory")
        if degrees is not None and not COLDEST <= degrees <= HOTTEST:
            if math.isfinite(degrees):
                self._reject("impossible_temperature")
            degrees = None
        return ratio, used, degrees

    def _blame(self, reading: Reading) -> str:
        if reading.power_watts is not None:
            return "impossible_power"
        return "no_data" if reading.energy_uj is None else "impossible_energy"

    def _lose(self, reason: str, since_ms: int | None, ts_ms: int) -> None:
        if since_ms is not None and ts_ms > since_ms:
            if reason not in self.unknown_ms and len(self.unknown_ms) >= REASONS:
                reason = "other"
            self.unknown_ms[reason] = self.unknown_ms.get(reason, 0) + ts_ms - since_ms
            self.noted = True

    def _refuse(self, ts_ms: int) -> None:
        if ts_ms == self._last_ms:
            self._reject("duplicate")
        else:
            self.refused += 1
            self._reject("out_of_order")

    def _reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        self.noted = True
