"""Where targets are found, and how one says who one is to them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from wattshed_exporter.settings import option

from .ingest import above_zero

FILE_ENDINGS = (".json", ".yml", ".yaml")
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class Role(StrEnum):
    """What of Kubernetes becomes targets."""

    POD = "pod"
    ENDPOINTSLICE = "endpointslice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How certificates are checked and shown; files are read again when they change."""

    ca_file: str = option("", "Authorities that are believed; without, those of the system.")
    cert_file: str = option("", "Our own certificate, where a target asks for one.")
    key_file: str = option("", "Key of our certificate.")
    server_name: str = option("", "Name that the certificate must bear, where not the host's.")
    insecure: bool = option(False, "Believe any certificate.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        if bool(self.cert_file) is not bool(self.key_file):
            return ["cert_file: a certificate and its key_file go together"]
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who asks. A file is read again when it changes."""

    token: str = option("", "Bearer token; a token_file keeps it out of this file.", secret=True)
    token_file: str = option("", "File with the bearer token.")
    username: str = option("", "Name for basic authentication.")
    password_file: str = option("", "File with the password.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        ways = (self.token, self.token_file, self.username)
        if sum(map(bool, ways)) > 1:
            return ["token: choose one of token, token_file and username"]
        if self.password_file and not self.username:
            return ["password_file: the username is missing"]
        if any(map(breaks, (self.token, self.username))):
            return ["token: holds a character that cannot be sent in a header"]
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """Targets that are told."""

    targets: tuple[str, ...] = option((), "host:port of each.")
    labels: dict[str, str] = option(dict, "Labels of all of them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSd:
    """Targets in files, as Prometheus' ``file_sd_config``."""

    files: tuple[str, ...] = option((), "Paths of .json, .yml or .yaml files; * is a glob.")
    refresh_seconds: float = option(5.0, "Time between two looks for files that changed.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = [
            f"files: {file!r} does not end with {', '.join(FILE_ENDINGS)}"
            for file in self.files
            if not file.endswith(FILE_ENDINGS)
        ]
        if not self.files:
            found.append("files: none is named")
        return found + above_zero({"refresh_seconds": self.refresh_seconds})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSd:
    """Targets that a service lists, as Prometheus' ``http_sd_config``."""

    url: str = option("", "Where the list is; JSON.")
    refresh_seconds: float = option(60.0, "Time between two requests.")
    timeout_seconds: float = option(10.0, "Time that a request may take.")
    auth: Auth = field(default_factory=Auth)
    tls: Tls = field(default_factory=Tls)

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = []
        if not is_web(self.url):
            found.append(f"url: {self.url!r} is not an http or https URL")
        elif "@" in urlsplit(self.url).netloc:
            found.append("url: who asks belongs into auth, where it is never shown")
        told = {
            "refresh_seconds": self.refresh_seconds,
            "timeout_seconds": self.timeout_seconds,
        }
        return found + above_zero(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSd:
    """Targets that an API server knows, as Prometheus' ``kubernetes_sd_config``."""

    role: Role = option(Role.POD, "pod or endpointslice.")
    api_server: str = option("", "URL; without, that of the cluster in which this runs.")
    namespaces: tuple[str, ...] = option((), "Namespaces; without, all.")
    label_selector: str = option("", "Labels that an object must bear, such as app=dcgm.")
    field_selector: str = option("", "Fields, such as spec.nodeName=node1.")
    annotations: bool = option(
        False, "Take pods with the annotation prometheus.io/scrape, its path, port and scheme."
    )
    token_file: str = option(f"{SERVICE_ACCOUNT}/token", "Token, read anew for every request.")
    tls: Tls = field(default_factory=Tls)

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = []
        if self.api_server and not is_web(self.api_server):
            found.append(f"api_server: {self.api_server!r} is not an http or https URL")
        if self.annotations and self.role is not Role.POD:
            found.append("annotations: only pods have them here")
        return found


PORTS = {"http": 80, "https": 443}
"""Where nothing else is said, by scheme."""


def web_parts(url: str) -> SplitResult | None:
    """Return the parts of an http or https URL with a host, None for anything else."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if known and not re.search(r"[\x00-\x20\x7f]", url) else None


def is_web(url: str) -> bool:
    """Return whether it is an http or https URL with a host."""
    return web_parts(url) is not None


def breaks(text: str) -> bool:
    """Return whether a text would break out of a line of a request."""
    return re.search(r"[\x00-\x1f\x7f]", text) is not None
