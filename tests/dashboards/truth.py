"""What is true of the demo fleet, from its plan alone: no store, no ledger, no SQL.

A meter's energy is a closed form of time, and who holds what at which minute is the daily plan. So
what was drawn, by whom and in which class, and what was made of it, can be written down minute by
minute. Minutes in which the meter that only says power was out of reach are unknown, as they must
be, and with them what its server draws beside its devices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from wattshed_exporter.model import Device, Kind, Overlap, Reading, Workload
from wattshed_exporter.sources.fleet import HOLDINGS, MACHINES, MINUTES, Holding
from wattshed_exporter.sources.simulate import Meter, Run, Schedule, build
from wattshed_exporter.sources.simulate_curve import LIVE_STEP_MS, MINUTE_MS

IDLE_BELOW = 0.05
"""The policy's own default: utilisation below which a device idles."""
SECOND_MS, HOUR_S = 1000, 3600
DETAIL_S = 600
"""Between two details of a device in the past."""
ACTIVE, IDLE_HELD, IDLE_FREE = "active", "idle_held", "idle_unallocated"
OVERHEAD, UNATTRIBUTED = "overhead", "unattributed"


@dataclass(frozen=True, slots=True)
class Part:
    """Joules of a device in the minute from ``minute_s`` on (Unix seconds), given to a workload."""

    minute_s: int
    device: Device
    workload: Workload | None
    charged: str
    joules: float
    seconds: float


Where = Callable[[Part], bool]


def everything(_part: Part) -> bool:
    """Hold for any part."""
    return True


class Plan:
    """Meters and runs of a seed, which are dear to make."""

    def __init__(self, seed: int) -> None:
        self.meters = {meter.device.key: meter for meter in build(seed)}
        self.schedule = Schedule(seed)


class Truth:
    """The fleet during [``since_s``, ``until_s``), whole minutes in Unix seconds."""

    def __init__(self, plan: Plan, since_s: int, until_s: int) -> None:
        assert since_s % 60 == until_s % 60 == 0
        self._since_ms, self._until_ms = since_s * SECOND_MS, until_s * SECOND_MS
        self._meters, self._schedule = plan.meters, plan.schedule

    @property
    def devices(self) -> list[Device]:
        return [meter.device for meter in self._meters.values()]

    @cached_property
    def parts(self) -> list[Part]:
        """All that was drawn, in parts that sum to what the meters that count measured."""
        return list(self._parts())

    def joules(self, where: Where = everything) -> float:
        return sum(part.joules for part in self.parts if where(part))

    def seconds(self, where: Where = everything) -> float:
        return sum(part.seconds for part in self.parts if where(part))

    def by(
        self, key: Callable[[Part], str], where: Where = everything, per: str = "joules"
    ) -> dict[str, float]:
        """Return sums of ``joules`` or ``seconds`` by what ``key`` says of a part."""
        found: dict[str, float] = defaultdict(float)
        for part in self.parts:
            if where(part):
                found[key(part)] += getattr(part, per)
        return dict(found)

    def metered_joules(self, device: str) -> float:
        """Return what a meter with a counter measured, whatever became of it."""
        meter = self._meters[device]
        return (meter.total(self._until_ms) - meter.total(self._since_ms)) / 1e6

    def outcomes(self, workload: str, kind: str) -> float:
        """Return how many a workload (by name) made; all of its runs together."""
        return sum(
            self._made(run, kind)
            for run in self._runs()
            if run.workload.name == workload and kind in run.outcomes
        )

    def watts_at(self, ts_ms: int, step_ms: int = LIVE_STEP_MS) -> dict[str, float | None]:
        """Return the power that each device says at a time, over the step that ends there."""
        return {key: row.power_watts for key, row in self.readings_at(ts_ms, step_ms).items()}

    def readings_at(self, ts_ms: int, step_ms: int = LIVE_STEP_MS) -> Mapping[str, Reading]:
        """Return each device's; one without a counter is read at the live step in the past too."""
        found = {}
        for key, meter in self._meters.items():
            step = step_ms if meter.counter else LIVE_STEP_MS
            (found[key],) = meter.readings(ts_ms - step, ts_ms, step)
        return found

    def grown(self, metric: str, device: str, own: tuple[str, ...], a_s: int, b_s: int) -> float:
        """Return how much a counter among the details grew between two times of details."""
        meter = self._meters[device]
        values = [
            row.value
            for at in (a_s, b_s)
            for row in meter.details(at * SECOND_MS - 1, at * SECOND_MS, DETAIL_S * SECOND_MS)
            if (row.metric, row.attributes) == (metric, own)
        ]
        return values[1] - values[0]

    def _runs(self) -> Iterator[Run]:
        return self._schedule.runs(self._since_ms, self._until_ms)

    def _made(self, run: Run, kind: str) -> float:
        """Return what a run made, as its counter says at the edges: whole ones."""
        curve, since = run.outcomes[kind], run.counted_from_ms
        edges = (max(self._since_ms, run.start_ms), min(self._until_ms, run.end_ms))
        first, last = ((curve.total(at) - curve.total(since)) // 1_000_000 for at in edges)
        return float(last - first)

    def _parts(self) -> Iterator[Part]:
        holders = self._holders()
        measured: dict[str, list[float | None]] = {}
        for meter in self._meters.values():
            if meter.device.overlap is Overlap.NONE:
                minutes = list(self._minutes(meter))
                measured[meter.device.key] = [joules for joules, *_ in minutes]
                yield from self._charged(meter.device, minutes, holders)
        for meter in self._meters.values():
            if meter.device.overlap is Overlap.OUTER and meter.inner_ratio == (1, 1):
                yield from self._overhead(meter, measured)

    def _minutes(self, meter: Meter) -> Iterator[tuple[float | None, float, float]]:
        """Yield joules, seconds that are known and the part of those in which it idles."""
        start, end = self._since_ms, self._until_ms
        if meter.counter:
            for row, before, after in self._steps(meter, MINUTE_MS):
                yield (after - before) / 1e6, 60.0, 60.0 * _idles(row)
            return
        rows = list(meter.readings(start - LIVE_STEP_MS, end + LIVE_STEP_MS, LIVE_STEP_MS))
        for at in range(0, (end - start) // LIVE_STEP_MS, MINUTE_MS // LIVE_STEP_MS):
            spans = list(_trapezoids(rows[at : at + MINUTE_MS // LIVE_STEP_MS + 1]))
            known = sum(seconds for _, seconds, _ in spans)
            joules = sum(j for j, *_ in spans) if known else None
            yield joules, known, sum(s for _, s, idle in spans if idle)

    def _steps(self, meter: Meter, step_ms: int) -> Iterator[tuple[Reading, int, int]]:
        totals = meter.totals(range(self._since_ms, self._until_ms + 1, step_ms))
        rows = meter.readings(self._since_ms, self._until_ms, step_ms)
        return zip(rows, totals[:-1], totals[1:], strict=True)

    def _charged(
        self,
        device: Device,
        minutes: Iterable[tuple[float | None, float, float]],
        holders: Mapping[tuple[str, int], list[tuple[Workload, float]]],
    ) -> Iterator[Part]:
        for at, (joules, seconds, idle_seconds) in enumerate(minutes):
            if joules is None:
                continue
            assert idle_seconds in (0.0, seconds), "it idles for a part of the minute"
            minute_ms = self._since_ms + at * MINUTE_MS
            held = holders.get((device.key, minute_ms // MINUTE_MS % MINUTES), [])
            name = IDLE_HELD if idle_seconds else ACTIVE
            charged: list[tuple[Workload | None, float, str]] = [(*of, name) for of in held]
            rest = 1.0 - sum(share for _, share in held)
            if rest > 1e-9:
                charged.append((None, rest, IDLE_FREE if idle_seconds else UNATTRIBUTED))
            for work, share, name in charged:
                yield Part(
                    minute_ms // SECOND_MS, device, work, name, joules * share, seconds * share
                )

    def _overhead(self, host: Meter, measured: Mapping[str, list[float | None]]) -> Iterator[Part]:
        inner = [measured[meter.device.key] for meter in host.inner]
        for at, (_, before, after) in enumerate(self._steps(host, MINUTE_MS)):
            parts = [minutes[at] for minutes in inner]
            if None not in parts:
                joules = (after - before) / 1e6 - sum(part or 0.0 for part in parts)
                minute_s = self._since_ms // SECOND_MS + 60 * at
                yield Part(minute_s, host.device, None, OVERHEAD, joules, 60.0)

    def _holders(self) -> Mapping[tuple[str, int], list[tuple[Workload, float]]]:
        """Return who holds which share of a device in each minute of the day."""
        found: dict[tuple[str, int], list[tuple[Workload, float]]] = defaultdict(list)
        for holding in HOLDINGS:
            for device, share in _shares(holding).items():
                for minute in range(holding.start, holding.end):
                    found[device, minute].append((holding.workload, share))
        return found


def _shares(holding: Holding) -> dict[str, float]:
    """Return the share of each device: of a server's CPU as much as of its GPUs."""
    (machine,) = (machine for machine in MACHINES if machine.name == holding.machine)
    if len(machine.boards) == 1:
        return {f"{machine.name}/{machine.boards[0].kind}": holding.share}
    shares = {f"{machine.name}/gpu{slot}": holding.share for slot in holding.slots}
    return shares | {f"{machine.name}/cpu": holding.share * len(shares) / len(machine.boards)}


def _idles(reading: Reading) -> bool:
    return (reading.utilization_ratio or 0.0) < IDLE_BELOW


def _trapezoids(rows: list[Reading]) -> Iterator[tuple[float, float, bool]]:
    """Yield joules, seconds and whether it idled between neighbours that both say their power."""
    for before, after in pairwise(rows):
        if before.power_watts is not None and after.power_watts is not None:
            seconds = (after.ts_ms - before.ts_ms) / 1000
            yield (before.power_watts + after.power_watts) / 2 * seconds, seconds, _idles(after)


def is_gpu(part: Part) -> bool:
    """Whether a part is of a GPU or of a module."""
    return part.device.kind in (Kind.GPU, Kind.MODULE)


def by_workload(name: str) -> Where:
    """Hold for parts that a workload of this name was given."""
    return lambda part: workload_of(part) == name


def on_node(node: str) -> Where:
    """Hold for parts of a node's devices."""
    return lambda part: part.device.node == node


def workload_of(part: Part) -> str:
    return part.workload.name if part.workload else ""


def team_of(part: Part) -> str:
    return part.workload.team if part.workload else ""
