"""Settings of the exporter: file < environment < flags, typed, all problems at once."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .allocations.options import Allocations
from .errors import ConfigError
from .model import IdlePolicy
from .settings import option
from .sources import SOURCES

AUTO = "auto"
LOG_LEVELS = ("debug", "info", "warning", "error")
LEAST_SPOOL_BYTES = 2**20
"""Room for a request of the largest size; the requests of a second or two take far less."""
LEAST_DRAIN_PER_SECOND = 0.001
LONGEST_SOCKET_NAME = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Where the kernel's file systems are mounted; a container mounts the host's elsewhere."""

    procfs: Path = option(Path("/proc"), "Mount point of the host's procfs.")
    sysfs: Path = option(Path("/sys"), "Mount point of the host's sysfs.")
    cgroupfs: Path = option(Path("/sys/fs/cgroup"), "Where the host's cgroups are mounted.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """Rules that Prometheus' exporters keep in a file of their own."""

    file: Path | None = option(
        None, "Web configuration file of Prometheus' exporters: TLS, users, limits."
    )

    def problems(self) -> Iterator[str]:
        if self.file is not None:
            from .web import policy

            try:
                policy.load(self.file)
            except ConfigError as error:
                yield from (f"file: {problem}" for problem in error.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The pull side: /metrics, a landing page and /healthz."""

    listen_address: str = option(
        "127.0.0.1:9741", "Address and port to serve /metrics on; empty to serve nothing."
    )
    max_requests: int = option(40, "Requests answered at a time; 0 for no limit.")
    config: WebConfig = field(default_factory=WebConfig)

    def problems(self) -> Iterator[str]:
        yield from at_least(self, 0, "max_requests")
        if self.listen_address:
            try:
                parse_listen(self.listen_address)
            except ValueError as error:
                yield f"listen_address: {error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What programs of this machine say that they produced: POST /v1/outcomes."""

    web: bool = option(False, "Take it where /metrics is served, from whoever may read that.")
    socket: Path | None = option(
        None, "Unix socket to take it on, such as /run/wattshed/outcomes.sock."
    )
    socket_mode: str = option("0660", "Permissions of the socket; who may write to it may send.")

    def problems(self) -> Iterator[str]:
        if not re.fullmatch("0?[0-7]{3}", self.socket_mode):
            yield f"socket_mode: {self.socket_mode!r} is no permissions such as 0660"
        if self.socket is not None and len(bytes(self.socket)) > LONGEST_SOCKET_NAME:
            yield f"socket: a name of at most {LONGEST_SOCKET_NAME} bytes is needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """When a device counts as idle, by what it does and by what it draws."""

    activity_below: float = option(
        0.05, "Utilisation and activity below which a device does nothing."
    )
    power_above_baseline: float = option(
        0.15, "Share above its learned baseline from which the power of a device says it works."
    )
    policy: IdlePolicy = option(
        IdlePolicy.HOLDER,
        "Who pays on /metrics for what a device draws while it idles: who holds it (holder), who "
        "works on it (proportional) or nobody (platform).",
    )
    window_seconds: float = option(
        30.0, "Time that a device must do nothing at a stretch before its baseline is learned."
    )

    def problems(self) -> Iterator[str]:
        yield from above(self, 0, "activity_below", "power_above_baseline", "window_seconds")
        if self.activity_below > 1:
            yield f"activity_below: {self.activity_below:g} is above 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Otlp:
    """The push side: OTLP over HTTP."""

    endpoint: str = option("", "URL to push OTLP/HTTP to, such as http://127.0.0.1:9740.")
    token: str = option("", "Bearer token to send along.", secret=True)
    batch_seconds: float = option(5.0, "Longest time that a tick waits before it is sent.")
    timeout_seconds: float = option(
        10.0, "Time that the collector may stay silent: for one read or write, not a whole request."
    )
    ca_file: Path | None = option(
        None, "Certificates to trust beside the system's, such as the collector's own."
    )
    cert_file: Path | None = option(
        None, "Certificate to show to a collector that asks for one; its key may be in it."
    )
    key_file: Path | None = option(None, "Key of the certificate, without a passphrase.")
    spool_bytes: int = option(
        2**30,
        "Room that unsent requests may take in the state_dir; the oldest are dropped first.",
    )
    memory_bytes: int = option(
        2**24,
        "Room for unsent requests in memory, where there is no state_dir or it cannot be written.",
    )
    drain_per_second: float = option(
        10.0, "Requests of a backlog that are sent per second at most; live ones go before them."
    )

    def problems(self) -> Iterator[str]:
        if self.endpoint and not _is_http(self.endpoint):
            yield f"endpoint: {self.endpoint!r} is not a URL such as http://127.0.0.1:9740"
        elif "@" in self.endpoint:
            yield "endpoint: may not hold a user and a password; there is otlp.token"
        if not (self.token.isascii() and self.token.isprintable()):
            yield "token: holds a character that no header can carry, such as a line break"
        if self.endpoint.startswith("http:"):
            for name in ("ca_file", "cert_file", "key_file"):
                if getattr(self, name) is not None:
                    yield f"{name}: is of no use, because otlp.endpoint does not begin with https"
        if self.key_file is not None and self.cert_file is None:
            yield "key_file: needs otlp.cert_file beside it"
        yield from at_least(self, 0, "batch_seconds")
        yield from above(self, 0, "timeout_seconds")
        yield from at_least(self, LEAST_DRAIN_PER_SECOND, "drain_per_second")
        yield from at_least(self, LEAST_SPOOL_BYTES, "spool_bytes", "memory_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dcgm:
    """A dcgm-exporter that already runs on this machine."""

    url: str = option("http://127.0.0.1:9400/metrics", "Its /metrics page.")

    def problems(self) -> Iterator[str]:
        yield from http_urls("url", self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipmi:
    """The baseboard controller through the kernel's driver."""

    device: Path = option(Path("/dev/ipmi0"), "Device file of the IPMI driver.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redfish:
    """The baseboard controller over the network."""

    url: str = option("", "URL of the service, such as https://bmc1.example.")
    username: str = option("", "User to read as.")
    password: str = option("", "The user's password; better in the environment.", secret=True)
    ca_file: Path | None = option(
        None, "Certificates to trust beside the system's, such as the controller's own."
    )
    cache_seconds: float = option(10.0, "Time between two questions; controllers are slow.")

    def problems(self) -> Iterator[str]:
        yield from http_urls("url", self.url)
        yield from above(self, 0, "cache_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmartPlug:
    """Metering plugs and relays: Shelly, Tasmota and HomeWizard."""

    urls: tuple[str, ...] = option((), "URLs of the plugs, such as http://plug1.example.")

    def problems(self) -> Iterator[str]:
        yield from http_urls("urls", *self.urls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Power model of the CPU, for machines without a meter."""

    idle_watts: float = option(0.0, "Power of the idle CPU; 0 to take it from the model per core.")
    max_watts: float = option(0.0, "Power of the CPU under full load; 0 as above.")

    def problems(self) -> Iterator[str]:
        yield from at_least(self, 0, "idle_watts", "max_watts")
        if 0 < self.max_watts < self.idle_watts:
            yield f"max_watts: {self.max_watts:g} is below idle_watts, {self.idle_watts:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A recorded log, sent again with its original time stamps."""

    file: Path | None = option(
        None, "Recording to replay: CSV with ts and power_watts or energy_joules."
    )
    speed: float = option(
        0.0, "How many recorded seconds pass in one; 0 replays as fast as possible."
    )

    def problems(self) -> Iterator[str]:
        yield from at_least(self, 0, "speed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulate:
    """A made-up fleet, for demonstrations; every row says method=simulated."""

    history_hours: float = option(24.0, "Hours of the past to make up before the live ticks.")
    seed: int = option(7, "Seed of the fleet; the same seed gives the same fleet.")

    def problems(self) -> Iterator[str]:
        yield from at_least(self, 0, "history_hours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the exporter can be told."""

    node: str = option(socket.gethostname, "Name of this machine.", shown="the host's name")
    site: str = option("", "Place where it stands; PUE, price and carbon go by it.")
    tier: str = option("", "Tier such as datacenter or edge.")
    cluster: str = option("", "Cluster that it belongs to.")
    sources: tuple[str, ...] = option(
        (AUTO,), f"Sources to read: {AUTO}, or any of {', '.join(SOURCES)}."
    )
    interval_seconds: float = option(1.0, "Time between two readings of a meter.")
    detail_seconds: float = option(
        5.0, "Time between two readings of what is not energy: clocks, limits, errors, throughput."
    )
    deadline_seconds: float = option(5.0, "Time after which a read that hangs counts as failed.")
    release_seconds: float = option(
        600.0, "Time after which sources that SIGUSR1 released are read again without SIGUSR2."
    )
    state_dir: Path | None = option(
        None,
        "Folder for what must outlive a restart: unsent ticks and learned baselines; "
        "without one both are only in memory.",
    )
    stdout: bool = option(False, "Print each tick to standard output as a line of JSON.")
    once: bool = option(False, "Read a few times, print what /metrics would say, and leave.")
    log_level: str = option("info", f"{', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}.")
    roots: Roots = field(default_factory=Roots)
    web: Web = field(default_factory=Web)
    otlp: Otlp = field(default_factory=Otlp)
    outcomes: Outcomes = field(default_factory=Outcomes)
    idle: Idle = field(default_factory=Idle)
    allocations: Allocations = field(default_factory=Allocations)
    dcgm: Dcgm = field(default_factory=Dcgm)
    ipmi: Ipmi = field(default_factory=Ipmi)
    redfish: Redfish = field(default_factory=Redfish)
    smartplug: SmartPlug = field(default_factory=SmartPlug)
    estimate: Estimate = field(default_factory=Estimate)
    replay: Replay = field(default_factory=Replay)
    simulate: Simulate = field(default_factory=Simulate)

    def problems(self) -> Iterator[str]:
        if not self.node:
            yield "node: is empty"
        if not self.sources:
            yield "sources: names no source"
        known = (AUTO, *SOURCES)
        for name in self.sources:
            if name not in known:
                yield f"sources: unknown source {name!r}; there are {', '.join(known)}"
        if "replay" in self.sources and self.replay.file is None:
            yield "replay.file: is needed by the source replay"
        if "redfish" in self.sources and not self.redfish.url:
            yield "redfish.url: is needed by the source redfish"
        if "smartplug" in self.sources and not self.smartplug.urls:
            yield "smartplug.urls: is needed by the source smartplug"
        if "dcgm" in self.sources and {AUTO, "nvml"} & set(self.sources):
            yield "sources: dcgm and nvml read the same GPUs; name rapl, hwmon, ... instead of auto"
        if self.log_level not in LOG_LEVELS:
            yield f"log_level: {self.log_level!r} is none of {', '.join(LOG_LEVELS)}"
        if self.outcomes.web and not self.web.listen_address:
            yield "outcomes.web: is of no use, because web.listen_address is empty"
        yield from above(self, 0, "interval_seconds", "detail_seconds", "deadline_seconds")
        yield from above(self, 0, "release_seconds")
        if not (self.web.listen_address or self.otlp.endpoint or self.stdout or self.once):
            yield "nothing to do: web.listen_address and otlp.endpoint are empty and stdout is off"


def above(section: object, bound: float, *names: str) -> Iterator[str]:
    """Yield a problem for each named number that is not above ``bound``."""
    for name in names:
        if getattr(section, name) <= bound:
            yield f"{name}: {getattr(section, name):g} is not above {bound:g}"


def at_least(section: object, bound: float, *names: str) -> Iterator[str]:
    """Yield a problem for each named number that is below ``bound``."""
    for name in names:
        if getattr(section, name) < bound:
            yield f"{name}: {_plain(getattr(section, name))} is below {_plain(bound)}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def parse_listen(listen: str) -> tuple[str, int]:
    """Split ``host:port``, ``:port`` or ``[v6]:port``; ``ValueError`` holds half a sentence."""
    host, colon, port = listen.rpartition(":")
    if not colon or not listen.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{listen!r} is not an address and a port such as 127.0.0.1:9741")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError(f"{listen!r} needs brackets around the address, such as [::1]:9741")
    return host, int(port)


def http_urls(name: str, *urls: str) -> Iterator[str]:
    """Yield a problem for each that is set and is no URL of HTTP."""
    yield from (
        f"{name}: {url!r} is not an http or https URL" for url in urls if url and not _is_http(url)
    )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # What the codec idna, through which a host goes to the resolver, refuses; it takes 1 MB.
        labels = (parts.hostname or "").removesuffix(".").split(".")
        named = all(0 < len(label) < 64 for label in labels)
        usable = parts.scheme in ("http", "https") and named and parts.port != 0
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    return usable and plain and not (parts.query or parts.fragment)
