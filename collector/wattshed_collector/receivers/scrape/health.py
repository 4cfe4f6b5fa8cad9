"""How each target is: for ``/v1/targets``, for the gauges, and for the log, which says it once."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from wattshed_collector.telemetry import Telemetry

from .targets import Target

log = logging.getLogger(__name__)
UP, DOWN, UNKNOWN = "up", "down", "unknown"
GAUGES = "scrape_up", "scrape_duration_seconds", "scrape_samples"


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


@dataclass(slots=True)
class Ward:
    """Keeps the health of all targets. Of the first ``most`` there are gauges."""

    telemetry: Telemetry
    most: int
    _members: dict[Target, Health] = field(default_factory=dict)
    _shown: set[Target] = field(default_factory=set)
    _tally: Counter[tuple[str, str]] = field(default_factory=Counter)

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
        if target in self._shown:
            self._shown.remove(target)
            for name in GAUGES:
                self.telemetry.forget(name, job=target.job, target=target.url)

    def succeeded(self, target: Target, scraped_ms: int, seconds: float, samples: int) -> None:
        """Note that a page was read."""
        self.telemetry.count("scrapes_total", job=target.job, result="ok")
        if health := self._noted(target, scraped_ms, seconds, UP, ""):
            health.samples = samples
        self._show(target, 1.0, seconds, samples)

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
        self._show(target, 0.0, seconds, None)

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

    def _show(self, target: Target, up: float, seconds: float, samples: int | None) -> None:
        if target not in self._shown:
            return
        labels = {"job": target.job, "target": target.url}
        self.telemetry.set("scrape_up", up, **labels)
        self.telemetry.set("scrape_duration_seconds", seconds, **labels)
        if samples is None:
            self.telemetry.forget("scrape_samples", **labels)
        else:
            self.telemetry.set("scrape_samples", samples, **labels)
