"""Settings of the collector: file < environment < flags, typed, all problems at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.model import IdlePolicy
from wattshed_exporter.settings import option

from .store.policies import HostRemainder
from .topology import Topology, load

PREFIX = "WATTSHED_COLLECTOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """What is taken in and how it is written."""

    max_body_bytes: int = option(16 * 2**20, "Largest request body, as sent.")
    max_decoded_bytes: int = option(64 * 2**20, "Largest request body, decompressed.")
    future_seconds: float = option(600.0, "How far ahead of our clock an event time may be.")
    group_seconds: float = option(0.1, "Time that a write waits for others to share its insert.")
    queue_rows: int = option(500_000, "Rows that may wait to be written; beyond, senders wait.")
    remote_write_interval_seconds: float = option(
        30.0,
        "Time between two scrapes of a Prometheus that writes here; power is not integrated and "
        "an allocation not prolonged over more than three of them.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """Exporters to pull from."""

    targets: tuple[str, ...] = option(
        (),
        "URLs of /metrics pages of wattshed-exporters or others, such as "
        "http://node1:9741/metrics; node=URL says which machine it is.",
    )
    cluster: str = option("", "Cluster of the targets, where their pages do not name one.")
    interval_seconds: float = option(10.0, "Time between two scrapes of a target.")
    timeout_seconds: float = option(5.0, "Time that a scrape may take.")
    max_body_bytes: int = option(32 * 2**20, "Largest page that is read.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long rows are kept; set when the store is created. 0 keeps them for ever."""

    raw_days: int = option(30, "Days that ticks and outcomes are kept.")
    minute_days: int = option(180, "Days that charges per minute are kept; hours stay.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """How joules are charged."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyFile:
    """Which meter lies inside which, where the devices do not say it."""

    file: Path | None = option(
        None, "YAML file with `parents: {device or glob: the meter around it, or null}`."
    )

    def parents(self) -> Topology:
        """Read the file. Raises ConfigError with all that is wrong with it."""
        return load(self.file) if self.file is not None else {}


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
    retention: Retention = field(default_factory=Retention)
    ledger: Ledger = field(default_factory=Ledger)
    topology: TopologyFile = field(default_factory=TopologyFile)

    def problems(self) -> list[str]:
        """Return what is wrong with the values taken together, each as one sentence."""
        found = []
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            found.append(f"listen: {self.listen!r} is not host:port")
        for target in self.scrape.targets:
            if urlsplit(named_target(target)[1]).scheme not in ("http", "https"):
                found.append(f"scrape.targets: {target!r} is not an http or https URL")
        positive = {
            "ledger.interval_seconds": self.ledger.interval_seconds,
            "scrape.interval_seconds": self.scrape.interval_seconds,
            "scrape.timeout_seconds": self.scrape.timeout_seconds,
            "ingest.max_body_bytes": self.ingest.max_body_bytes,
            "ingest.queue_rows": self.ingest.queue_rows,
            "ingest.remote_write_interval_seconds": self.ingest.remote_write_interval_seconds,
        }
        found += [f"{name}: must be above 0" for name, value in positive.items() if value <= 0]
        if not 0 <= self.ledger.idle_below_ratio <= 1:
            found.append("ledger.idle_below_ratio: must be between 0 and 1")
        if self.retention.raw_days and self.retention.raw_days < 2:
            found.append("retention.raw_days: must be 0 or at least 2")
        raw_days, minute_days = self.retention.raw_days, self.retention.minute_days
        if minute_days and (not raw_days or minute_days < raw_days):
            found.append(
                "retention.minute_days: must be 0 or at least retention.raw_days, because charges "
                "are computed again as long as their ticks are kept"
            )
        try:
            self.topology.parents()
        except ConfigError as error:
            found += error.problems
        return found


def named_target(target: str) -> tuple[str, str]:
    """Split ``node=URL`` into both; the name is "" where a target is a URL alone."""
    name, equals, url = target.partition("=")
    return (name.strip(), url.strip()) if equals and "/" not in name else ("", target)
