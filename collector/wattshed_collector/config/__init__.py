"""Settings of the collector: file < environment < flags, typed, all problems at once.

Each section is a frozen dataclass that knows what may be wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wattshed_exporter.settings import option

from .charging import Ledger, Retention, TopologyFile
from .discovery import Auth, FileSd, HttpSd, KubernetesSd, Role, Static, Tls
from .durability import Durability
from .ingest import Ingest
from .intake import DeadLetterFolder, OtherMetrics
from .relabel import Action, Relabel
from .scrape import NAMED_ALONE, Job, Scrape, named_target

__all__ = (
    "NAMED_ALONE",
    "PREFIX",
    "Action",
    "Auth",
    "Config",
    "DeadLetterFolder",
    "Durability",
    "FileSd",
    "HttpSd",
    "Ingest",
    "Job",
    "KubernetesSd",
    "Ledger",
    "OtherMetrics",
    "Relabel",
    "Retention",
    "Role",
    "Scrape",
    "Static",
    "Tls",
    "TopologyFile",
    "named_target",
)

PREFIX = "WATTSHED_COLLECTOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the collector can be told."""

    listen: str = option("127.0.0.1:9740", "Address and port to serve on.")
    data: str = option(
        "wattshed-data", "Folder of the embedded store, or the URL of a ClickHouse server."
    )
    log_level: str = option("info", "debug, info, warning or error.")
    ingest: Ingest = field(default_factory=Ingest)
    scrape: Scrape = field(default_factory=Scrape)
    other_metrics: OtherMetrics = field(default_factory=OtherMetrics)
    dead_letters: DeadLetterFolder = field(default_factory=DeadLetterFolder)
    retention: Retention = field(default_factory=Retention)
    durability: Durability = field(default_factory=Durability)
    ledger: Ledger = field(default_factory=Ledger)
    topology: TopologyFile = field(default_factory=TopologyFile)

    def problems(self) -> list[str]:
        """Return what is wrong beside what the sections find, each as one sentence."""
        found = []
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            found.append(f"listen: {self.listen!r} is not host:port")
        return found
