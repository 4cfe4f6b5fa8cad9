"""Outcomes go to the workload to which the exporter says that the devices were given."""

from __future__ import annotations

from wattshed_collector.outcomes.owners import MOST_KEY, Owners, Pod, Whose
from wattshed_exporter.allocations.combine import workload
from wattshed_exporter.model import Allocation, Batch, Workload

UID = "0f3c-11"
FIELDS = {"name": "chat", "instance": "chat-0", "namespace": "ml", "team": "nlp"}
BY_UID = workload(f"pod:{UID}", FIELDS, "n1", "c1")
BY_NAME = workload("pod:ml/chat-0", {"instance": "chat-0"}, "n1", "c1")
"""As the node's exporter calls a pod, with and without an API server or logs to ask."""
POD = Pod("ml", "chat-0", UID)
LABELS = {"namespace": "ml", "pod": "chat-0", "job": "vllm", "instance": "10.0.0.1:8000"}


def knowing(*workloads: Workload) -> Owners:
    owners = Owners()
    for number, each in enumerate(workloads):
        owners.saw(Batch(workloads=(each,), allocations=(Allocation("g", each.key, 0, number),)))
    return owners


def key(owners: Owners, whose: Whose, **labels: str) -> str:
    found = owners.of(whose, labels)
    return "" if found is None else found.key


class TestPods:
    def test_by_uid_where_the_node_knows_uids(self) -> None:
        owners = knowing(BY_NAME, BY_UID)
        assert owners.of(Whose("c1", POD), {}) == BY_UID
        assert owners.of(Whose(), {**LABELS, "cluster": "c1"}) == BY_UID

    def test_by_names_where_it_does_not(self) -> None:
        owners = knowing(BY_NAME)
        assert key(owners, Whose("c1", POD)) == "k8s/c1/ml/chat-0"
        assert key(owners, Whose("c1"), **LABELS) == "k8s/c1/ml/chat-0"

    def test_before_its_node_said_anything_it_is_called_as_its_node_will(self) -> None:
        assert key(Owners(), Whose("c1", POD)) == BY_UID.key
        assert key(Owners(), Whose("c1"), **LABELS) == BY_NAME.key
        assert key(Owners(), Whose(), **LABELS) == workload("pod:ml/chat-0", {}, "n1", "").key

    def test_another_pod_of_the_same_name_is_another(self) -> None:
        owners = knowing(BY_UID)
        assert key(owners, Whose("c1", Pod("ml", "chat-0", "new"))) == "k8s/c1/new"
        newer = workload("pod:new", FIELDS, "n1", "c1")
        owners.saw(Batch(workloads=(newer,), allocations=(Allocation("g", newer.key, 0, 9),)))
        assert key(owners, Whose("c1"), **LABELS) == "k8s/c1/new"
        # What is told late of the one before does not bring it back.
        owners.saw(Batch(workloads=(BY_UID,), allocations=(Allocation("g", BY_UID.key, 0, 5),)))
        assert key(owners, Whose("c1"), **LABELS) == "k8s/c1/new"

    def test_clusters_are_not_mixed_up(self) -> None:
        owners = knowing(BY_UID, workload("pod:other", FIELDS, "n1", "c2"))
        assert key(owners, Whose("c2"), **LABELS) == "k8s/c2/other"
        assert key(owners, Whose("c3"), **LABELS) == "k8s/c3/ml/chat-0"
        assert key(owners, Whose(), **LABELS) == "k8s/ml/chat-0"
        assert key(knowing(BY_UID), Whose(), **LABELS) == BY_UID.key

    def test_a_pod_is_one_whatever_its_labels_call_its_kind(self) -> None:
        labelled = workload(f"pod:{UID}", {**FIELDS, "kind": "inference"}, "n1", "c1")
        assert key(knowing(labelled), Whose("c1"), **LABELS) == BY_UID.key

    def test_a_workload_that_holds_nothing_says_nothing_of_pods(self) -> None:
        owners = Owners()
        owners.saw(Batch(workloads=(BY_UID,)))
        assert key(owners, Whose("c1"), **LABELS) == BY_NAME.key


class TestOthers:
    def test_what_the_operator_says_goes_first(self) -> None:
        whose = Whose("c1", POD, template="slurm/{cluster}/{slurm_job}")
        told = {"cluster": "c1", "slurm_job": "4711"}
        assert key(knowing(BY_UID), whose, **told) == "slurm/c1/4711"
        assert key(knowing(BY_UID), whose, slurm_job="4711") == BY_UID.key

    def test_it_is_described_as_its_node_does(self) -> None:
        job = workload("slurm:4711", {"name": "train", "owner": "eve"}, "n1", "c1")
        whose = Whose("c1", template="slurm/c1/{j}")
        assert knowing(job).of(whose, {"j": "4711"}) == job

    def test_job_and_instance_of_what_is_no_pod(self) -> None:
        found = Owners().of(Whose("c1"), {"job": "vllm", "instance": "gpu1:8000"})
        assert found is not None
        assert (found.key, found.name, found.kind) == (
            "prometheus/c1/vllm/gpu1:8000",
            "vllm",
            "service",
        )

    def test_nobody(self) -> None:
        assert Owners().of(Whose("c1"), {"engine": "0"}) is None
        assert Owners().of(Whose(), {"job": "x" * MOST_KEY, "instance": "i"}) is None
        assert Owners().of(Whose(), {"pod": "x" * MOST_KEY, "namespace": "i"}) is None
