"""A ClickHouse server or cluster as the store: where it is, who we are, how it is laid out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from wattshed_collector.store import server
from wattshed_collector.store.migrate import Layout
from wattshed_collector.store.server import Server
from wattshed_exporter.settings import option

from .ingest import above_zero


class Migrate(StrEnum):
    """What a collector does where the store's tables are older than it is."""

    AUTO = "auto"
    WAIT = "wait"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A ClickHouse server or cluster, where ``data`` is its URL; a folder needs none of this."""

    hosts: tuple[str, ...] = option(
        (),
        "More nodes, as host or host:port, in the order in which they are asked where the one in "
        "`data` does not answer. With `sharded`, at least one of each shard.",
    )
    user: str = option("", "User, where the URL names none.")
    password_file: Path | None = option(
        None, "File with the user's password; read again for each connection."
    )
    database: str = option("", "Database, where the URL names none.")
    ca_file: Path | None = option(None, "Certificates of authorities to trust, as PEM.")
    cert_file: Path | None = option(None, "Certificate to show to the server, as PEM.")
    key_file: Path | None = option(None, "Key of `cert_file`, as PEM.")
    verify: bool = option(True, "Check the server's certificate and its name.")
    cluster: str = option(
        "", "Cluster (of remote_servers) whose nodes hold the tables, replicated by Keeper."
    )
    sharded: bool = option(
        False, "Divide what devices say among the shards of `cluster`; else every node has it all."
    )
    whole_cluster: str = option(
        "all-replicated",
        "Cluster of one shard with every node of `cluster` as its replica, for the tables that "
        "are whole on each node of a sharded layout.",
    )
    insert_quorum: str = option(
        "auto", "Replicas of a cluster that must have a row before it is acknowledged, or auto."
    )
    connect_seconds: float = option(5.0, "Time that a connection may take.")
    query_seconds: float = option(300.0, "Time that a statement may take.")
    migrate: Migrate = option(
        Migrate.AUTO,
        "Where tables are missing or older: auto makes them (one collector at a time), wait waits "
        "until `wattshed migrate` has, never refuses to start.",
    )

    def server(self, url: str) -> Server:
        """Return how to reach the server at ``url``. Raises ValueError."""
        told = server.parse(url)
        more = tuple(server.node(text, told.is_tls) for text in self.hosts)
        return replace(
            told,
            nodes=tuple(dict.fromkeys((*told.nodes, *more))),
            user=self.user or told.user,
            password_file=self.password_file,
            database=self.database or told.database,
            settings={**self._quorum(), **told.settings},
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            verify=self.verify,
            connect_seconds=self.connect_seconds,
            query_seconds=self.query_seconds,
        )

    def layout(self, raw_days: int, minute_days: int, database: str = "default") -> Layout:
        """Return how the tables are laid out."""
        return Layout(
            cluster=self.cluster,
            raw_days=raw_days,
            minute_days=minute_days,
            whole_cluster=self.whole_cluster if self.sharded else "",
            database=database,
        )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = above_zero(
            {"connect_seconds": self.connect_seconds, "query_seconds": self.query_seconds}
        )
        for text in self.hosts:
            try:
                server.node(text, is_tls=False)
            except ValueError as error:
                found.append(f"hosts: {error}")
        if self.key_file is not None and self.cert_file is None:
            found.append("key_file: needs cert_file beside it")
        if self.sharded and not self.cluster:
            found.append("sharded: needs the name of a cluster")
        if self.sharded and not self.whole_cluster:
            found.append("whole_cluster: must be named where the layout is sharded")
        if self.insert_quorum != "auto" and not self.insert_quorum.isdigit():
            found.append(f"insert_quorum: {self.insert_quorum!r} is neither a number nor auto")
        names = {"cluster": self.cluster, "whole_cluster": self.whole_cluster}
        found += [f"{key}: {name!r} has a quote" for key, name in names.items() if "'" in name]
        for name in ("password_file", "ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                found.append(f"{name}: there is no file {path}")
        return found

    def _quorum(self) -> dict[str, str]:
        if not self.cluster or self.insert_quorum == "0":
            return {}
        return {"insert_quorum": self.insert_quorum}
