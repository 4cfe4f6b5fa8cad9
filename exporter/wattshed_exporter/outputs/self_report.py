"""What a node that only pushes says about itself: its health, as details of ``{node}/exporter``.

Nobody scrapes such a node, so its health goes where its ticks go, and waits with them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from wattshed_exporter.model import Batch, Detail
from wattshed_exporter.semconv import PROCESS_METRICS, Type
from wattshed_exporter.telemetry import Telemetry

LEAST_SECONDS = 60.0
CPU_SECONDS, RESIDENT_BYTES = (metric.prometheus for metric in PROCESS_METRICS)


class SelfReport:
    """Hands the exporter's health to an output now and then.

    Args:
        node: the machine's name.
        telemetry: what is told.
        put: takes the batch.
        seconds: time between two reports.
        monotonic: seconds.
        now_ms: milliseconds since 1970.
        cpu_seconds: CPU time of this process.
        statm: memory of this process in pages (proc_pid_statm(5)).
    """

    def __init__(
        self,
        node: str,
        telemetry: Telemetry,
        put: Callable[[Batch], None],
        seconds: float = LEAST_SECONDS,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        cpu_seconds: Callable[[], float] = time.process_time,
        statm: Path = Path("/proc/self/statm"),
    ) -> None:
        self._device = f"{node}/exporter"
        self._telemetry = telemetry
        self._put = put
        self._seconds = max(seconds, LEAST_SECONDS)
        self._monotonic, self._now_ms = monotonic, now_ms
        self._cpu_seconds, self._statm = cpu_seconds, statm
        self._start_ms = now_ms()
        self._due = monotonic() + self._seconds

    def tell_if_due(self) -> None:
        """Report when it is time."""
        now = self._monotonic()
        if now >= self._due:
            self._due = now + self._seconds
            self._put(Batch(details=tuple(self._details(self._now_ms()))))

    def _details(self, ts_ms: int) -> Iterator[Detail]:
        start_ms = min(self._start_ms, ts_ms)  # the clock may have been set back
        for metric, series in self._telemetry.health():
            since = start_ms if metric.type is Type.COUNTER else None
            if metric.otel:
                for labels, value in series.items():
                    yield Detail(self._device, metric.prometheus, ts_ms, value, labels, since)
        yield Detail(self._device, CPU_SECONDS, ts_ms, self._cpu_seconds(), (), start_ms)
        resident = self._resident_bytes()
        if resident is not None:
            yield Detail(self._device, RESIDENT_BYTES, ts_ms, resident)

    def _resident_bytes(self) -> int | None:
        try:
            return int(self._statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return None
