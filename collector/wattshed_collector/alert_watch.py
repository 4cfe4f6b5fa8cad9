"""What alerts are about as gauges on /metrics: for each signal exactly the rows of its view.

A scrape never waits for the store. The views are asked while somebody scrapes, on a reader's own
thread; one that cannot be asked is counted and its series are absent, as are all where nobody asked
lately: what is shown is never older than ``KEEP_SECONDS`` and the time of a question.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from wattshed_dashboards.alerts import Signal, load

from .errors import CollectorError
from .store.alert_queries import OF_HELD, Told, told, told_of_held
from .store.client import Client
from .store.read import Reader
from .telemetry import Health, Telemetry

log = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0
LOOK_SECONDS = 15.0
"""Least time between two questions, where somebody scraped since the last."""
KEEP_SECONDS = 30.0
"""Time between two questions where nobody did since, so that the next scrape is told of now."""
FORGET_SECONDS = 300.0
"""Time without a scrape after which nothing is asked and nothing shown."""
MOST_SERIES = 10_000


def signals() -> tuple[Signal, ...]:
    """Return the declared signals that have a view of their own; the others are exposed already."""
    declared = load().signals.values()
    return tuple(signal for signal in declared if signal.view.startswith("v_alert_"))


def gauges() -> tuple[Health, ...]:
    """Return the gauges as they are documented."""
    return tuple(Health(s.metric, s.help, s.labels) for s in signals())


class AlertWatch:
    """``keep`` asks now and then until it is cancelled; prometheus-client calls ``collect``."""

    def __init__(
        self,
        reader: Reader,
        telemetry: Telemetry,
        declared: Sequence[Signal],
        most_series: int = MOST_SERIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._telemetry = telemetry
        self._most_series = most_series
        self._clock = clock
        self._declared = declared
        self._found: Mapping[str, Told] = {}
        self._failing: set[str] = set()
        self._scraped_at = -math.inf
        self._looked_at = -math.inf
        telemetry.watch(
            "signal_series_left_out", lambda: {(n,): t.left_out for n, t in self._found.items()}
        )

    def collect(self) -> Iterator[Metric]:
        """Give what was found last."""
        self._scraped_at = self._clock()
        for signal in self._declared:
            gauge = GaugeMetricFamily(signal.metric, signal.help, labels=signal.labels)
            if (found := self._found.get(signal.name)) is not None:
                for labels, value in found.values.items():
                    gauge.add_metric(list(labels), value)
            yield gauge

    async def keep(self) -> None:
        """Look now and then."""
        while True:
            await self.once()
            await asyncio.sleep(PAUSE_SECONDS)

    async def once(self) -> None:
        """Ask the store where it is time to."""
        now = self._clock()
        if now - self._scraped_at > FORGET_SECONDS:
            self._found = {}
            return
        pause = LOOK_SECONDS if self._scraped_at >= self._looked_at else KEEP_SECONDS
        if now - self._looked_at >= pause:
            self._looked_at = now
            try:
                self._found = await self._reader.ask(self.look)
            except CollectorError as error:
                self._found = {}
                log.warning("the store does not tell of signals: %s", error)

    def look(self, client: Client) -> dict[str, Told]:
        """Ask each view once; what could not be asked is not in the answer."""
        found: dict[str, Told] = {}
        held = [signal for signal in self._declared if signal.view in OF_HELD]
        if held:
            found |= self._asked(held, lambda: told_of_held(client, held, self._most_series))
        for signal in self._declared:
            if signal.view not in OF_HELD:
                found |= self._asked([signal], self._question(client, signal))
        return found

    def _question(self, client: Client, signal: Signal) -> Callable[[], dict[str, Told]]:
        return lambda: {signal.name: told(client, signal, self._most_series)}

    def _asked(
        self, asked: Sequence[Signal], question: Callable[[], dict[str, Told]]
    ) -> dict[str, Told]:
        names = {signal.name for signal in asked}
        try:
            found = question()
        except CollectorError as error:
            for name in names:
                self._telemetry.count("signal_failures_total", signal=name)
            if names - self._failing:
                log.warning("%s cannot be told: %s", ", ".join(sorted(names)), error)
            self._failing |= names
            return {}
        self._failing -= names
        return found
