"""The contract for workloads: their attributes, what they hold and what they produce."""

from __future__ import annotations

from .terms import Attribute, Metric, Type

WORKLOAD_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("key", "wattshed.workload.id", "workload_id", "Identity, unique in the fleet."),
    Attribute("name", "wattshed.workload.name", "workload", "Name that people use."),
    Attribute("kind", "wattshed.workload.kind", "workload_kind", "training, inference, ..."),
    Attribute("namespace", "k8s.namespace.name", "workload_namespace", "Kubernetes namespace."),
    Attribute("team", "wattshed.team", "team", "Team that answers for it."),
    Attribute("owner", "wattshed.owner", "owner", "Person or service that started it."),
    Attribute("project", "wattshed.project", "project", "Project or cost centre."),
    Attribute("model", "gen_ai.request.model", "ai_model", "Model that it trains or serves."),
    Attribute("precision", "wattshed.precision", "precision", "Numeric format, such as fp8."),
    Attribute("cluster", "wattshed.cluster", "cluster", "Cluster that it runs in."),
)
OUTCOME_KIND_ATTRIBUTE = "wattshed.outcome"
OUTCOME_SOURCE_ATTRIBUTE = "wattshed.outcome.source"
ALLOCATION_METHOD_ATTRIBUTE = "wattshed.allocation.method"

ALLOCATION = Metric(
    "share",
    "wattshed_allocation_share_ratio",
    "wattshed.allocation.share",
    "1",
    Type.GAUGE,
    "Share of the device that the workload holds, from the point's start time until its time.",
    ("device", "workload_id"),
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
