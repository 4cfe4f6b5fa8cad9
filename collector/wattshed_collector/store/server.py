"""A ClickHouse server or cluster: where it is, who we are there, and which node is asked.

Nodes are tried in the order in which they were named. One that fails is left alone for a while, and
the next one is kept to as long as it answers; then the first is tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from wattshed_collector.errors import Denied

SCHEMES = {"http": False, "clickhouse": False, "https": True, "clickhouses": True}
"""Schemes of a server's URL, and whether they mean TLS."""
PORTS = {False: 8123, True: 8443}
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Node:
    """One server's HTTP interface."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach a server or cluster. ``password_file`` is read again for each connection."""

    nodes: tuple[Node, ...]
    is_tls: bool = False
    user: str = "default"
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    database: str = "default"
    settings: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True
    connect_seconds: float = 5.0
    query_seconds: float = 300.0
    grace_seconds: float = 5.0
    """How much longer we wait: the server gives up first, so that nothing runs on unknown to us."""

    def secret(self) -> str:
        """Return the password of now. Raises Denied where its file cannot be read."""
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Denied(
                f"cannot read the password of ClickHouse from {self.password_file}: "
                f"{error.strerror}"
            ) from error

    def redacted(self, text: str) -> str:
        """Return ``text`` without the password."""
        secrets = {self.password}
        with suppress(Denied):
            secrets.add(self.secret())
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def options(self) -> dict[str, Any]:
        """Return what the driver is told beside the node."""
        told = {
            "ca_cert": str(self.ca_file) if self.ca_file else None,
            "client_cert": str(self.cert_file) if self.cert_file else None,
            "client_cert_key": str(self.key_file) if self.key_file else None,
        }
        return {
            "interface": "https" if self.is_tls else "http",
            "username": self.user,
            "password": self.secret(),
            "database": self.database,
            "verify": self.verify,
            "settings": {**self.settings, "max_execution_time": str(self.query_seconds)},
            # A certificate that is shown beside a password does not stand in for it.
            "tls_mode": "strict" if self.cert_file and self.secret() else None,
            "connect_timeout": max(1, round(self.connect_seconds)),
            "send_receive_timeout": max(1, round(self.query_seconds + self.grace_seconds)),
            "query_retries": 0,
            **{name: value for name, value in told.items() if value},
        }


def is_url(target: str) -> bool:
    """Return whether ``target`` names a server, not a folder."""
    return urlsplit(target).scheme in SCHEMES


def node(text: str, is_tls: bool) -> Node:
    """Read ``host`` or ``host:port``. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.username:
        shown = text.rpartition("@")
        raise ValueError(f"{HIDDEN + '@' if shown[1] else ''}{shown[2]} is not host or host:port")
    return Node(parts.hostname, parts.port or PORTS[is_tls])


def parse(url: str) -> Server:
    """Read ``scheme://user:password@host:port/database?setting=value``. Raises ValueError."""
    parts = urlsplit(url)
    is_tls = SCHEMES[parts.scheme]
    if not parts.hostname:
        raise ValueError(f"{hidden(url)!r} names no host")
    return Server(
        (Node(parts.hostname, parts.port or PORTS[is_tls]),),
        is_tls,
        unquote(parts.username or "default"),
        unquote(parts.password or ""),
        database=parts.path.strip("/") or "default",
        settings=dict(parse_qsl(parts.query)),
    )


def hidden(target: str) -> str:
    """Return a URL, or a folder, without the password that it may carry."""
    scheme, separator, rest = target.partition("://")
    credentials, at, place = rest.rpartition("@")
    if not separator or not at:
        return target
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{f':{HIDDEN}' if colon else ''}@{place}"


class Nodes:
    """Which node is asked next; shared by the threads of a store."""

    def __init__(
        self,
        nodes: tuple[Node, ...],
        rest_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._rest_seconds = rest_seconds
        self._monotonic = monotonic
        self._tired_until: dict[Node, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._nodes)

    def best(self) -> Node:
        """Return the first node that did not fail of late, else the one that failed first."""
        now = self._monotonic()
        with self._lock:
            return min(
                self._nodes,
                key=lambda n: until if (until := self._tired_until.get(n, 0)) > now else 0,
            )

    def failed(self, node: Node) -> None:
        """Leave a node alone for a while."""
        with self._lock:
            self._tired_until[node] = self._monotonic() + self._rest_seconds

    def answered(self, node: Node) -> None:
        """Take back that a node failed."""
        with self._lock:
            self._tired_until.pop(node, None)
