"""From ticks to spans to charges, as pure functions: the rule that the ledger's SQL must equal.

A span is the energy of one device between two readings. Its joules are a counter difference where
both readings carry a counter, else a trapezoid of power, else unknown with a reason. ``charges``
then divides each span among the workloads that hold the device, without losing or making a joule.
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


def charges(
    span: Span, allocations: Iterable[Allocation], idle_below: float = IDLE_BELOW
) -> list[Charge]:
    """Divide a span among those who held its device; the charges add up to the span's joules.

    The span is cut at every edge of an allocation. Within a piece each workload pays its share, or
    its part of the shares where they exceed one; what no share covers goes to nobody. An allocation
    that is said twice counts once. A span of unknown energy gives no charges.
    """
    if span.joules is None:
        return []
    idle = span.utilization_ratio is not None and span.utilization_ratio < idle_below
    held = [
        a
        for a in dict.fromkeys(allocations)
        if a.device == span.device
        and a.share > 0
        and a.start_ms < span.end_ms
        and a.end_ms > span.start_ms
    ]
    edges = {span.start_ms, span.end_ms}
    for allocation in held:
        edges.add(max(allocation.start_ms, span.start_ms))
        edges.add(min(allocation.end_ms, span.end_ms))
    ordered = sorted(edges)
    found: list[Charge] = []
    for start_ms, end_ms in itertools.pairwise(ordered):
        found += _piece_charges(cut(span, start_ms, end_ms), held, idle)
    return found


def _piece_charges(piece: Span, held: Sequence[Allocation], idle: bool) -> Iterator[Charge]:
    shares: dict[str, float] = {}
    for a in held:
        if a.start_ms <= piece.start_ms and a.end_ms >= piece.end_ms:
            shares[a.workload] = shares.get(a.workload, 0.0) + a.share
    total = math.fsum(shares.values())
    norm = max(total, 1.0)
    holder_class = Class.IDLE_HELD if idle else Class.ACTIVE
    for workload in sorted(shares):
        yield _charge(piece, holder_class, shares[workload] / norm, workload)
    if total < 1.0:
        nobody = Class.IDLE_UNALLOCATED if idle else Class.UNATTRIBUTED
        yield _charge(piece, nobody, 1.0 - total, "")


def _charge(piece: Span, charge_class: Class, part: float, workload: str) -> Charge:
    assert piece.joules is not None
    return Charge(
        device=piece.device,
        start_ms=piece.start_ms,
        end_ms=piece.end_ms,
        charge_class=charge_class,
        joules=Joules(piece.joules * part),
        workload=workload,
    )
