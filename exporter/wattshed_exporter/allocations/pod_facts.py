"""What of a pod's object in the Kubernetes API says whose work it is.

Only that is kept: the objects of a node's pods are megabytes. A pod is named after what people
made: the Deployment of its ReplicaSet, the CronJob of its Job, the set of its Jobs, else its owner,
else itself. Sources: "Pod v1 core" of the API reference; "Deployments" (pod-template-hash),
"CronJob" (names end with the scheduled minute), "Static Pods"; JobSet, LeaderWorkerSet and Argo
Rollouts by the labels that they set on pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from .pod import Pod

Json = dict[str, Any]

KEPT = frozenset({
    "annotations", "code", "containerStatuses", "controller", "ephemeralContainerStatuses",
    "initContainerStatuses", "items", "labels", "metadata", "object", "ownerReferences", "spec",
    "status",
})  # fmt: skip
"""Names of values other than text that are kept of an answer."""
ENDED = frozenset({"Succeeded", "Failed"})
HASHES = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}
"""Labels that end the name of the ReplicaSet of what is named here."""
ABOVE = ("jobset.sigs.k8s.io/jobset-name", "leaderworkerset.sigs.k8s.io/name")
"""Labels that name what made a pod's owner."""
STATIC = "kubernetes.io/config.mirror"
"""Annotation of a static pod's mirror: the uid that the kubelet gave the pod."""
CRON = re.compile(r"(.+)-([1-9][0-9]{7})")
CRON_LATE_MINUTES = 14 * 24 * 60
"""A Job's pod may start so long after the minute for which the Job was scheduled."""
LONGEST_TEXT = 253
UID = re.compile(r"[0-9A-Za-z-]{1,63}")


def keep(value: Json) -> Json:
    """Return what is kept of an object of an answer: text, and what ``KEPT`` names.

    Labels and annotations are text under any name, so they are whole.
    """
    return {k: v for k, v in value.items() if isinstance(v, str) or k in KEPT}


def parse(value: object, rules: Sequence[tuple[str, str]]) -> Pod | None:
    """Return a pod by its object; ``rules`` as for ``labelled``.

    None where it has no uid, namespace or name.
    """
    metadata, status = _object(value, "metadata"), _object(value, "status")
    uid, namespace, name = (_text(metadata.get(key)) for key in ("uid", "namespace", "name"))
    if not (UID.fullmatch(uid) and namespace and name):
        return None
    labels, annotations = _object(metadata, "labels"), _object(metadata, "annotations")
    spec = _object(value, "spec")
    account = _text(spec.get("serviceAccountName"))
    told = {
        "name": called(metadata, _text(spec.get("nodeName"))),
        "instance": name,
        "namespace": namespace,
        "kind": "pod",
        # Nobody in particular runs what has the account that every namespace has.
        "owner": "" if account == "default" else account,
    }
    told.update(labelled(labels, annotations, rules))
    static = _text(annotations.get(STATIC))
    return Pod(
        uid,
        namespace,
        name,
        {key: text for key, text in told.items() if text},
        tuple(_containers(status)),
        static if UID.fullmatch(static) and static != uid else "",
        status.get("phase") in ENDED,
    )


def labelled(labels: Json, annotations: Json, rules: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the fields that labels set, or else annotations; of several for one the first.

    ``rules`` are labels or annotations, each with the field of a workload that it sets.
    """
    told: dict[str, str] = {}
    for place in (labels, annotations):
        for label, field in rules:
            if text := _text(place.get(label)):
                told.setdefault(field, text)
    return told


def called(metadata: Json, node: str) -> str:
    """Return the name of what people made, of which the pod is a part."""
    name, labels = _text(metadata.get("name")), _object(metadata, "labels")
    for label in ABOVE:
        if text := _text(labels.get(label)):
            return text
    owners = [o for o in _list(metadata, "ownerReferences") if o.get("controller") is True]
    kind, owner = (_text(owners[0].get(key)) if owners else "" for key in ("kind", "name"))
    if kind == "Node":  # a static pod, which is called after the node as well
        return name.removesuffix(f"-{node}") if node else name
    if kind == "ReplicaSet":
        for label in HASHES:
            text = _text(labels.get(label))
            if text and owner.endswith(f"-{text}"):
                return owner.removesuffix(f"-{text}")
    if kind == "Job":
        return _scheduled(owner, _text(metadata.get("creationTimestamp"))) or owner
    return owner or name


def _scheduled(job: str, created: str) -> str:
    """Return the CronJob of a Job whose name ends with a minute just before its pod, else ""."""
    found = CRON.fullmatch(job)
    try:
        minute = datetime.fromisoformat(created).timestamp() / 60
    except ValueError:
        return ""
    if found is None or not -1 <= minute - int(found[2]) <= CRON_LATE_MINUTES:
        return ""
    return found[1]


def _containers(status: Json) -> Iterator[str]:
    """Yield the ids of containers, such as ``containerd://<64 hex digits>``, without the scheme."""
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for each in _list(status, kind):
            if text := _text(each.get("containerID")).rpartition("://")[2]:
                yield text


def _object(value: object, name: str) -> Json:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _list(value: Json, name: str) -> list[Json]:
    found = value.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(value: object) -> str:
    """Return text that can be shown, "" for everything else; no name or label is longer."""
    return value[:LONGEST_TEXT] if isinstance(value, str) and value.isprintable() else ""
