"""How long rows are kept, how joules are charged, which meter lies inside which, what drifted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from wattshed_collector.store.policies import HostRemainder
from wattshed_collector.topology import Topology, load
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.model import IdlePolicy
from wattshed_exporter.settings import option

from .ingest import above_zero

MOST_DAYS = 20_000
"""The store counts the seconds of an expiry in 32 bits, until 2106: one later than that would wrap
around to 1970, and what was just written would be dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long rows are kept; what is stored follows a change at the next start. 0: for ever."""

    raw_days: int = option(30, "Days that ticks and outcomes are kept.")
    minute_days: int = option(180, "Days that charges per minute are kept; hours stay.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = [
            f"{name}: must be at most {MOST_DAYS}; 0 keeps them for ever"
            for name in ("raw_days", "minute_days")
            if getattr(self, name) > MOST_DAYS
        ]
        if self.raw_days and self.raw_days < 2:
            found.append("raw_days: must be 0 or at least 2")
        if self.minute_days and (not self.raw_days or self.minute_days < self.raw_days):
            found.append(
                "minute_days: must be 0 or at least retention.raw_days, because charges "
                "are computed again as long as their ticks are kept"
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """How joules are charged."""

    enabled: bool = option(
        True,
        "Whether this collector may compute; of several on one store one does, and one that only "
        "takes in need not be it.",
    )
    interval_seconds: float = option(
        60.0, "Time between two runs of the ledger; the first ones follow faster."
    )
    idle_policy: IdlePolicy = option(
        IdlePolicy.HOLDER, "Who pays for idling: holder, proportional or platform."
    )
    idle_below_ratio: float = option(0.05, "Utilisation under which a device counts as idle.")
    host_remainder: HostRemainder = option(
        HostRemainder.PLATFORM,
        "Who pays what a host draws beside its devices: platform or proportional.",
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = above_zero({"interval_seconds": self.interval_seconds})
        if not 0 <= self.idle_below_ratio <= 1:
            found.append("idle_below_ratio: must be between 0 and 1")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyFile:
    """Which meter lies inside which, where the devices do not say it."""

    file: Path | None = option(
        None, "YAML file with `parents: {device or glob: the meter around it, or null}`."
    )

    def parents(self) -> Topology:
        """Read the file. Raises ConfigError with all that is wrong with it."""
        return load(self.file) if self.file is not None else {}

    def problems(self) -> list[str]:
        """Return what is wrong with the file, each as one sentence."""
        try:
            self.parents()
        except ConfigError as error:
            return list(error.problems)
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """When a model's scores are called drifted and its calibration stale."""

    drift_ratio: float = option(
        0.01, "How much worse than at calibration, of that score, a score is called drifted."
    )
    calibration_days: float = option(30.0, "Age in days at which a calibration is called stale.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = above_zero({"calibration_days": self.calibration_days})
        if not 0 <= self.drift_ratio < math.inf:
            found.append("drift_ratio: must be at least 0")
        return found
