"""How much may wait and where, what is left free of the disk, and the engine's memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wattshed_exporter.settings import option

from .ingest import above_zero

LEAST_QUEUE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What keeps the collector within its means, and what it was given safe."""

    queue_bytes: int = option(
        256 * 2**20, "Memory for requests that are read and rows that wait; beyond, senders wait."
    )
    engine_memory_bytes: int = option(
        0, "Most memory of the embedded engine; 0: half of what the container or machine has."
    )
    spool_folder: Path | None = option(
        Path("wattshed-spool"),
        "Folder where rows wait while a ClickHouse server is away; empty: senders wait. The "
        "embedded store has none.",
    )
    spool_bytes: int = option(4 * 2**30, "Room that the rows waiting for a server may take.")
    disk_free_bytes: int = option(
        512 * 2**20,
        "Free room of the embedded store's file system below which nothing is taken in.",
    )
    ballast_bytes: int = option(
        128 * 2**20,
        "Size of a file that is given up when the disk is full, so that the store can still tidy "
        "up; laid down once less than 16 GiB are free. 0: none.",
    )
    drop_oldest: bool = option(
        False, "Drop the oldest days of raw readings early when the disk is full."
    )
    keep_days: int = option(2, "Days of raw readings that are never dropped early.")
    backup_folder: Path | None = option(
        None, "Folder below which the running collector may write backups; empty: nowhere."
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = above_zero({"spool_bytes": self.spool_bytes, "keep_days": self.keep_days})
        found += [
            f"{name}: must not be below 0"
            for name in ("engine_memory_bytes", "disk_free_bytes", "ballast_bytes")
            if getattr(self, name) < 0
        ]
        if self.queue_bytes < LEAST_QUEUE_BYTES:
            found.append(f"queue_bytes: must be at least {LEAST_QUEUE_BYTES}")
        if self.backup_folder is not None and not self.backup_folder.is_absolute():
            found.append("backup_folder: must be an absolute path")
        return found
