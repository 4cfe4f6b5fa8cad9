"""What one query of ``/clickhouse`` may take, and how many run at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed_exporter.settings import option

from .ingest import above_zero

if TYPE_CHECKING:
    from wattshed_collector.clickhouse.engine import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickHouse:
    """ClickHouse's HTTP interface on the embedded store, for readers: Grafana and other clients."""

    enabled: bool = option(True, "Answer queries at /clickhouse.")
    query_seconds: float = option(30.0, "Time that a query may take; a client may ask for less.")
    answer_rows: int = option(200_000, "Rows that an answer may have.")
    answer_bytes: int = option(64 * 2**20, "Bytes of columns that an answer may have.")
    memory_bytes: int = option(
        512 * 2**20, "Memory of one query; never more than a quarter of the engine's."
    )
    threads: int = option(2, "Threads of one query.")
    concurrent: int = option(4, "Queries that run at the same time.")
    waiting: int = option(200, "Queries that may wait; a dashboard asks about twenty at once.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        numbers = (
            "query_seconds", "answer_rows", "answer_bytes", "memory_bytes", "threads",
            "concurrent", "waiting",
        )  # fmt: skip
        return above_zero({name: getattr(self, name) for name in numbers})

    def limits(self, engine_bytes: int) -> Limits:
        """Return those of one query, where the engine may have ``engine_bytes`` (0: any)."""
        memory = min(self.memory_bytes, engine_bytes // 4) if engine_bytes else self.memory_bytes
        # Imported here: who only reads settings, as each command does, need not read the guard.
        from wattshed_collector.clickhouse.engine import Limits

        return Limits(self.query_seconds, self.answer_rows, self.answer_bytes, memory, self.threads)
