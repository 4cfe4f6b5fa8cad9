"""What is taken of metrics that are not about energy, and where refused bodies are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wattshed_exporter.settings import option

from .ingest import above_zero


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherMetrics:
    """Metrics that are not about energy, kept beside those that are."""

    otlp: tuple[str, ...] = option(
        ("*",),
        "Names or globs of what is kept of OTLP; who sends it was told to send it here.",
    )
    prometheus: tuple[str, ...] = option(
        (),
        "Names or globs of what is kept of remote writes, such as "
        "node_load*,vllm:*; a Prometheus forwards everything that it has, so nothing is unless "
        "it is named.",
    )
    max_series: int = option(
        20_000, "Series of them that one sender may write to within an hour; beyond, refused."
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        return above_zero({"max_series": self.max_series})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFolder:
    """Bodies that can never be taken, kept with the reason."""

    folder: Path | None = option(
        None,
        "Where they are kept. By default `dead-letters` in the data folder; with a ClickHouse "
        "server and no folder named, nowhere.",
    )
    max_bytes: int = option(64 * 2**20, "Bytes of bodies that are kept; the oldest go first.")
    max_letters: int = option(1000, "Bodies that are kept; the oldest go first.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        return above_zero({"max_bytes": self.max_bytes, "max_letters": self.max_letters})

    def where(self, data: str) -> Path | None:
        """Return the folder for a store at ``data``, None where nothing is kept."""
        if self.folder is not None:
            return self.folder
        return None if "://" in data else Path(data) / "dead-letters"
