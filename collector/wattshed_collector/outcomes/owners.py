"""Whose outcomes are: the workload that made them, by the same key by which its joules are charged.

Of a pod the node's exporter says the uid where it can, and else only namespace and name; so what it
said is remembered, and the outcomes of a pod go to the workload to which its devices were given.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wattshed_exporter.model import Batch, Workload

PLACE = re.compile(r"\{([^{}]*)\}")
POD = "pod"
POD_LABELS = ("exported_pod", "pod", "pod_name", "k8s_pod_name", "kubernetes_pod_name")
NAMESPACE_LABELS = (
    "exported_namespace",
    "namespace",
    "k8s_namespace_name",
    "kubernetes_namespace",
    "pod_namespace",
)
UID_LABELS = ("pod_uid", "k8s_pod_uid", "uid")
CLUSTER_LABELS = ("cluster", "k8s_cluster_name")
MOST_KEY = 512
"""Characters of a workload's key; who sends labels chooses them."""
MOST_KNOWN = 200_000


class Pod(NamedTuple):
    """A pod by its names; ``uid`` is "" where it was not told."""

    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Whose:
    """What is known of a target: its pod, its labels, what the operator says of its workload."""

    cluster: str = ""
    pod: Pod | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    template: str = ""


@dataclass(slots=True)
class _Known:
    workload: Workload
    until_ms: int
    """The latest time for which it was said to hold something."""


class Owners:
    """Finds workloads; remembers those that are said to hold devices. Of any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: OrderedDict[str, _Known] = OrderedDict()
        self._pods: dict[tuple[str, str], set[str]] = {}

    def learn(self, workloads: Iterable[Workload], until_ms: Mapping[str, int]) -> None:
        """Take over workloads that hold devices, each with the time until which it does."""
        with self._lock:
            for workload in workloads:
                if workload.key in until_ms:
                    self._note(workload, until_ms[workload.key])

    def saw(self, batch: Batch) -> None:
        """Take over the workloads of a batch that hold devices."""
        until_ms: dict[str, int] = {}
        for held in batch.allocations:
            until_ms[held.workload] = max(held.end_ms, until_ms.get(held.workload, 0))
        if until_ms:
            self.learn(batch.workloads, until_ms)

    def of(self, whose: Whose, labels: Mapping[str, str]) -> Workload | None:
        """Return who made what a series with these labels counts, None where nobody can tell.

        What the operator says goes before the pod, and that before job and instance.
        """
        told = {**labels, **whose.labels}
        key = _filled(whose.template, told)
        cluster = whose.cluster or _first(told, CLUSTER_LABELS)
        with self._lock:
            if key:
                return self._called(Workload(key, key.rpartition("/")[2], cluster=cluster))
            pod = whose.pod or _pod(told)
            if pod is not None:
                return self._pod(pod, cluster)
        return _service(told, cluster)

    def _note(self, workload: Workload, until_ms: int) -> None:
        known = self._by_key.pop(workload.key, None)
        if known is not None and known.until_ms > until_ms:
            workload, until_ms = known.workload, known.until_ms
        self._by_key[workload.key] = _Known(workload, until_ms)
        if is_pod(workload):
            self._pods.setdefault(_names(workload), set()).add(workload.key)
        if len(self._by_key) > MOST_KNOWN:
            _, gone = self._by_key.popitem(last=False)
            keys = self._pods.get(_names(gone.workload), set())
            keys.discard(gone.workload.key)
            if not keys:
                self._pods.pop(_names(gone.workload), None)

    def _called(self, otherwise: Workload) -> Workload:
        known = self._by_key.get(otherwise.key)
        return otherwise if known is None or len(otherwise.key) > MOST_KEY else known.workload

    def _pod(self, pod: Pod, cluster: str) -> Workload | None:
        """Return a pod as it was said to hold something, else as its exporter would call it."""
        known = self._candidates(pod, cluster)
        if pod.uid:
            # By name it may still be the pod before, unless nobody knows uids there.
            by_uid = [each for each in known if _has_uid(each.workload, pod)]
            mine = [each for each in by_uid if each.workload.key.endswith(f"/{pod.uid}")]
            known = mine or ([] if by_uid else known)
        else:
            known = [each for each in known if _has_uid(each.workload, pod)] or known
        if known:
            return max(known, key=lambda each: each.until_ms).workload
        identity = (pod.uid,) if pod.uid else (pod.namespace, pod.name)
        key = "/".join(part for part in ("k8s", cluster, *identity) if part)
        if len(key) > MOST_KEY:
            return None
        return Workload(
            key, pod.name, POD, instance=pod.name, namespace=pod.namespace, cluster=cluster
        )

    def _candidates(self, pod: Pod, cluster: str) -> list[_Known]:
        """Return what goes by a pod's names, in its cluster or where one of the two is not told."""
        keys = self._pods.get((pod.namespace, pod.name), set())
        found = [self._by_key[key] for key in sorted(keys)]
        same = [each for each in found if each.workload.cluster == cluster]
        if same or not cluster:
            clusters = {each.workload.cluster for each in found}
            return same or (found if len(clusters) == 1 else [])
        return [each for each in found if not each.workload.cluster]


def is_pod(workload: Workload) -> bool:
    """Return whether a workload is a pod, whatever kind of work its labels say that it does."""
    return workload.kind == POD or workload.key.startswith("k8s/")


def _names(workload: Workload) -> tuple[str, str]:
    return workload.namespace, workload.instance


def _has_uid(workload: Workload, pod: Pod) -> bool:
    return not workload.key.endswith(f"/{pod.namespace}/{pod.name}")


def _filled(template: str, labels: Mapping[str, str]) -> str:
    """Return a template with its labels, "" where one of them is not there."""
    names = PLACE.findall(template)
    if not template or not all(labels.get(name) for name in names):
        return ""
    return PLACE.sub(lambda found: labels[found.group(1)], template)[:MOST_KEY]


def _pod(labels: Mapping[str, str]) -> Pod | None:
    namespace, name = _first(labels, NAMESPACE_LABELS), _first(labels, POD_LABELS)
    return Pod(namespace, name, _first(labels, UID_LABELS)) if namespace and name else None


def _service(labels: Mapping[str, str], cluster: str) -> Workload | None:
    """Return what Prometheus knows of a target that is no pod: ``prometheus/{job}/{instance}``."""
    job, instance = labels.get("job", ""), labels.get("instance", "")
    if not (job or instance):
        return None
    key = "/".join(part for part in ("prometheus", cluster, job, instance) if part)
    if len(key) > MOST_KEY:
        return None
    return Workload(key, job or instance, "service", instance=instance, cluster=cluster)


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")
