"""Who may reach the collector, over what, how much of it, and where it reports about itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from wattshed_collector.security import rules, tls
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import option

from .discovery import PORTS, web_parts
from .ingest import above_zero

LONGEST_DAYS = 3660.0
"""Ten years."""


class ClientCertificates(StrEnum):
    """Whether a client may come without a certificate."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Who may do what. Without a file only this machine is served, and asked for nothing."""

    file: Path | None = option(
        None,
        "YAML file of tokens (wattshed token new makes one), users and client certificates with "
        "what each may do; read again when it changes.",
    )
    anonymous: bool = option(
        False, "Serve other machines without asking who they are; only on a network of your own."
    )
    hosts: tuple[str, ...] = option(
        (), "Names by which browsers may call a collector that asks for nothing, beside localhost."
    )
    cert_file: Path | None = option(None, "Certificate (PEM) with which https is served.")
    key_file: Path | None = option(None, "Key (PEM) of the certificate.")
    client_ca_file: Path | None = option(None, "Authorities (PEM) whose client certificates count.")
    client_certificates: ClientCertificates = option(
        ClientCertificates.OPTIONAL, "optional or required, where there is a client_ca_file."
    )
    tls_min_version: tls.Version = option(tls.Version.TLS12, "TLS12 or TLS13.")

    def tls(self) -> tls.Files | None:
        """Return how to serve https, None for http."""
        if self.cert_file is None or self.key_file is None:
            return None
        return tls.Files(
            self.cert_file,
            self.key_file,
            self.client_ca_file,
            self.client_certificates is ClientCertificates.REQUIRED,
            self.tls_min_version,
        )

    def problems(self) -> list[str]:
        """Return what is wrong with the values and the files they name, each as one sentence."""
        found = []
        if self.anonymous and self.file is not None:
            found.append(
                "anonymous: is of no use beside security.file, which can say `anonymous: [read]`"
            )
        if (self.cert_file is None) != (self.key_file is None):
            found.append("cert_file: goes with security.key_file")
        if self.client_ca_file is not None and self.cert_file is None:
            found.append("client_ca_file: needs security.cert_file, because it is part of TLS")
        files = self.tls()
        if self.file is not None:
            found += _problems_of(partial(rules.load, self.file))
        if files is not None:
            found += _problems_of(partial(tls.context, files))
        return found

    def exposed(self, listen: str) -> list[str]:
        """Return what to do where ``listen`` can be reached by machines that nobody asks."""
        if self.file is not None or self.anonymous or is_loopback(listen.rpartition(":")[0]):
            return []
        return [
            f"listen: other machines reach {listen}, and nothing says who may do what: give it a "
            "security.file (`wattshed token new NAME --role ingest` makes an entry), or listen on "
            "127.0.0.1, or say security.anonymous: true (`wattshed up --anonymous`) where only "
            "friends reach it"
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """How much one sender, and all of them, may ask at a time. 0 is no limit."""

    per_second: float = option(
        1000.0, "Requests per second of one sender: a token's name, else an address."
    )
    concurrent: int = option(8192, "Requests that are answered at the same time.")
    concurrent_per_sender: int = option(4096, "Of those, requests of one sender.")
    body_bytes: int = option(256 * 2**20, "Bytes of bodies that are held at the same time.")
    head_seconds: float = option(15.0, "Time in which a new connection must have asked something.")
    read_seconds: float = option(120.0, "Time in which a request's body must have arrived.")
    window_days: float = option(LONGEST_DAYS, "Longest window that a question may be about.")
    answer_rows: int = option(200_000, "Rows that an answer may have.")
    query_seconds: float = option(60.0, "Time that one query of a question may take.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = above_zero(
            {
                "head_seconds": self.head_seconds,
                "read_seconds": self.read_seconds,
                "window_days": self.window_days,
                "answer_rows": self.answer_rows,
                "query_seconds": self.query_seconds,
            }
        )
        limits = "per_second", "concurrent", "concurrent_per_sender", "body_bytes"
        return found + [f"{n}: must not be below 0" for n in limits if getattr(self, n) < 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfReport:
    """What becomes of the collector's own metrics beside ``/metrics``: kept in its store, and, with
    traces, sent by the OpenTelemetry SDK, which is off by default."""

    enabled: bool = option(
        False,
        "Send traces and metrics of the collector itself over OTLP; needs wattshed[otel]. "
        "OTEL_* variables count where a setting is empty.",
    )
    otlp_endpoint: str = option(
        "", "Base URL such as http://127.0.0.1:4318; empty: OTEL_EXPORTER_OTLP_ENDPOINT."
    )
    interval_seconds: float = option(60.0, "Time between two reports of metrics.")
    traces: bool = option(True, "Send spans of requests, commits and ledger runs.")
    metrics: bool = option(True, "Send the metrics of /metrics.")
    record_seconds: float = option(
        60.0,
        "Time between two times at which the collector writes chosen metrics of its own into its "
        "store, for the board Stack health; 0: never.",
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = above_zero({"interval_seconds": self.interval_seconds})
        if self.record_seconds < 0:
            found.append("record_seconds: must be 0 or more")
        if not self.otlp_endpoint:
            return found
        parts = web_parts(self.otlp_endpoint)
        if parts is None:
            found.append(f"otlp_endpoint: {self.otlp_endpoint!r} is no http or https URL")
        elif parts.username or parts.password:
            found.append(
                "otlp_endpoint: may not hold a user and a password; there is "
                "OTEL_EXPORTER_OTLP_HEADERS"
            )
        return found

    def sent_back(self, listen: str) -> list[str]:
        """Return what to do where spans would go to the collector that listens there itself."""
        if not (self.enabled and self.traces and self.otlp_endpoint):
            return []
        parts, (host, _, port) = web_parts(self.otlp_endpoint), listen.rpartition(":")
        if parts is None or parts.hostname is None:
            return []
        here = parts.hostname == host.strip("[]").lower() or (
            is_loopback(parts.hostname) and _is_here(host)
        )
        if not here or str(parts.port or PORTS[parts.scheme]) != port:
            return []
        return [
            f"telemetry: {self.otlp_endpoint} is this collector, which takes metrics and no spans: "
            "say telemetry.traces: false, or name an otlp_endpoint that takes them"
        ]


def _problems_of(load: Callable[[], object]) -> Sequence[str]:
    try:
        load()
    except ConfigError as error:
        return error.problems
    return ()


def _is_here(host: str) -> bool:
    """Return whether whoever listens on ``host`` is reached by loopback."""
    try:
        return is_loopback(host) or ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches ``host``, a name or an address."""
    bare = host.strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ip_address(bare).is_loopback
    except ValueError:
        return False
