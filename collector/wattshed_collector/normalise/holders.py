"""Who a row says that it belongs to: a pod by Kubernetes' labels, or a job of a batch system.

Where Prometheus puts labels of the target on a series that has its own under the same names, the
series' own become ``exported_*`` (``honor_labels: false``), and the plain ones name the exporter's
own pod. An exporter never holds a GPU, so such a pod is left out even where nothing was exported.
dcgm-exporter 1.x, and later ones with ``--use-old-namespace``, say ``pod_name``, ``pod_namespace``.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import Attributes
from .dialect import Labels, Scrape

EXPORTERS = ("dcgm-exporter", "device-metrics-exporter", "kepler", "prometheus-node-exporter")
"""What the pods of exporters are called by their charts, somewhere in their names."""


def holder(labels: Labels, scrape: Scrape, job_labels: Mapping[str, str]) -> Attributes | None:
    """Return the workload of a row, None where it names none; a pod goes before a job.

    ``job_labels`` maps the fields ``job``, ``owner``, ``queue`` and ``cluster`` of a batch system
    to labels.
    """
    pod, namespace = labels.get("pod", ""), labels.get("namespace", "")
    if "exported_pod" in labels:
        pod, namespace = labels["exported_pod"], labels.get("exported_namespace", "")
    elif "pod_name" in labels:
        pod, namespace = labels["pod_name"], labels.get("pod_namespace", "")
    if pod and not any(name in pod for name in EXPORTERS):
        return pod_workload(namespace, pod, scrape.cluster)
    job = labels.get(job_labels.get("job", ""), "")
    if not job:
        return None
    told = {field: labels.get(label, "") for field, label in job_labels.items()}
    return job_workload(job, scrape, told)


def pod_workload(namespace: str, pod: str, cluster: str) -> Attributes:
    """Return a pod as a workload: ``k8s/{cluster}/{namespace}/{pod}``."""
    return _said(
        {
            "wattshed.workload.id": f"k8s/{cluster}/{namespace}/{pod}",
            "wattshed.workload.name": pod,
            "wattshed.workload.kind": "pod",
            "wattshed.workload.instance": pod,
            "k8s.namespace.name": namespace,
            "wattshed.cluster": cluster,
        }
    )


def job_workload(job: str, scrape: Scrape, told: Mapping[str, str]) -> Attributes:
    """Return a batch job as a workload: ``slurm/{cluster or node}/{job}``.

    The cluster is that of the machine, because by it nodes and Slurm's history name the job too.
    """
    return _said(
        {
            "wattshed.workload.id": f"slurm/{scrape.cluster or scrape.node}/{job}",
            "wattshed.workload.name": job,
            "wattshed.workload.kind": "job",
            "wattshed.workload.instance": job,
            "wattshed.owner": told.get("owner", ""),
            "wattshed.queue": told.get("queue", ""),
            "wattshed.cluster": scrape.cluster or told.get("cluster", ""),
        }
    )


def _said(attributes: Mapping[str, str]) -> Attributes:
    return {name: value for name, value in attributes.items() if value}
