"""Settings of the plug-ins that say who holds which device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import option

from . import ALLOCATORS

AUTO = "auto"
UNLABELLED = frozenset({"key", "name", "instance", "cluster"})
"""Fields of a workload that no label of a pod or container can set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """Where the kubelet and the API server of this node answer."""

    podresources_socket: Path = option(
        Path("/var/lib/kubelet/pod-resources/kubelet.sock"), "Socket of the kubelet's podresources."
    )
    pod_logs: Path = option(
        Path("/var/log/pods"), "Folder whose names say namespace, name and uid of each pod."
    )
    resources: tuple[str, ...] = option(
        ("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-*", "amd.com/gpu"),
        "Names of the resources that are devices; * stands for anything.",
    )
    api: str = option(
        "", "URL of the API server; in-cluster where a service account is mounted, else not asked."
    )
    credentials: Path = option(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        "Folder with token and ca.crt for the API server.",
    )

    def problems(self) -> Iterator[str]:
        from wattshed_exporter.config import http_urls

        yield from http_urls("api", self.api)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm:
    """Where Slurm's prolog says which job has which GPU."""

    job_map: Path = option(
        Path("/var/lib/dcgm-exporter/job-mapping"),
        "Folder with one file per GPU index that holds job ids, as dcgm-exporter reads it.",
    )
    gpu_order: tuple[str, ...] = option(
        (), "UUIDs of the GPUs in the order of gres.conf, where it is not that of NVML."
    )
    shards_per_gpu: int = option(
        0, "Shards that gres.conf gives each GPU; with 0 those that are held share all of it."
    )

    def problems(self) -> Iterator[str]:
        if self.shards_per_gpu < 0:
            yield f"shards_per_gpu: {self.shards_per_gpu} is below 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """Where a container engine answers."""

    socket: Path = option(Path("/var/run/docker.sock"), "Socket of Docker's or Podman's API.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """Holders that are written down."""

    file: Path | None = option(None, "YAML file that says who holds which device.")

    def problems(self) -> Iterator[str]:
        if self.file is not None:
            from .static_file import load

            try:
                load(self.file)
            except ConfigError as error:
                yield from (f"file: {problem}" for problem in error.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocations:
    """Who holds which device, and how labels say whose workload it is."""

    sources: tuple[str, ...] = option(
        (AUTO,), f"Where to ask: {AUTO}, none, or any of {', '.join(ALLOCATORS)}."
    )
    interval_seconds: float = option(
        10.0, "Time between two rounds, which fall on its multiples on the clock."
    )
    window_seconds: float = option(
        60.0,
        "Time over which activity is averaged, and by which the counters of workloads lag; "
        "at least interval_seconds.",
    )
    labels: tuple[str, ...] = option(
        (
            "team=team",
            "project=project",
            "cost_center=cost-center",
            "queue=kueue.x-k8s.io/queue-name",
            "model=model",
            "precision=precision",
            "kind=wattshed.io/kind",
        ),
        "Which label or annotation sets which field of a workload, as field=label.",
    )
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    slurm: Slurm = field(default_factory=Slurm)
    docker: Docker = field(default_factory=Docker)
    static: Static = field(default_factory=Static)

    def problems(self) -> Iterator[str]:
        from wattshed_exporter.config import above

        known = (AUTO, "none", *ALLOCATORS)
        for name in self.sources:
            if name not in known:
                yield f"sources: unknown {name!r}; there are {', '.join(known)}"
        if "static" in self.sources and self.static.file is None:
            yield "static.file: is needed by static"
        yield from above(self, 0, "interval_seconds", "window_seconds")
        yield from (f"labels: {problem}" for problem in _label_problems(self.labels))

    @property
    def longest_window_seconds(self) -> float:
        """Return the time over which activity is averaged: one round at least."""
        return max(self.window_seconds, self.interval_seconds)

    def label_rules(self) -> tuple[tuple[str, str], ...]:
        """Return the label and the field of ``Workload`` that it sets, of each rule in order."""
        return tuple((rule.partition("=")[2], rule.partition("=")[0]) for rule in self.labels)


def _label_problems(rules: tuple[str, ...]) -> Iterator[str]:
    # Only here, because the table is data of the contract.
    from wattshed_exporter.semconv import WORKLOAD_ATTRIBUTES

    fields = [a.name for a in WORKLOAD_ATTRIBUTES if a.name not in UNLABELLED]
    for rule in rules:
        name, equals, label = rule.partition("=")
        if not (equals and label):
            yield f"{rule!r} is not field=label"
        elif name not in fields:
            yield f"{rule!r} sets no field of a workload; there are {', '.join(fields)}"
