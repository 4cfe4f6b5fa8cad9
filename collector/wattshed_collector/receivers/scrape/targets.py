"""What is scraped: a target out of the labels that were found, as Prometheus makes it.

Labels that begin with ``__`` are there for the rules and go away after them. Of the rest ``node``
says which machine the target is and ``cluster`` of which cluster; they are not put on series,
because a device says itself what it is.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlencode

from wattshed_collector.config import NAMED_ALONE, Job, named_target
from wattshed_collector.config.discovery import PORTS, web_parts
from wattshed_collector.outcomes.owners import Pod
from wattshed_exporter import __version__

from .discovery.kubernetes_labels import META
from .relabel import Rules

ACCEPT = "text/plain;version=0.0.4;q=0.9,*/*;q=0.1"
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
UNITS = (3600.0, 60.0, 1.0, 0.001)
NODE_LABELS = ("node", "kubernetes_node")


class Unusable(ValueError):
    """The labels make no target; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """One page to read. Two with the same fields are one."""

    job: str
    scheme: str
    host: str
    port: int
    address: str
    """``host:port`` as it was told."""
    path: str
    """With its query."""
    labels: tuple[tuple[str, str], ...]
    """In their order."""
    interval_seconds: float
    timeout_seconds: float
    authorization: str = ""
    """Line of the header where the URL itself says who asks."""
    pod: Pod | None = None
    """What Kubernetes' discovery says of it."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}{self.path}"

    @property
    def key(self) -> str:
        """What is the same for the same target after a restart."""
        return f"{self.job} {self.url} {self.labels}"

    @property
    def node(self) -> str:
        """The machine, "" where nobody said."""
        told = dict(self.labels)
        return next((told[name] for name in NODE_LABELS if told.get(name)), "")

    def request(self, authorization: str, *, compression: bool) -> bytes:
        """Return the bytes to send; ``authorization`` is a whole line or ""."""
        encoding = "gzip" if compression else "identity"
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.address}\r\n"
            f"User-Agent: wattshed-collector/{__version__}\r\nAccept: {ACCEPT}\r\n"
            f"Accept-Encoding: {encoding}\r\n"
            f"X-Prometheus-Scrape-Timeout-Seconds: {self.timeout_seconds:g}\r\n"
            f"{self.authorization or authorization}\r\n"
        ).encode()


def alone(text: str, job: Job) -> Target:
    """Return a target of ``scrape.targets``: a URL, or ``node=URL``. Raises Unusable."""
    node, url = named_target(text)
    parts = web_parts(url)
    if parts is None or parts.hostname is None:
        raise Unusable(f"{url!r} is not an http or https URL")
    who, _, address = parts.netloc.rpartition("@")
    labels = {"instance": address, "job": NAMED_ALONE, "node": node}
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    told = base64.b64encode(unquote(who).encode()).decode()
    return Target(
        NAMED_ALONE,
        parts.scheme,
        parts.hostname,
        parts.port or PORTS[parts.scheme],
        address,
        path,
        _public(labels),
        job.interval_seconds,
        job.timeout_seconds,
        f"Authorization: Basic {told}\r\n" if who else "",
    )


def resolve(labels: Mapping[str, str], job: Job, rules: Rules) -> Target | None:
    """Return the target that was found, None where a rule drops it. Raises Unusable."""
    made = rules.apply({**_defaults(job), **{k: v for k, v in labels.items() if v}})
    if made is None:
        return None
    scheme, address = made.get("__scheme__", ""), made.get("__address__", "")
    if scheme not in PORTS:
        raise Unusable(f"{address!r}: {scheme!r} is not http or https")
    parts = web_parts(f"{scheme}://{address}")
    if parts is None or parts.hostname is None or parts.netloc != address or "@" in address:
        raise Unusable(f"{address!r} is no host:port")
    made.setdefault("instance", address)
    interval = _seconds(made.get("__scrape_interval__", ""), job.interval_seconds)
    timeout = _seconds(made.get("__scrape_timeout__", ""), job.timeout_seconds)
    return Target(
        job.name,
        scheme,
        parts.hostname,
        parts.port or PORTS[scheme],
        address,
        _path(made),
        _public(made),
        interval,
        min(timeout, interval),
        pod=_pod(made),
    )


def _pod(labels: Mapping[str, str]) -> Pod | None:
    namespace, name = (labels.get(f"{META}{part}", "") for part in ("namespace", "pod_name"))
    uid = labels.get(f"{META}pod_uid", "")
    return Pod(namespace, name, uid) if namespace and name else None


def _defaults(job: Job) -> dict[str, str]:
    params = {f"__param_{name}": value for name, value in job.params.items()}
    told = {"job": job.name, "__scheme__": job.scheme, "__metrics_path__": job.path}
    return told | params


def _path(labels: Mapping[str, str]) -> str:
    path = labels.get("__metrics_path__", "")
    path = path if path.startswith("/") else f"/{path}"
    if not path.isascii() or not path.isprintable() or " " in path:
        raise Unusable(f"the path {path!r} cannot be sent")
    params = {
        name.removeprefix("__param_"): value
        for name, value in labels.items()
        if name.startswith("__param_")
    }
    if not params:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(params)}"


def _public(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    told = ((name, value) for name, value in labels.items() if value and not name.startswith("__"))
    return tuple(sorted(told))


def _seconds(text: str, otherwise: float) -> float:
    """Read a duration as Prometheus writes it, such as 1m30s."""
    if not text:
        return otherwise
    found = DURATION.fullmatch(text)
    told = (
        sum(int(n) * unit for n, unit in zip(found.groups("0"), UNITS, strict=True)) if found else 0
    )
    if not 0 < told <= 86400:
        raise Unusable(f"{text!r} is no duration up to a day")
    return told
