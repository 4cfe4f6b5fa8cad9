"""Which exporters are pulled from, how often, and within which limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from wattshed_collector.outcomes.engines import AUTO, CHOICES
from wattshed_exporter.settings import option

from .discovery import Auth, FileSd, HttpSd, KubernetesSd, Static, Tls, breaks, is_web
from .ingest import above_zero
from .outcomes import OutcomeRule, misplaced, unknown
from .relabel import LABEL, Relabel

NAMED_ALONE = "targets"
"""The job of ``scrape.targets``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Targets that are found and asked alike, as Prometheus' ``scrape_config``."""

    name: str = option("", "Name of the job; the label job of its targets.")
    interval_seconds: float = option(0.0, "Time between two scrapes; 0: that of all jobs.")
    timeout_seconds: float = option(0.0, "Time that a scrape may take; 0: that of all jobs.")
    scheme: str = option("http", "http or https.")
    path: str = option("/metrics", "Path of the page.")
    params: dict[str, str] = option(dict, "Parameters of the URL.")
    compression: bool = option(True, "Ask for pages in gzip.")
    cluster: str = option("", 'Cluster of the targets; "": that of all jobs.')
    auth: Auth = field(default_factory=Auth)
    tls: Tls = field(default_factory=Tls)
    static: tuple[Static, ...] = option((), "Targets that are told.", file_only=True)
    file_sd: tuple[FileSd, ...] = option((), "Targets in files.", file_only=True)
    http_sd: tuple[HttpSd, ...] = option((), "Targets that a service lists.", file_only=True)
    kubernetes_sd: tuple[KubernetesSd, ...] = option(
        (), "Targets that Kubernetes knows.", file_only=True
    )
    relabel_configs: tuple[Relabel, ...] = option((), "Rules for targets.", file_only=True)
    metric_relabel_configs: tuple[Relabel, ...] = option((), "Rules for series.", file_only=True)
    outcomes: tuple[str, ...] = option(
        (AUTO,), f"Servers whose counters are outcomes (docs/OUTCOMES.md): {', '.join(CHOICES)}."
    )
    outcome_rules: tuple[OutcomeRule, ...] = option(
        (), "Rules for counters of other programs.", file_only=True
    )
    workload: str = option(
        "",
        "Key of the workload that the outcomes are of, by labels, such as slurm/c1/{slurm_job}; "
        "by default the pod, else job and instance.",
    )
    sample_limit: int = option(0, "Most samples of a page after the rules; 0: any number.")
    label_limit: int = option(0, "Most labels of a series; 0: any number.")
    label_name_length_limit: int = option(0, "Longest name of a label; 0: any.")
    label_value_length_limit: int = option(0, "Longest value of a label; 0: any.")
    target_limit: int = option(0, "Most targets of the job; beyond, none is scraped. 0: any.")

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        return [
            f"{key}: job {self.name!r}:{sentence}"
            for key, _, sentence in (problem.partition(":") for problem in self._problems())
        ]

    def _problems(self) -> Iterator[str]:
        if not self.name or breaks(self.name) or self.name == NAMED_ALONE:
            yield f"name: is missing, or {NAMED_ALONE!r}, which scrape.targets has"
        if self.scheme not in ("http", "https"):
            yield f"scheme: {self.scheme!r} is not http or https"
        if not self.path.startswith("/") or breaks(self.path) or " " in self.path:
            yield f"path: {self.path!r} does not begin with / or holds a blank"
        if 0 < self.interval_seconds < self.timeout_seconds:
            yield "timeout_seconds: is above interval_seconds"
        for name in LIMITS:
            if getattr(self, name) < 0:
                yield f"{name}: is below 0"
        yield from unknown("outcomes", self.outcomes)
        yield from misplaced("workload", self.workload)
        for static in self.static:
            for name in static.labels:
                if not LABEL.fullmatch(name):
                    yield f"static: {name!r} is no name of a label"


LIMITS = (
    "interval_seconds",
    "timeout_seconds",
    "sample_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "target_limit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """Exporters to pull from."""

    targets: tuple[str, ...] = option(
        (),
        "URLs of /metrics pages of wattshed-exporters or others, such as "
        "http://node1:9741/metrics; node=URL says which machine it is.",
    )
    jobs: tuple[Job, ...] = option(
        (),
        "Jobs of Prometheus' kind, only in the file: static targets, files, HTTP and Kubernetes "
        "(docs/SCRAPING.md); `wattshed targets` shows how each target is.",
        secret=True,
        file_only=True,
    )
    cluster: str = option("", "Cluster of the targets, where their pages do not name one.")
    interval_seconds: float = option(10.0, "Time between two scrapes of a target.")
    timeout_seconds: float = option(5.0, "Time that a scrape may take.")
    max_body_bytes: int = option(32 * 2**20, "Largest page that is read, as sent and unpacked.")
    max_concurrent: int = option(1000, "Scrapes that may be under way at once.")
    shown_targets: int = option(
        2000, "Targets with gauges of their own in /metrics; of others only their job's sums."
    )

    def problems(self) -> list[str]:
        """Return what is wrong with the values, each as one sentence."""
        found = [
            f"targets: {target!r} is not an http or https URL"
            for target in self.targets
            if not is_web(named_target(target)[1])
        ]
        found += [
            f"jobs: two are called {name!r}"
            for name, count in Counter(job.name for job in self.jobs).items()
            if count > 1
        ]
        return found + above_zero(
            {
                "interval_seconds": self.interval_seconds,
                "timeout_seconds": self.timeout_seconds,
                "max_body_bytes": self.max_body_bytes,
                "max_concurrent": self.max_concurrent,
            }
        )

    def every_job(self) -> tuple[Job, ...]:
        """Return the jobs with what they leave to the section; that of ``targets`` is the first."""
        alone = Job(name=NAMED_ALONE)
        return tuple(map(self._completed, (alone, *self.jobs)))

    def _completed(self, job: Job) -> Job:
        interval = job.interval_seconds or self.interval_seconds
        return replace(
            job,
            interval_seconds=interval,
            timeout_seconds=min(job.timeout_seconds or self.timeout_seconds, interval),
            cluster=job.cluster or self.cluster,
        )


def named_target(target: str) -> tuple[str, str]:
    """Split ``node=URL`` into both; the name is "" where a target is a URL alone."""
    name, equals, url = target.partition("=")
    return (name.strip(), url.strip()) if equals and "/" not in name else ("", target)
