"""A made-up fleet for demonstrations; every device says method=simulated.

Everything is a closed form of (seed, absolute time): a meter's energy is the integral of its daily
plan plus a bounded wander, and power is the difference of that energy over the step. So power times
time equals the counter difference exactly, a step may have any length, history and live ticks join
without a seam, and a restart on the same store sends the very same past again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from wattshed_exporter.model import (
    MICRO,
    Allocation,
    Detail,
    Device,
    Kind,
    Method,
    Outcome,
    Overlap,
    Reading,
    Workload,
)

from . import Sample
from .fleet import (
    BUSY,
    HOLDINGS,
    HOT_DEVICE,
    MACHINES,
    MINUTES,
    OLD_FIRMWARE,
    OUTAGE_DEVICE,
    OUTAGE_MINUTES,
    Holding,
    Machine,
)
from .simulate_curve import (
    COMMISSIONED_MS,
    DAY_MS,
    HOUR_MS,
    LIVE_STEP_MS,
    MINUTE_MS,
    Curve,
    fraction,
)
from .simulate_details import Extras

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

CPU_IDLE_WATTS = 85.0
CPU_LIMIT_WATTS = 720.0
LOSS = 0.14
"""Fans and conversion losses of a server, as a fraction of what its devices draw."""

OUTAGE = "simulated_outage"


@dataclass(frozen=True, slots=True)
class Meter:
    """One device with its energy curve; a host also contains the energy of its ``inner`` meters."""

    device: Device
    curve: Curve
    loads: Sequence[float] = ()
    rest_mw: Sequence[int] = ()
    """Power per minute of the day if the load were zero."""
    memory: Sequence[int] = ()
    counter: bool = True
    inner: tuple[Meter, ...] = ()
    inner_ratio: tuple[int, int] = (1, 1)
    """Numerator and denominator of what it sees of its inner meters."""
    seen: Sequence[float] = ()
    """Utilisation per minute of the day, as a driver tells it."""
    contexts: Sequence[int] = ()
    extras: Extras | None = None

    def total(self, ts_ms: int) -> int:
        """Return the energy in uJ since ``COMMISSIONED_MS``."""
        return self.totals(range(ts_ms, ts_ms + 1))[0]

    def totals(self, times: range) -> list[int]:
        """Return the energy in uJ since ``COMMISSIONED_MS`` at each of the times."""
        own = self.curve.totals(times)
        if not self.inner:
            return own
        seen, of = self.inner_ratio
        parts = zip(*(meter.curve.totals(times) for meter in self.inner), strict=True)
        return [mine + sum(part) * seen // of for mine, part in zip(own, parts, strict=True)]

    def readings(self, after_ms: int, until_ms: int, step_ms: int) -> Iterator[Reading]:
        """Yield the readings at ``step_ms``, two steps, ... after a time, each over its step."""
        times = range(after_ms, until_ms + 1, step_ms)
        for ts, (before, after) in zip(times[1:], pairwise(self.totals(times)), strict=True):
            yield self._reading(ts, step_ms, after, (after - before) / step_ms)

    def _reading(self, ts_ms: int, step_ms: int, energy: int, power_mw: float) -> Reading:
        key, limit = self.device.key, self.device.power_limit_watts
        minute = (ts_ms - step_ms) // MINUTE_MS % MINUTES
        if key == OUTAGE_DEVICE and OUTAGE_MINUTES[0] <= minute < OUTAGE_MINUTES[1]:
            return Reading(key, ts_ms, gap=OUTAGE)
        return Reading(
            key,
            ts_ms,
            power_mw / 1000,
            energy if self.counter else None,
            COMMISSIONED_MS if self.counter else None,
            self._utilization(minute, power_mw) if self.seen else None,
            self.memory[minute] if self.memory else None,
            self._temperature(power_mw) if limit else None,
            contexts=self.contexts[minute] if self.contexts else None,
        )

    def _temperature(self, power_mw: float) -> float:
        limit = self.device.power_limit_watts or power_mw
        return round(27 + (0.058 if self.device.key == HOT_DEVICE else 0.044) * power_mw / limit, 1)

    def details(self, after_ms: int, until_ms: int, every_ms: int) -> Iterator[Detail]:
        """Yield what is said beside the readings, at whole multiples of ``every_ms``."""
        if self.extras is not None:
            for ts in range((after_ms // every_ms + 1) * every_ms, until_ms + 1, every_ms):
                yield from self.extras.said(ts, is_full=ts % HOUR_MS == 0)

    def _utilization(self, minute: int, power_mw: float) -> float:
        load, rest = self.seen[minute], self.rest_mw[minute]
        if load < BUSY:
            return load
        moved = (power_mw - rest) / (self.curve.rate(minute) - rest)
        return round(min(1.0, load * moved), 4)


def _slot(seed: int, machine: Machine, number: int) -> Meter:
    """Build a GPU, or the one device of an edge gateway; no two boards draw quite the same."""
    board = machine.boards[number]
    idle, limit = 1000 * board.idle_watts, 1000 * board.limit_watts
    loads, rest, rates = [0.0] * MINUTES, [int(idle)] * MINUTES, [idle] * MINUTES
    memory, seen, contexts = [0.005] * MINUTES, [0.0] * MINUTES, [0] * MINUTES
    own = limit * (0.97 + 0.06 * fraction(f"{seed}/{machine.name}/{number}"))
    for holding in HOLDINGS:
        if holding.machine != machine.name or number not in holding.slots:
            continue
        context = int(idle + 1000 * board.context_watts)
        for minute in range(holding.start, holding.end):
            load = holding.share * holding.load(minute)
            rates[minute] += context - rest[minute] + load * (holding.intensity * own - context)
            rest[minute] = context
            loads[minute] += load
            seen[minute] += holding.spread * load
            contexts[minute] += 1
            memory[minute] += holding.share * holding.memory
    curve = _loaded_curve(seed, f"{machine.name}/{number}", loads, rest, rates, limit)
    capacity = board.memory_gib * 2**30
    used = [int(capacity * part) for part in memory]
    name = f"gpu{number}" if board.kind is Kind.GPU else board.kind
    key = f"{machine.name}/{name}"
    device = replace(
        _device(machine, name, board.kind),
        vendor=board.vendor,
        model=board.model,
        parent=f"{machine.name}/host" if board.kind is Kind.GPU or machine.plug_ratio else "",
        power_limit_watts=board.limit_watts,
        uncertainty_ratio=0.05,
    )
    if board.kind is not Kind.GPU:
        return Meter(device, curve, loads, rest, used, board.counter, seen=seen)
    device = replace(
        device,
        serial=str(1_320_000_000_000 + int(1e9 * fraction(f"{seed}/{key}"))),
        driver=machine.driver,
        firmware=OLD_FIRMWARE.get(key, board.firmware),
    )
    extras = Extras(seed, key, board, loads, seen, contexts)
    return Meter(
        device, curve, loads, rest, used, board.counter, seen=seen, contexts=contexts, extras=extras
    )


def _loaded_curve(
    seed: int,
    key: str,
    loads: Sequence[float],
    rest: Sequence[int],
    rates: Sequence[float],
    limit: float,
) -> Curve:
    """Build a power curve that stays between rest and limit under load, and near rest without."""
    headroom = [
        int(min(rate - low, limit - rate) if load >= BUSY else 0.06 * rate)
        for load, low, rate in zip(loads, rest, rates, strict=True)
    ]
    return Curve(seed, key, [int(rate) for rate in rates], headroom)


def _cpu(seed: int, machine: Machine, slots: Sequence[Meter]) -> Meter:
    columns = zip(*(slot.loads for slot in slots), strict=True)
    loads = [0.06 + 0.5 * sum(column) / len(column) for column in columns]
    rest = [int(1000 * CPU_IDLE_WATTS)] * MINUTES
    swing = 1000 * (CPU_LIMIT_WATTS - CPU_IDLE_WATTS)
    rates = [low + load * swing for load, low in zip(loads, rest, strict=True)]
    curve = _loaded_curve(seed, f"{machine.name}/cpu", loads, rest, rates, 1000 * CPU_LIMIT_WATTS)
    device = replace(
        _device(machine, "cpu", Kind.CPU),
        vendor="AMD",
        model="2 x EPYC 9654",
        parent=f"{machine.name}/host",
        power_limit_watts=CPU_LIMIT_WATTS,
    )
    return Meter(device, curve, loads, rest, seen=loads)


def _host(seed: int, machine: Machine, inner: tuple[Meter, ...]) -> Meter:
    """Build the wall meter: all inner meters, the chassis, and losses that grow with the load."""
    rates = [
        int(1000 * machine.base_watts + LOSS * sum(meter.curve.rate(minute) for meter in inner))
        for minute in range(MINUTES)
    ]
    curve = Curve(seed, f"{machine.name}/host", rates, [rate // 25 for rate in rates])
    device = replace(
        _device(machine, "host", Kind.HOST), overlap=Overlap.OUTER, uncertainty_ratio=0.02
    )
    return Meter(device, curve, inner=inner)


def _plug(seed: int, machine: Machine, inner: Meter) -> Meter:
    """Build a wall plug that reads less than what it feeds."""
    curve = Curve(seed, f"{machine.name}/host", [0] * MINUTES)
    device = replace(
        _device(machine, "host", Kind.HOST), overlap=Overlap.OUTER, uncertainty_ratio=0.02
    )
    return Meter(device, curve, inner=(inner,), inner_ratio=(round(100 * machine.plug_ratio), 100))


def _device(machine: Machine, name: str, kind: Kind) -> Device:
    return Device(
        key=f"{machine.name}/{name}",
        kind=kind,
        node=machine.name,
        source="simulate",
        name=str(name),
        site=machine.site,
        tier=machine.tier,
        cluster=machine.cluster,
        method=Method.SIMULATED,
    )


def _meters(seed: int, machine: Machine) -> list[Meter]:
    slots = [_slot(seed, machine, number) for number in range(len(machine.boards))]
    if len(slots) == 1:
        return [*slots, _plug(seed, machine, slots[0])] if machine.plug_ratio else slots
    cpu = _cpu(seed, machine, slots)
    return [*slots, cpu, _host(seed, machine, (*slots, cpu))]


def build(seed: int) -> tuple[Meter, ...]:
    """Build every meter of the fleet."""
    return tuple(meter for machine in MACHINES for meter in _meters(seed, machine))


@dataclass(frozen=True, slots=True)
class Run:
    """One stay of a workload on its devices, and the curves of what it produces there."""

    workload: Workload
    shares: Mapping[str, float]
    outcomes: Mapping[str, Curve]
    start_ms: int
    end_ms: int
    counted_from_ms: int

    def allocations(self, until_ms: int) -> Iterator[Allocation]:
        end = min(self.end_ms, until_ms)
        for device, share in self.shares.items():
            yield Allocation(device, self.workload.key, self.start_ms, end, share, "simulated")

    def results(self, after_ms: int, until_ms: int, every_ms: int) -> Iterator[Outcome]:
        """Yield the outcome totals at whole multiples of ``every_ms``."""
        first = (max(after_ms, self.start_ms) // every_ms + 1) * every_ms
        since = self.counted_from_ms
        for ts in range(first, min(self.end_ms, until_ms) + 1, every_ms):
            for kind, curve in self.outcomes.items():
                total = (curve.total(ts) - curve.total(since)) // MICRO
                yield Outcome(self.workload.key, kind, ts, float(total), since, "simulate")


class Schedule:
    """Who runs when: the holdings of the plan, repeated every day."""

    def __init__(self, seed: int) -> None:
        self._entries = [
            (holding, _shares(holding), _curves(seed, holding)) for holding in HOLDINGS
        ]

    def runs(self, after_ms: int, until_ms: int) -> Iterator[Run]:
        """Yield the runs that overlap [after_ms, until_ms)."""
        for day in range(after_ms // DAY_MS * DAY_MS, until_ms, DAY_MS):
            for holding, shares, curves in self._entries:
                start = day + holding.start * MINUTE_MS
                end = day + holding.end * MINUTE_MS
                if start < until_ms and end > after_ms:
                    since = start if holding.daily else COMMISSIONED_MS
                    yield Run(_dated(holding, day), shares, curves, start, end, since)


def _dated(holding: Holding, day_ms: int) -> Workload:
    """Return the workload of one day: a daily one is a new run with a key of its own."""
    if not holding.daily:
        return holding.workload
    date = time.strftime("%Y%m%d", time.gmtime(day_ms / 1000))
    return replace(holding.workload, key=f"{holding.workload.key}/{date}")


def _shares(holding: Holding) -> dict[str, float]:
    """Return the share of each device; a server's CPU goes with its GPUs."""
    machine = next(machine for machine in MACHINES if machine.name == holding.machine)
    if len(machine.boards) == 1:
        return {f"{machine.name}/{machine.boards[0].kind}": holding.share}
    shares = {f"{machine.name}/gpu{slot}": holding.share for slot in holding.slots}
    return shares | {f"{machine.name}/cpu": sum(shares.values()) / len(machine.boards)}


def _curves(seed: int, holding: Holding) -> dict[str, Curve]:
    loads = [
        holding.load(minute) if holding.start <= minute < holding.end else 0.0
        for minute in range(MINUTES)
    ]
    curves = {}
    for kind, per_second in holding.rates.items():
        rates = [int(1000 * per_second * load) if load >= BUSY else 0 for load in loads]
        key = f"{holding.workload.key}/{kind}"
        curves[kind] = Curve(seed, key, rates, [rate // 2 for rate in rates])
    return curves


@dataclass(frozen=True, slots=True)
class Pace:
    """Steps in ms: of meters with a counter, of outcomes, of details, and of one read."""

    step: int
    outcome: int
    detail: int
    chunk: int


HISTORY = Pace(MINUTE_MS, 5 * MINUTE_MS, 10 * MINUTE_MS, HOUR_MS)
LIVE = Pace(LIVE_STEP_MS, MINUTE_MS, MINUTE_MS, 10 * MINUTE_MS)


def now_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class SimulateSource:
    """First the history in chunks, oldest first, then each live step when its time has passed."""

    name = "simulate"

    def __init__(self, history_hours: float, seed: int, clock: Callable[[], int] = now_ms) -> None:
        self.interval_seconds = LIVE_STEP_MS / 1000
        self._clock = clock
        self._meters = build(seed)
        self._schedule = Schedule(seed)
        self._live_from = clock() // MINUTE_MS * MINUTE_MS
        past = (round(60 * history_hours) + 1) * MINUTE_MS
        self._at = max(self._live_from - past, COMMISSIONED_MS)

    def discover(self) -> Sequence[Device]:
        return tuple(meter.device for meter in self._meters)

    def read(self) -> Sample:
        due = self._clock() // LIVE_STEP_MS * LIVE_STEP_MS
        pace = HISTORY if self._at < self._live_from else LIVE
        last = self._live_from if pace is HISTORY else due
        start, end = self._at, min(self._at + pace.chunk, last)
        if end <= start:
            return Sample()
        self._at = end
        return self._sample(start, end, pace, more=end < due)

    def close(self) -> None:
        """Nothing is held."""

    def _sample(self, start: int, end: int, pace: Pace, *, more: bool) -> Sample:
        runs = list(self._schedule.runs(start, end))
        workloads = {run.workload.key: run.workload for run in runs}
        outcomes = [row for run in runs for row in run.results(start, end, pace.outcome)]
        return Sample(
            readings=self._readings(start, end, pace),
            details=[row for m in self._meters for row in m.details(start, end, pace.detail)],
            workloads=tuple(workloads.values()),
            allocations=[row for run in runs for row in run.allocations(end)],
            outcomes=sorted(outcomes, key=lambda outcome: outcome.ts_ms),
            more=more,
        )

    def _readings(self, start: int, end: int, pace: Pace) -> list[Reading]:
        readings: list[Reading] = []
        for meter in self._meters:
            step = pace.step if meter.counter else LIVE_STEP_MS
            readings.extend(meter.readings(start, end, step))
        readings.sort(key=lambda reading: reading.ts_ms)
        return readings


def create(config: Config) -> SimulateSource:
    """Build the fleet of the configuration."""
    return SimulateSource(config.simulate.history_hours, config.simulate.seed)
