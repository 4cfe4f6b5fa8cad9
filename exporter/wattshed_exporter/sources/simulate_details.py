"""What the made-up GPUs say beside their readings, as NVML's details: all of it made up.

Each value is a function of absolute time alone: gauges are those of the daily plan's minute that
ends, counters the integral of the plan, so that a restart says the same again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wattshed_exporter.model import MICRO, Detail

from .fleet import HOT_DEVICE, MINUTES, SICK_DEVICE, Board
from .simulate_curve import COMMISSIONED_MS, DAY_MS, HOUR_MS, MINUTE_MS, Curve

SM_PART, MEMORY_PART, TENSOR_PART = 0.82, 0.61, 0.44
"""SM and memory activity, of the utilisation."""
CAPPED_FROM, CAPPED_PART, HOT_PART = 0.9, 0.35, 0.25
"""Load from which the power cap or heat holds clocks down, and for which part of the time."""
PCIE_PER_S, NVLINK_PER_S = 2_400_000_000, 96_000_000_000
"""Bytes a second at full utilisation, sent; as many are received over NVLink, a third over PCIe."""
REPLACED_MS = 3 * HOUR_MS + 15 * MINUTE_MS
SICK_SINCE_MS = COMMISSIONED_MS + REPLACED_MS
CORRECTED_A_DAY = 24
STATES = ("ok", "degraded", "failed")

Row = tuple[str, tuple[str, ...], float, int | None]
"""Metric, the values of its own labels, value, and when a counter stood at zero."""


class Extras:
    """Details of one board.

    ``loads`` and ``seen`` (what its driver tells as utilisation) are 0..1 per minute of the day,
    ``contexts`` processes.
    """

    def __init__(
        self,
        seed: int,
        key: str,
        board: Board,
        loads: Sequence[float],
        seen: Sequence[float],
        contexts: Sequence[int],
    ) -> None:
        self._key, self._board = key, board
        self._loads, self._seen, self._contexts = loads, seen, contexts
        self._sick = key == SICK_DEVICE
        self._work = Curve(seed, f"{key}/work", [round(1000 * part) for part in seen])
        full = [load >= CAPPED_FROM for load in loads]
        self._capped = Curve(seed, f"{key}/capped", [round(1000 * CAPPED_PART) * f for f in full])
        hot = round(1000 * HOT_PART) * (key == HOT_DEVICE)
        self._hot = Curve(seed, f"{key}/hot", [hot * f for f in full])

    def said(self, ts_ms: int, *, is_full: bool) -> Iterator[Detail]:
        """Yield what is said at a time; ``is_full``: also what hardly changes."""
        rows = [*self._gauges(ts_ms), *self._counters(ts_ms)]
        if is_full:
            rows += [*self._bounds(), *self._health(ts_ms)]
        for metric, own, value, since in rows:
            yield Detail(self._key, metric, ts_ms, value, own, since)

    def _gauges(self, ts_ms: int) -> Iterator[Row]:
        minute = (ts_ms - 1) // MINUTE_MS % MINUTES
        seen, is_full = self._seen[minute], self._loads[minute] >= CAPPED_FROM
        is_hot = is_full and self._key == HOT_DEVICE
        clock = self._board.clock_hertz * (0.74 if is_hot else 0.96 if seen else 0.17)
        yield "wattshed_sm_activity_ratio", (), round(SM_PART * seen, 4), None
        yield "wattshed_pipe_activity_ratio", ("tensor",), round(TENSOR_PART * seen, 4), None
        yield "wattshed_memory_activity_ratio", (), round(MEMORY_PART * seen, 4), None
        yield "wattshed_contexts", (), float(self._contexts[minute]), None
        yield "wattshed_clock_hertz", ("sm",), clock // 1e6 * 1e6, None
        yield "wattshed_throttled", ("sw_power_cap",), float(is_full), None
        yield "wattshed_throttled", ("sw_thermal_slowdown",), float(is_hot), None

    def _counters(self, ts_ms: int) -> Iterator[Row]:
        since = COMMISSIONED_MS
        for reason, curve in (("sw_power_cap", self._capped), ("sw_thermal_slowdown", self._hot)):
            value = curve.total(ts_ms) / MICRO
            yield "wattshed_throttled_seconds_total", (reason,), value, since
        work = self._work.total(ts_ms)
        sent = float(work * PCIE_PER_S // MICRO)
        yield "wattshed_link_bytes_total", ("pcie", "transmit"), sent, since
        yield "wattshed_link_bytes_total", ("pcie", "receive"), sent // 3, since
        if self._board.nvlink:
            over = float(work * NVLINK_PER_S // MICRO)
            for direction in ("transmit", "receive"):
                yield "wattshed_link_bytes_total", ("nvlink", direction), over, since

    def _bounds(self) -> Iterator[Row]:
        board = self._board
        bare = float(board.idle_watts)
        yield "wattshed_idle_baseline_watts", ("bare",), bare, None
        yield "wattshed_idle_baseline_watts", ("context",), bare + board.context_watts, None
        limit = float(board.limit_watts)
        for bound, part in (("requested", 1.0), ("default", 1.0), ("min", 0.3), ("max", 1.0)):
            yield "wattshed_power_limit_bound_watts", (bound,), round(part * limit), None
        yield "wattshed_memory_total_bytes", (), board.memory_gib * 2**30, None

    def _health(self, ts_ms: int) -> Iterator[Row]:
        since = COMMISSIONED_MS
        days = max(0, ts_ms - SICK_SINCE_MS) / DAY_MS if self._sick else 0.0
        corrected = float(int(CORRECTED_A_DAY * days))
        yield "wattshed_ecc_errors_total", ("corrected",), corrected, since
        yield "wattshed_ecc_errors_total", ("uncorrected",), 0.0, since
        yield "wattshed_remapped_rows", ("corrected",), float(int(days)), None
        yield "wattshed_remapped_rows", ("pending",), float(self._sick), None
        if self._sick:  # as drivers do it counts from its own start, here of each day
            midnight = ts_ms - ts_ms % DAY_MS
            is_replaced = ts_ms - midnight >= REPLACED_MS
            yield "wattshed_xid_errors_total", ("63",), float(is_replaced), midnight
        for state in STATES:
            yield "wattshed_device_status", (state,), float(state == STATES[self._sick]), None
