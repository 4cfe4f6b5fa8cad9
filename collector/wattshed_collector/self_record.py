"""Chosen metrics of the collector itself, kept in its own store like any other fact.

So that a board of the stack needs no Prometheus. They bear the names and labels that they have on
``/metrics``, and ``instance`` beside them: who says it. What cannot be written, as the store is
away or full, is not said for that time; the counters go on.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping

from wattshed_exporter.model import Batch

from .errors import CollectorError
from .normalise.other import COUNTER, GAUGE, Other, labels_text
from .receivers.others import rows
from .store.write import Writer
from .telemetry import PREFIX, Telemetry

log = logging.getLogger(__name__)

SENDER = "wattshed"
FIRST_SECONDS = 30.0
_COUNTERS = (
    "lag_seconds_bucket",
    "requests_total",
    "ticks_total",
    "details_total",
    "other_samples_total",
    "rejected_total",
    "refused_total",
    "dead_letters_total",
    "turned_away",
    "failed_batches",
    "scrapes_total",
    "ledger_runs_total",
    "ledger_seconds_total",
    "ledger_hours_total",
    "energy_joules_total",
)
_GAUGES = (
    "queued_bytes",
    "queue_limit_bytes",
    "disk_free_bytes",
    "disk_days_left",
    "disk_full",
    "spool_bytes",
    "spool_oldest_seconds",
    "scrape_targets",
    "table_parts",
    "table_rows",
    "table_bytes",
    "ledger_dirty_hours",
    "ledger_settled_timestamp_seconds",
)
RECORDED: Mapping[str, str] = {
    **{PREFIX + name: COUNTER for name in _COUNTERS},
    **{PREFIX + name: GAUGE for name in _GAUGES},
    "process_cpu_seconds_total": COUNTER,
    "process_resident_memory_bytes": GAUGE,
}
"""What is kept, by its name on ``/metrics``, and whether it only grows."""


class SelfRecord:
    """``keep`` writes each ``seconds`` until it is cancelled; ``instance`` says who that is."""

    def __init__(
        self,
        telemetry: Telemetry,
        writer: Writer,
        instance: str,
        seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._telemetry = telemetry
        self._writer = writer
        self._instance = instance
        self._seconds = seconds
        self._now = now

    async def keep(self) -> None:
        """Write now and then; the first time soon, so that there is something to see."""
        pause = min(FIRST_SECONDS, self._seconds)
        while True:
            await asyncio.sleep(pause)
            pause = self._seconds
            await self.write()

    async def write(self) -> None:
        """Write once. What fails is logged and not tried again: the next time says more."""
        frame = rows(list(self.samples()), SENDER)
        try:
            await asyncio.wrap_future(self._writer.submit(Batch(), (frame,), SENDER))
        except CollectorError as error:
            log.warning("the collector's own metrics could not be kept: %s", error)

    def samples(self) -> Iterator[Other]:
        """Give what is kept, as it is now; a value that is not finite says nothing."""
        ts_ms = round(self._now() * 1000)
        for family in self._telemetry.registry.collect():
            for sample in family.samples:
                kind = RECORDED.get(sample.name)
                if kind is None or not math.isfinite(sample.value):
                    continue
                labels = labels_text({**sample.labels, "instance": self._instance})
                if labels is not None:
                    yield Other(sample.name, labels, ts_ms, sample.value, kind)
