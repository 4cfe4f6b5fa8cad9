"""What of pages is not about energy and is kept all the same, and what each scrape was like.

Samples are kept as Prometheus keeps them: with the labels of their target, at the time of the
scrape. ``up``, ``scrape_duration_seconds`` and ``scrape_samples_scraped`` are metrics as any other:
who names them in ``other_metrics.prometheus`` has them stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable

from wattshed_collector.normalise.dialect import Sample, Series
from wattshed_collector.normalise.foreign import BY_METRIC
from wattshed_collector.outcomes.book import AUTOMATIC
from wattshed_collector.receivers.others import Others, of_prometheus
from wattshed_collector.store.insert import Frame

from .state import TargetState

UP, DURATION, SAMPLES = "up", "scrape_duration_seconds", "scrape_samples_scraped"


class OtherSamples:
    """Keeps by name what ``others`` wants; None wants nothing. May be called from any thread.

    ``read`` are metrics that count outcomes, which are read whether they are kept or not.
    """

    def __init__(
        self, others: Others | None = None, read: frozenset[str] = AUTOMATIC.names
    ) -> None:
        self._others = others or None
        self._read = read | BY_METRIC.keys()
        self.wanted: Container[str] = self._read if self._others is None else self
        """Metrics whose labels have to be read."""
        self.tells = any(map(self.keeps, (UP, DURATION, SAMPLES)))
        """Whether ``verdict`` says anything."""

    def __contains__(self, metric: object) -> bool:
        return metric in self._read or (isinstance(metric, str) and self.keeps(metric))

    def reads(self, metric: str) -> bool:
        """Return whether a metric goes to the dialects: some are read and kept as well."""
        return metric in self._read or not self.keeps(metric)

    def keeps(self, metric: str) -> bool:
        """Return whether a metric is kept that is not about energy."""
        return self._others is not None and metric not in BY_METRIC and self._others.wants(metric)

    def parted(self, said: list[Sample]) -> tuple[list[Sample], list[Sample]]:
        """Return the samples for the dialects, and those that are kept as they are; what counts
        outcomes may be both."""
        if self._others is None:
            return said, []
        parts: tuple[list[Sample], list[Sample]] = [], []
        for sample in said:
            name = sample.series.name
            if self.reads(name):
                parts[0].append(sample)
            if self.keeps(name):
                parts[1].append(sample)
        return parts

    def frames(
        self, kept: Iterable[Sample], state: TargetState, rejected: Counter[str]
    ) -> tuple[Frame, ...]:
        """Return kept samples as rows; those that cannot be kept are counted by reason."""
        if self._others is None:
            return ()
        found = of_prometheus(kept, rejected, state.labels)
        return self._others.frame(found, f"scrape:{state.job.name}", rejected)

    def verdict(
        self,
        state: TargetState,
        scraped_ms: int,
        seconds: float,
        rejected: Counter[str],
        *,
        up: bool,
    ) -> tuple[Frame, ...]:
        """Return what a scrape was like, as rows."""
        told = {UP: float(up), DURATION: seconds}
        if up:
            told[SAMPLES] = float(state.samples)
        said = [
            Sample(Series(name, {}), value, scraped_ms)
            for name, value in told.items()
            if self.keeps(name)
        ]
        return self.frames(said, state, rejected)
