"""From ticks to spans to charges, as pure functions: the rule that the ledger's SQL must equal.

A span is the energy of one device between two readings. Its joules are a counter difference where
both readings carry a counter, else a trapezoid of power, else unknown with a reason. ``charges``
then divides each span among the workloads that hold the device or work on it, without losing or
making a joule.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .model import MICRO, Allocation, Charge, Class, IdlePolicy, Joules, Method, Span, Tick

IDLE_BELOW = 0.05
"""Utilisation below which a device counts as idle, unless the policy says otherwise."""
SAME_START_MS = 60_000
"""Starts that differ by more are those of two counters, whose difference means nothing; the boot
time that the kernel states moves by as much as the clock was corrected."""
GAP_INTERVALS = 3
"""Power is not integrated across more than this many nominal intervals."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How joules are charged: who pays for idling, and below which utilisation a device idles."""

    idle: IdlePolicy = IdlePolicy.HOLDER
    idle_below: float = IDLE_BELOW


DEFAULT_POLICY = Policy()


def spans(ticks: Iterable[Tick]) -> list[Span]:
    """Return the spans of every device, in order of device and time.

    Ticks may come in any order; of two with the same device and time the last one counts. Ticks
    with neither power nor energy make no span but say why there is none. A reason beside power
    takes back the energy of that instant.
    """
    by_device: dict[str, dict[int, Tick]] = {}
    for tick in ticks:
        by_device.setdefault(tick.device, {})[tick.ts_ms] = tick
    found: list[Span] = []
    for device in sorted(by_device):
        latest = by_device[device]
        found += _device_spans([latest[ts] for ts in sorted(latest)])
    return found


def _device_spans(ticks: Sequence[Tick]) -> Iterator[Span]:
    last: Tick | None = None
    reason: str | None = None
    for tick in ticks:
        if tick.power_watts is None and tick.energy_uj is None:
            reason = reason or tick.gap or "no_data"
            continue
        if tick.gap and tick.power_watts is not None and tick.energy_uj is not None:
            tick = replace(tick, energy_uj=None)
        if last is not None:
            yield from _between(last, tick, reason)
        last, reason = tick, None


def _between(a: Tick, b: Tick, gap: str | None) -> Iterator[Span]:
    """Yield what is known between two readings; ``gap`` is why one that lay between them failed."""
    if a.energy_uj is not None and b.energy_uj is not None:
        yield from _counted(a, b, a.energy_uj, b.energy_uj, gap or "reset")
    elif (
        a.power_watts is not None
        and b.power_watts is not None
        and gap is None
        and b.ts_ms - a.ts_ms <= GAP_INTERVALS * b.interval_ms
    ):
        yield _trapezoid(a, b, a.power_watts, b.power_watts)
    else:
        yield _unknown(a.ts_ms, b.ts_ms, b, gap or "no_data")


def _counted(a: Tick, b: Tick, before_uj: int, after_uj: int, unknown: str) -> Iterator[Span]:
    if b.start_ms and b.start_ms >= a.ts_ms:
        start_ms = min(b.start_ms, b.ts_ms)
        if start_ms > a.ts_ms:
            yield _unknown(a.ts_ms, start_ms, b, unknown)
        if start_ms < b.ts_ms:
            yield _span(start_ms, b, after_uj, "")
    elif a.start_ms and b.start_ms and abs(b.start_ms - a.start_ms) > SAME_START_MS:
        yield _unknown(a.ts_ms, b.ts_ms, b, "counter_changed")
    elif after_uj >= before_uj:
        yield _span(a.ts_ms, b, after_uj - before_uj, "")
    elif not b.start_ms:
        yield _span(a.ts_ms, b, after_uj, "reset")
    else:
        # It says that it did not start anew, and yet it fell: a clock was wrong, or the counter.
        yield _unknown(a.ts_ms, b.ts_ms, b, "counter_fell")


def _span(start_ms: int, b: Tick, energy_uj: int, reason: str) -> Span:
    return Span(
        device=b.device,
        start_ms=start_ms,
        end_ms=b.ts_ms,
        joules=Joules(energy_uj / MICRO),
        method=b.method,
        utilization_ratio=b.utilization_ratio,
        reason=reason,
    )


def _trapezoid(a: Tick, b: Tick, before_watts: float, after_watts: float) -> Span:
    modelled = b.method in (Method.ESTIMATED, Method.SIMULATED)
    return Span(
        device=b.device,
        start_ms=a.ts_ms,
        end_ms=b.ts_ms,
        joules=_area(before_watts, after_watts, b.ts_ms - a.ts_ms),
        method=b.method if modelled else Method.INTEGRAL,
        power_watts=(before_watts, after_watts),
        utilization_ratio=b.utilization_ratio,
    )


def _unknown(start_ms: int, end_ms: int, b: Tick, reason: str) -> Span:
    return Span(
        device=b.device,
        start_ms=start_ms,
        end_ms=end_ms,
        joules=None,
        method=Method.UNKNOWN,
        utilization_ratio=b.utilization_ratio,
        reason=reason,
    )


def _area(before_watts: float, after_watts: float, duration_ms: int) -> Joules:
    return Joules((before_watts + after_watts) / 2 * duration_ms / 1000)


def cut(span: Span, start_ms: int, end_ms: int) -> Span:
    """Return the part of a span within [start_ms, end_ms), clipped to the span.

    A trapezoid is cut along its slope, a counter difference in proportion to time, so that the
    parts of a span add up to the span.
    """
    start_ms = min(max(start_ms, span.start_ms), span.end_ms)
    end_ms = min(max(end_ms, start_ms), span.end_ms)
    if span.joules is None or (start_ms, end_ms) == (span.start_ms, span.end_ms):
        return replace(span, start_ms=start_ms, end_ms=end_ms)
    if span.power_watts is None:
        part = (end_ms - start_ms) / (span.end_ms - span.start_ms)
        return replace(span, start_ms=start_ms, end_ms=end_ms, joules=Joules(span.joules * part))
    edges = (_power_at(span, start_ms), _power_at(span, end_ms))
    return replace(
        span,
        start_ms=start_ms,
        end_ms=end_ms,
        joules=_area(*edges, end_ms - start_ms),
        power_watts=edges,
    )


def _power_at(span: Span, ts_ms: int) -> float:
    assert span.power_watts is not None
    before, after = span.power_watts
    part = (ts_ms - span.start_ms) / (span.end_ms - span.start_ms)
    return before * (1 - part) + after * part


def standing(allocations: Iterable[Allocation]) -> list[Allocation]:
    """Return what stands of what was said: one for each device, workload and start.

    The highest revision counts, then the latest end, then what was said last.
    """
    found: dict[tuple[str, str, int], Allocation] = {}
    for said in allocations:
        key = said.device, said.workload, said.start_ms
        known = found.get(key)
        if known is None or (known.revision, known.end_ms) <= (said.revision, said.end_ms):
            found[key] = said
    return list(found.values())


def charges(
    span: Span,
    allocations: Iterable[Allocation],
    policy: Policy = DEFAULT_POLICY,
    idle_watts: float | None = None,
) -> list[Charge]:
    """Divide a span among those who held its device; the charges add up to the span's joules.

    The span is cut at every edge of an allocation that stands (see ``standing``). In a piece in
    which the device does nothing all of the energy is idle energy; else ``idle_watts``, what the
    device draws while it idles, is, where anybody's activity is known or the platform pays. The
    rest goes to whom it was active for: by activity where that is known, by share elsewhere. A span
    of unknown energy gives no charges.
    """
    if span.joules is None:
        return []
    held = [a for a in standing(allocations) if _concerns(a, span)]
    found: list[Charge] = []
    for start_ms, end_ms in itertools.pairwise(_edges(span, held)):
        piece = cut(span, start_ms, end_ms)
        found += _piece_charges(piece, _holders(piece, held), policy, idle_watts)
    return found


def _concerns(held: Allocation, span: Span) -> bool:
    return (
        held.device == span.device
        and (held.share > 0 or held.activity is not None)
        and max(held.start_ms, span.start_ms) < min(held.end_ms, span.end_ms)
    )


def _edges(span: Span, held: Iterable[Allocation]) -> list[int]:
    edges = {span.start_ms, span.end_ms}
    for allocation in held:
        edges.add(max(allocation.start_ms, span.start_ms))
        edges.add(min(allocation.end_ms, span.end_ms))
    return sorted(edges)


def _holders(piece: Span, held: Iterable[Allocation]) -> list[_Holder]:
    found: dict[str, _Holder] = {}
    for a in held:
        if a.start_ms <= piece.start_ms and a.end_ms >= piece.end_ms:
            found.setdefault(a.workload, _Holder(a.workload)).add(a)
    return [found[workload] for workload in sorted(found)]


def _piece_charges(
    piece: Span, holders: Sequence[_Holder], policy: Policy, idle_watts: float | None
) -> Iterator[Charge]:
    assert piece.joules is not None
    ratio = piece.utilization_ratio
    is_idle = ratio is not None and ratio < policy.idle_below
    parts: dict[tuple[str, Class], float] = {}
    if holders:
        idle_part = 1.0 if is_idle else _idle_part(piece, holders, policy, idle_watts)
        for whole, divided in (
            (1 - idle_part, _active_parts(holders)),
            (idle_part, _idle_parts(holders, policy, is_idle)),
        ):
            for workload, charge_class, part in divided:
                key = workload, charge_class
                parts[key] = parts.get(key, 0.0) + whole * part
    else:
        parts["", Class.IDLE_UNALLOCATED if is_idle else Class.UNATTRIBUTED] = 1.0
    for (workload, charge_class), part in parts.items():
        if part > 0:
            joules = Joules(piece.joules * part)
            yield Charge(piece.device, piece.start_ms, piece.end_ms, charge_class, joules, workload)


def _idle_part(
    piece: Span, holders: Sequence[_Holder], policy: Policy, idle_watts: float | None
) -> float:
    """Return which part of the energy of a device that works is drawn whether it works or not."""
    assert piece.joules is not None
    told = policy.idle is IdlePolicy.PLATFORM or any(h.activity is not None for h in holders)
    if idle_watts is None or not told:
        return 0.0
    idle_joules = idle_watts * (piece.end_ms - piece.start_ms) / 1000
    return 1.0 if idle_joules >= piece.joules else idle_joules / piece.joules


def _active_parts(holders: Sequence[_Holder]) -> Iterator[Part]:
    if all(h.activity is None for h in holders):
        held, free = _held_parts(holders)
        for holder, part in zip(holders, held, strict=True):
            yield holder.workload, Class.ACTIVE, part
        yield "", Class.UNATTRIBUTED, free
        return
    total = math.fsum(h.weight for h in holders)
    if total == 0:
        # It was busy, and none of its holders was seen to work.
        yield "", Class.UNATTRIBUTED, 1.0
        return
    for holder in holders:
        yield holder.workload, Class.ACTIVE, holder.weight / total


def _idle_parts(holders: Sequence[_Holder], policy: Policy, is_idle: bool) -> Iterator[Part]:
    held, free = _held_parts(holders)
    total = math.fsum(h.weight for h in holders)
    if policy.idle is IdlePolicy.PROPORTIONAL and total > 0:
        held, free = [h.weight / total for h in holders], 0.0
    for holder, part in zip(holders, held, strict=True):
        idles = is_idle or holder.idles(policy.idle_below)
        if policy.idle is IdlePolicy.PLATFORM:
            yield "", Class.IDLE_HELD if idles else Class.OVERHEAD, part
        else:
            yield holder.workload, Class.IDLE_HELD if idles else Class.ACTIVE, part
    yield "", Class.IDLE_UNALLOCATED, free


def _held_parts(holders: Sequence[_Holder]) -> tuple[list[float], float]:
    """Return which part of the device each holds, and which part nobody does; they sum to one."""
    total = math.fsum(h.share for h in holders)
    norm = max(total, 1.0)
    return [h.share / norm for h in holders], max(0.0, 1.0 - total)


Part = tuple[str, Class, float]
"""Workload, class, and the part of a whole that they are charged."""


@dataclass(slots=True)
class _Holder:
    """A workload that holds a part of a device, works on it, or both; its allocations summed."""

    workload: str
    share: float = 0.0
    activity: float | None = None

    def add(self, held: Allocation) -> None:
        self.share += held.share
        if held.activity is not None:
            self.activity = (self.activity or 0.0) + held.activity

    @property
    def weight(self) -> float:
        """Its activity; where nobody can tell, it counts as working on all of its share."""
        return self.share if self.activity is None else self.activity

    def idles(self, idle_below: float) -> bool:
        return self.activity is not None and self.activity < idle_below * self.share
