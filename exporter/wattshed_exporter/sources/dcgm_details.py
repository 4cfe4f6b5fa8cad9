"""What a dcgm-exporter's page says of a GPU beside power and energy.

Profiling fields are left out while the profiler says zero of a GPU that works. The page has the
last XID alone, so that errors are counted by its changes: at least so many. What goes over a link
is on the page as a mean rate, so bytes are that rate times the time between two reads, from zero
when the GPU is first seen; after a pause of reading the time before it is left out. How long the
clocks were held down is left out as well: the unit of those counters changed between releases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wattshed_exporter.model import Detail

from .dcgm_page import (
    CLOCKS,
    COPY,
    DRAM,
    ENGINES,
    ERRORS,
    FREE,
    LINKS,
    MEGAHERTZ,
    MEMORY_TEMPERATURE,
    MIB,
    PIPES,
    REMAPPED,
    RESERVED,
    THROTTLERS,
    TOTAL,
    USED,
    XID,
    Board,
)
from .nvml_details import REASON_BITS

LONGEST_SECONDS = 120.0
"""Between two reads; after more nobody knows what went over a link."""

Value = tuple[str, float, tuple[str, ...]]


@dataclass(slots=True)
class History:
    """What has to be remembered of one GPU to count its errors and the bytes of its links."""

    start_ms: int
    last_ms: int
    xid: int | None = None
    errors: dict[int, int] = field(default_factory=dict)
    transferred: dict[tuple[str, str], float] = field(default_factory=dict)

    def take(self, board: Board, now_ms: int) -> None:
        """Count what is new on the page."""
        xid = board.value(XID)
        if xid is not None:
            if self.xid is not None and xid and xid != self.xid:
                self.errors[int(xid)] = self.errors.get(int(xid), 0) + 1
            self.xid = int(xid)
        seconds = (now_ms - self.last_ms) / 1000
        self.last_ms = now_ms
        for link, of in LINKS.items():
            rate = board.profiled(of)
            if rate is not None:
                passed = rate * seconds if 0 < seconds <= LONGEST_SECONDS else 0.0
                self.transferred[link] = self.transferred.get(link, 0.0) + passed


def details(key: str, board: Board, history: History) -> list[Detail]:
    """Return what the page says of a GPU, with what was counted of it so far."""
    now_ms = history.last_ms
    said = [Detail(key, metric, now_ms, value, own) for metric, value, own in _values(board)]
    counted = [
        *(("wattshed_xid_errors_total", n, (str(xid),)) for xid, n in history.errors.items()),
        *(("wattshed_link_bytes_total", n, link) for link, n in history.transferred.items()),
    ]
    said += [Detail(key, name, now_ms, n, own, history.start_ms) for name, n, own in counted]
    return said


def _values(board: Board) -> Iterator[Value]:
    yield from _memory(board)
    yield from _activity(board)
    for domain, of in CLOCKS.items():
        if (megahertz := board.value(of)) is not None:
            yield "wattshed_clock_hertz", megahertz * MEGAHERTZ, (domain,)
    if (celsius := board.value(MEMORY_TEMPERATURE)) is not None:
        yield "wattshed_sensor_temperature_celsius", celsius, ("memory",)
    for severity, of in ERRORS.items():
        if (count := board.value(of)) is not None:
            yield "wattshed_ecc_errors_total", count, (severity,)
    for rows, of in REMAPPED.items():
        if (count := board.value(of)) is not None:
            yield "wattshed_remapped_rows", count, (rows,)
    if (bits := board.value(THROTTLERS)) is not None:
        for bit, reason in REASON_BITS.items():
            yield "wattshed_throttled", float(bool(int(bits) & bit)), (reason,)


def _memory(board: Board) -> Iterator[Value]:
    total = board.value(TOTAL)
    if total is None and not board.mig:
        parts = [board.value(of) for of in (USED, FREE, RESERVED)]
        known = [part for part in parts if part is not None]
        total = sum(known) if len(known) == len(parts) else None
    if total:
        yield "wattshed_memory_total_bytes", total * MIB, ()


def _activity(board: Board) -> Iterator[Value]:
    cores = board.activity_ratio()
    if cores is not None:
        yield "wattshed_sm_activity_ratio", cores, ()
    ratio, percent = board.profiled(DRAM), board.value(COPY)
    if ratio is not None:
        yield "wattshed_memory_activity_ratio", ratio, ()
    elif percent is not None and not board.mig:
        yield "wattshed_memory_activity_ratio", percent / 100, ()
    for pipe, of in PIPES.items():
        if (ratio := board.profiled(of)) is not None:
            yield "wattshed_pipe_activity_ratio", ratio, (pipe,)
    for engine, of in ENGINES.items():
        if (percent := board.value(of)) is not None:
            yield "wattshed_engine_utilization_ratio", percent / 100, (engine,)
