"""What a pod's object says: names of owners, labels, containers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.kube import pod

from wattshed_exporter.allocations.options import Allocations
from wattshed_exporter.allocations.pod import Pod, told
from wattshed_exporter.allocations.pod_facts import called, keep, labelled, parse

FIELDS = Allocations().label_rules()
HASH = {"pod-template-hash": "7d4b9c"}
CREATED = "2026-03-01T00:00:07Z"
MINUTE = 29_538_720
"""The minute of that time since 1970."""


def owned(kind: str, name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    owner = {"kind": kind, "name": name, "controller": True}
    return {"name": "p-x", "labels": labels or {}, "ownerReferences": [owner],
            "creationTimestamp": CREATED}  # fmt: skip


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"name": "alone"}, "alone"),
        (owned("ReplicaSet", "chat-7d4b9c", HASH), "chat"),
        (owned("ReplicaSet", "chat-7d4b9c", {"rollouts-pod-template-hash": "7d4b9c"}), "chat"),
        (owned("ReplicaSet", "by-hand"), "by-hand"),
        (owned("ReplicaSet", "other-7d4b9d", HASH), "other-7d4b9d"),
        (owned("StatefulSet", "db"), "db"),
        (owned("DaemonSet", "exporter"), "exporter"),
        (owned("RayCluster", "ray-abc"), "ray-abc"),
        (owned("Job", "train-run-7"), "train-run-7"),
        (owned("Job", f"nightly-{MINUTE}"), "nightly"),
        (owned("Job", f"nightly-{MINUTE - 60}"), "nightly"),
        (owned("Job", "train-20260301"), "train-20260301"),
        (owned("Job", f"nightly-{MINUTE + 60}"), f"nightly-{MINUTE + 60}"),
        (owned("Job", "set-a-0", {"jobset.sigs.k8s.io/jobset-name": "set"}), "set"),
        (owned("StatefulSet", "l-0", {"leaderworkerset.sigs.k8s.io/name": "llm"}), "llm"),
        (owned("Node", "n1") | {"name": "etcd-n1"}, "etcd"),
        ({"name": "p", "ownerReferences": [{"kind": "Job", "name": "j"}]}, "p"),
    ],
)
def test_a_pod_is_named_after_what_people_made(metadata: dict[str, Any], name: str) -> None:
    assert called(metadata, "n1") == name


def test_labels_come_before_annotations_and_of_several_the_first() -> None:
    rules = [("team", "team"), ("squad", "team"), ("cost-center", "cost_center")]
    labels, annotations = {"squad": "b"}, {"team": "c", "cost-center": "42"}
    assert labelled(labels, annotations, rules) == {"team": "b", "cost_center": "42"}
    assert labelled({"team": "a", "squad": "b"}, {}, rules) == {"team": "a"}
    assert labelled({"team": ""}, {}, rules) == {}


def test_one_label_may_set_two_fields() -> None:
    rules = Allocations(labels=("team=squad", "owner=squad")).label_rules()
    assert labelled({"squad": "b"}, {}, rules) == {"team": "b", "owner": "b"}


def test_a_whole_pod() -> None:
    value = pod(
        "u-1",
        "chat-7d4b9c-x",
        labels={**HASH, "team": "nlp", "kueue.x-k8s.io/queue-name": "gold"},
        annotations={"model": "llama", "wattshed.io/kind": "inference"},
        ownerReferences=[{"kind": "ReplicaSet", "name": "chat-7d4b9c", "controller": True}],
    )
    value["status"]["initContainerStatuses"] = [{"containerID": "cri-o://" + "f" * 64}, {}]
    assert parse(json.loads(json.dumps(value), object_hook=keep), FIELDS) == Pod(
        "u-1",
        "ml",
        "chat-7d4b9c-x",
        {"name": "chat", "instance": "chat-7d4b9c-x", "namespace": "ml", "kind": "inference",
         "owner": "trainer", "team": "nlp", "queue": "gold", "model": "llama"},
        ("1" * 64, "f" * 64),
    )  # fmt: skip


def test_the_account_that_every_namespace_has_is_nobody() -> None:
    value = pod("u-1", "p")
    value["spec"]["serviceAccountName"] = "default"
    found = parse(value, FIELDS)
    assert found is not None
    assert "owner" not in found.fields


def test_a_static_pod_has_the_kubelets_uid_as_well() -> None:
    value = pod("u-1", "etcd-n1", annotations={"kubernetes.io/config.mirror": "ab" * 16})
    found = parse(value, FIELDS)
    assert found is not None
    assert told([found], {}).same == {
        "pod:ml/etcd-n1": "pod:u-1",
        "pod:" + "ab" * 16: "pod:u-1",
        "container:" + "1" * 64: "pod:u-1",
    }


def test_of_two_pods_with_one_name_the_later_has_it() -> None:
    one, two = parse(pod("u-1", "db-0"), FIELDS), parse(pod("u-2", "db-0"), FIELDS)
    assert one is not None
    assert two is not None
    said = told([one, two], {})
    assert said.same["pod:ml/db-0"] == "pod:u-2"
    assert said.same["container:" + "1" * 64] == "pod:u-1"
    assert set(said.about) == {"pod:u-1", "pod:u-2"}


@pytest.mark.parametrize("key", ["uid", "name", "namespace"])
def test_one_without_identity_is_none(key: str) -> None:
    value = pod("u-1", "p")
    del value["metadata"][key]
    assert parse(value, FIELDS) is None


def test_what_is_not_used_is_not_kept() -> None:
    value = pod("u-1", "p", labels={"containers": "a label"}, managedFields=[{"manager": "x"}])
    kept = json.loads(json.dumps(value), object_hook=keep)
    assert kept["metadata"]["labels"] == {"containers": "a label"}
    assert "managedFields" not in kept["metadata"]
    assert "containers" not in kept["spec"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "status", "labels", "ownerReferences", "uid",
                             "name", "namespace", "containerStatuses", "controller"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)  # fmt: skip


@given(JSON, JSON)
def test_any_object_is_a_pod_or_none(value: object, metadata: object) -> None:
    for each in (value, {"metadata": metadata, "status": value}):
        found = parse(each, FIELDS)
        assert found is None or (found.uid and found.fields["instance"] == found.name)
