"""Which objectives there are for energy per outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wattshed_collector.slo import Slo, load
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import option


@dataclass(frozen=True, slots=True, kw_only=True)
class SloFile:
    """Objectives for energy per outcome; a change of the file counts without a restart."""

    file: Path | None = option(
        None,
        "YAML file with `slos: [{name, owner, outcome, match, target_joules_per_outcome, "
        "objective_ratio, ...}]`; empty: those that the store knows stay.",
    )

    def definitions(self) -> list[Slo]:
        """Read the file. Raises ConfigError with all that is wrong with it."""
        return load(self.file) if self.file is not None else []

    def problems(self) -> list[str]:
        """Return what is wrong with the file, each as one sentence."""
        try:
            self.definitions()
        except ConfigError as error:
            return list(error.problems)
        return []
