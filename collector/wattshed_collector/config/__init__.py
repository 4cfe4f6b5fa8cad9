"""Settings of the collector: file < environment < flags, typed, all problems at once.

Each section is a frozen dataclass that knows what may be wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wattshed_collector.store.server import is_url
from wattshed_exporter.settings import option

from .charging import Ledger, Quality, Retention, TopologyFile
from .clickhouse import ClickHouse
from .discovery import Auth, FileSd, HttpSd, KubernetesSd, Role, Static, Tls
from .durability import Durability
from .grid import Grid, GridPolicy, GridProvider, Service, Signal
from .ingest import Ingest
from .intake import DeadLetterFolder, OtherMetrics
from .lifecycle import Lifecycle
from .outcomes import OutcomeRule, Outcomes
from .relabel import Action, Relabel
from .scrape import NAMED_ALONE, Job, Scrape, named_target
from .security import ClientCertificates, Requests, Security, SelfReport
from .slo import SloFile
from .store import Migrate, Store

__all__ = (
    "NAMED_ALONE",
    "PREFIX",
    "Action",
    "Auth",
    "ClickHouse",
    "ClientCertificates",
    "Config",
    "DeadLetterFolder",
    "Durability",
    "FileSd",
    "Grid",
    "GridPolicy",
    "GridProvider",
    "HttpSd",
    "Ingest",
    "Job",
    "KubernetesSd",
    "Ledger",
    "Lifecycle",
    "Migrate",
    "OtherMetrics",
    "OutcomeRule",
    "Outcomes",
    "Quality",
    "Relabel",
    "Requests",
    "Retention",
    "Role",
    "Scrape",
    "Security",
    "SelfReport",
    "Service",
    "Signal",
    "SloFile",
    "Static",
    "Store",
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
    store: Store = field(default_factory=Store)
    ingest: Ingest = field(default_factory=Ingest)
    scrape: Scrape = field(default_factory=Scrape)
    other_metrics: OtherMetrics = field(default_factory=OtherMetrics)
    outcomes: Outcomes = field(default_factory=Outcomes)
    dead_letters: DeadLetterFolder = field(default_factory=DeadLetterFolder)
    retention: Retention = field(default_factory=Retention)
    durability: Durability = field(default_factory=Durability)
    ledger: Ledger = field(default_factory=Ledger)
    topology: TopologyFile = field(default_factory=TopologyFile)
    quality: Quality = field(default_factory=Quality)
    slo: SloFile = field(default_factory=SloFile)
    grid: Grid = field(default_factory=Grid)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    security: Security = field(default_factory=Security)
    requests: Requests = field(default_factory=Requests)
    clickhouse: ClickHouse = field(default_factory=ClickHouse)
    telemetry: SelfReport = field(default_factory=SelfReport)

    def problems(self) -> list[str]:
        """Return what is wrong beside what the sections find, each as one sentence."""
        found = []
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            found.append(f"listen: {self.listen!r} is not host:port")
        else:
            found += self.security.exposed(self.listen)
            found += self.telemetry.sent_back(self.listen)
        if is_url(self.data):
            try:
                self.store.server(self.data)
            except ValueError as error:
                found.append(f"data: {error}")
        elif self.store.cluster or self.store.hosts:
            found.append("store: is about a server, and data is a folder")
        return found
