"""The contract for workloads: their attributes, what they hold and what they produce."""

from __future__ import annotations

from .terms import Attribute, Metric, Type

WORKLOAD_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("key", "wattshed.workload.id", "workload_id", "Identity, unique in the fleet."),
    Attribute("name", "wattshed.workload.name", "workload", "Name that people use."),
    Attribute("kind", "wattshed.workload.kind", "workload_kind", "training, inference, ..."),
    Attribute("instance", "wattshed.workload.instance", "workload_instance", "Pod, job id, unit."),
    Attribute("namespace", "k8s.namespace.name", "workload_namespace", "Kubernetes namespace."),
    Attribute("team", "wattshed.team", "team", "Team that answers for it."),
    Attribute("owner", "wattshed.owner", "owner", "Person or service that started it."),
    Attribute("project", "wattshed.project", "project", "Project or account."),
    Attribute("cost_center", "wattshed.cost_center", "cost_center", "Cost centre that pays."),
    Attribute("queue", "wattshed.queue", "queue", "Queue or partition that it came from."),
    Attribute("model", "gen_ai.request.model", "ai_model", "Model that it trains or serves."),
    Attribute("precision", "wattshed.precision", "precision", "Numeric format, such as fp8."),
    Attribute("batch_class", "wattshed.batch_class", "batch_class", "Size of its batches."),
    Attribute("phase", "wattshed.phase", "phase", "prefill or decode, if it does only that."),
    Attribute("cluster", "wattshed.cluster", "cluster", "Cluster that it runs in."),
)
OUTCOME_KIND_ATTRIBUTE = "wattshed.outcome"
OUTCOME_SOURCE_ATTRIBUTE = "wattshed.outcome.source"
OUTCOME_MODEL_ATTRIBUTE = "wattshed.outcome.model"
"""What produced it, where a workload serves several models."""
ALLOCATION_METHOD_ATTRIBUTE = "wattshed.allocation.method"
ALLOCATION_ACTIVITY_ATTRIBUTE = "wattshed.allocation.activity"
"""Mean part of the whole device that the workload used (a ratio, double); absent: not known."""
ALLOCATION_REVISION_ATTRIBUTE = "wattshed.allocation.revision"
"""Number of the correction (int); absent is 0, and the highest counts."""

ALLOCATION = Metric(
    "share",
    "wattshed_allocation_share_ratio",
    "wattshed.allocation.share",
    "1",
    Type.GAUGE,
    "Share of the device that the workload holds, from the point's start time until its time.",
    ("device", "workload_id"),
)
WORKLOAD_LABELS = tuple(a.label for a in WORKLOAD_ATTRIBUTES)
WORKLOAD_ENERGY = Metric(
    "",
    "wattshed_workload_energy_joules_total",
    "",
    "J",
    Type.COUNTER,
    "Energy that is charged to the workload, or to nobody where workload_id is empty, by class: "
    "active, idle_held, idle_unallocated, overhead, unattributed. It follows the device's energy "
    "by a window of activity or a round of allocations, and by two scrapes where a series is new. "
    "Devices that overlap "
    "(wattshed_device_info) are charged each as itself: never sum over them.",
    ("device", "node", "kind", "class", *WORKLOAD_LABELS),
)
OUTCOMES = Metric(
    "total",
    "wattshed_outcomes_total",
    "wattshed.outcomes",
    "{outcome}",
    Type.COUNTER,
    "What the workload produced, by kind of outcome.",
    ("workload_id", "outcome"),
)
