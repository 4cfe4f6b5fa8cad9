"""How each target is: for ``/v1/targets``, for the gauges, and for the log, which says it once.

The gauges of a target are asked for when somebody scrapes the collector: to set them at each of its
own scrapes was a fifth of what one costs the event loop.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from wattshed_collector.telemetry import Telemetry

from .targets import Target

log = logging.getLogger(__name__)
UP, DOWN, UNKNOWN = "up", "down", "unknown"


@dataclass(slots=True)
class Health:
    """What the last scrape of a target was like."""

    target: Target
    state: str = UNKNOWN
    error: str = ""
    scraped_ms: int | None = None
    """When the last scrape began that was finished, Unix milliseconds."""
    seconds: float | None = None
    samples: int | None = None
    """Of the last page that was read."""

    def record(self) -> dict[str, Any]:
        """Return it for JSON; what is not known is null."""
        return {
            "job": self.target.job,
            "url": self.target.url,
            "labels": dict(self.target.labels),
            "health": self.state,
            "last_error": self.error,
            "last_scrape": None if self.scraped_ms is None else self.scraped_ms / 1000,
            "last_scrape_seconds": self.seconds,
            "last_samples": self.samples,
            "interval_seconds": self.target.interval_seconds,
        }


GAUGES: Mapping[str, Callable[[Health], float | None]] = {
    "scrape_up": lambda health: None if health.state == UNKNOWN else float(health.state == UP),
    "scrape_duration_seconds": lambda health: health.seconds,
    "scrape_samples": lambda health: health.samples if health.state == UP else None,
}


@dataclass(slots=True)
class Ward:
    """Keeps the health of all targets. Of the first ``most`` there are gauges."""

    telemetry: Telemetry
    most: int
    _members: dict[Target, Health] = field(default_factory=dict)
    _shown: set[Target] = field(default_factory=set)
    _tally: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name, told in GAUGES.items():
            self.telemetry.watch(name, partial(self._gauge, told))

    def __len__(self) -> int:
        return len(self._members)

    def records(self) -> list[dict[str, Any]]:
        """Return how each target is, by job and URL."""
        order = sorted(self._members.values(), key=lambda each: (each.target.job, each.target.url))
        return [health.record() for health in order]

    def admit(self, target: Target) -> None:
        self._members[target] = Health(target)
        if len(self._shown) < self.most:
            self._shown.add(target)
        self._moved(target.job, "", UNKNOWN)

    def dismiss(self, target: Target) -> None:
        health = self._members.pop(target)
        self._moved(target.job, health.state, "")
        self._shown.discard(target)

    def succeeded(self, target: Target, scraped_ms: int, seconds: float, samples: int) -> None:
        """Note that a page was read."""
        self.telemetry.count("scrapes_total", job=target.job, result="ok")
        if health := self._noted(target, scraped_ms, seconds, UP, ""):
            health.samples = samples

    def failed(
        self, target: Target, scraped_ms: int, seconds: float, reason: str, error: str
    ) -> None:
        """Note that none was, and say so where it is news."""
        self.telemetry.count("scrapes_total", job=target.job, result="failed")
        self.telemetry.count("scrape_failures_total", job=target.job, reason=reason)
        known = self._members.get(target)
        if known is not None and known.state != DOWN:
            log.warning("cannot scrape %s: %s", target.url, error)
        self._noted(target, scraped_ms, seconds, DOWN, error)

    def _noted(
        self, target: Target, scraped_ms: int, seconds: float, state: str, error: str
    ) -> Health | None:
        health = self._members.get(target)
        if health is None:  # it left meanwhile
            return None
        self._moved(target.job, health.state, state)
        health.state, health.error = state, error
        health.scraped_ms, health.seconds = scraped_ms, seconds
        return health

    def _moved(self, job: str, before: str, now: str) -> None:
        if before == now:
            return
        for state, by in ((before, -1), (now, 1)):
            if state:
                self._tally[job, state] += by
                self.telemetry.set("scrape_targets", self._tally[job, state], job=job, health=state)

    def _gauge(self, told: Callable[[Health], float | None]) -> dict[tuple[str, ...], float]:
        """Return a gauge of the targets that are shown, by job and URL; for any thread."""
        shown = [self._members.get(target) for target in list(self._shown)]
        values = {(h.target.job, h.target.url): told(h) for h in shown if h is not None}
        return {labels: value for labels, value in values.items() if value is not None}
