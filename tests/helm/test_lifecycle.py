"""A release lives: it is installed, upgraded, rolled back, and leaves nothing but data behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Config, HelmError
from tests.fixtures.kube_server import Cluster, serving
from tests.fixtures.kube_server.schemas import Schemas
from tests.helm.chart import CHART
from tests.helm.releases import values
from tests.helm.test_installs import give

# Helm looks once a second whether what it waits for is there.
pytestmark = pytest.mark.e2e

Json = dict[str, Any]
TOKENS = "w-wattshed-tokens"
FIXED = {
    "DaemonSet": ("selector",),
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates"),
}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the chart as an older version: 0.7.0 is the first, so it is the same but for that."""
    folder = tmp_path_factory.mktemp("older") / "wattshed"
    shutil.copytree(CHART, folder)
    described = yaml.safe_load((folder / "Chart.yaml").read_text())
    described |= {"version": "0.6.9", "appVersion": "0.6.9"}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(described))
    return folder


def held(cluster: Cluster, kind: str, name: str) -> Json:
    found = cluster.find(kind, "energy", name)
    assert found is not None, f"{kind} {name}"
    return found


def fixed(cluster: Cluster) -> Json:
    """Return what must be the same in all versions, by workload."""
    return {
        f"{kind}/{key.name}": {field: made["spec"].get(field) for field in fields}
        for kind, fields in FIXED.items()
        for key, made in cluster.store.having(kind)
    }


def images(cluster: Cluster) -> set[str]:
    return {
        container["image"].rpartition(":")[2]
        for _, pod in cluster.store.having("Pod")
        for container in pod["spec"]["containers"]
    }


def test_an_upgrade_from_an_older_version_and_back(
    cluster: Cluster, helm: Config, older: Path
) -> None:
    helm.install(str(older), "w", {}, wait="watcher", timeout=20)
    before, tokens = fixed(cluster), held(cluster, "Secret", TOKENS)["data"]
    claims = {key.name for key, _ in cluster.store.having("PersistentVolumeClaim")}
    assert images(cluster) == {"0.6.9"}
    helm.upgrade(str(CHART), "w", {}, wait="watcher", timeout=20)
    assert fixed(cluster) == before
    assert images(cluster) == {yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]}
    assert held(cluster, "Secret", TOKENS)["data"] == tokens
    helm.rollback("w", wait="watcher", timeout=20)
    assert images(cluster) == {"0.6.9"}
    assert fixed(cluster) == before
    assert held(cluster, "Secret", TOKENS)["data"] == tokens
    assert {key.name for key, _ in cluster.store.having("PersistentVolumeClaim")} == claims
    told = [(each["revision"], each["status"]) for each in helm.history("w")]
    assert told == [(1, "superseded"), (2, "superseded"), (3, "deployed")]


def test_changed_values_replace_the_pods_that_they_are_about(
    cluster: Cluster, helm: Config
) -> None:
    helm.install(str(CHART), "w", {}, wait="watcher", timeout=20)
    pods = {key.name: pod["metadata"]["uid"] for key, pod in cluster.store.having("Pod")}
    helm.upgrade(str(CHART), "w", {}, wait="watcher", timeout=20)
    assert {k.name: pod["metadata"]["uid"] for k, pod in cluster.store.having("Pod")} == pods
    changed = {"collector": {"config": {"log_level": "debug"}}}
    helm.upgrade(str(CHART), "w", changed, wait="watcher", timeout=20)
    now = {key.name: pod["metadata"]["uid"] for key, pod in cluster.store.having("Pod")}
    assert {name for name in now if now[name] != pods[name]} == {"w-wattshed-collector-0"}


def test_a_larger_volume_needs_the_steps_that_are_documented(
    cluster: Cluster, helm: Config
) -> None:
    """docs/UPGRADING.md: the claim is enlarged, the StatefulSet made again around its pods."""
    helm.install(str(CHART), "w", {}, wait="watcher", timeout=20)
    pod = held(cluster, "Pod", "w-wattshed-collector-0")["metadata"]["uid"]
    larger = {"collector": {"persistence": {"size": "40Gi"}}}
    with pytest.raises(HelmError, match="updates to statefulset spec for fields other than"):
        helm.upgrade(str(CHART), "w", larger, wait="watcher", timeout=20)
    cluster.store.delete(cluster.key("StatefulSet", "w-wattshed-collector", "energy"), orphan=True)
    helm.upgrade(str(CHART), "w", larger, wait="watcher", timeout=20)
    assert held(cluster, "Pod", "w-wattshed-collector-0")["metadata"]["uid"] == pod
    status = held(cluster, "StatefulSet", "w-wattshed-collector")["status"]
    assert status["readyReplicas"] == 1


def test_the_longest_name_of_a_release_is_cut_so_that_pods_can_be_made(
    cluster: Cluster, helm: Config
) -> None:
    """A StatefulSet's pods carry its name and eleven letters in a label of at most 63."""
    give(cluster, "sharded")
    helm.install(str(CHART), "r" * 53, values("sharded"), wait="watcher", timeout=20)
    assert cluster.controllers.events == []
    helm.uninstall("r" * 53, wait="watcher", timeout=20)


def test_a_namespace_is_made_and_helm_3_would_wait_as_well(cluster: Cluster, helm: Config) -> None:
    made = helm.install(
        str(CHART), "w", {}, namespace="new", create_namespace=True, wait="legacy", timeout=20
    )
    assert (made["status"], made["namespace"]) == ("deployed", "new")
    assert cluster.find("StatefulSet", "new", "w-wattshed-collector") is not None


def test_an_upgrade_whose_pods_cannot_start_is_taken_back(cluster: Cluster, helm: Config) -> None:
    helm.install(str(CHART), "w", {}, wait="watcher", timeout=20)
    running = held(cluster, "StatefulSet", "w-wattshed-collector")["spec"]
    wrong = {"collector": {"tokens": {"existingSecret": "missing"}}}
    with pytest.raises(HelmError, match="has been rolled back"):
        helm.upgrade(str(CHART), "w", wrong, wait="watcher", timeout=3, rollback_on_failure=True)
    assert held(cluster, "StatefulSet", "w-wattshed-collector")["spec"] == running
    assert held(cluster, "Pod", "w-wattshed-collector-0")["status"]["phase"] == "Running"


def test_two_releases_live_side_by_side(cluster: Cluster, helm: Config) -> None:
    helm.install(str(CHART), "a", {}, wait="watcher", timeout=20)
    first = cluster.held()
    one_node = {"exporter": {"spool": {"type": "emptyDir"}}}
    helm.install(str(CHART), "b", one_node, wait="watcher", timeout=20)
    assert first < cluster.held()
    helm.uninstall("b", wait="watcher", timeout=20)
    left = {each for each in cluster.held() - first if "PersistentVolumeClaim" not in each}
    assert left == set()
    assert first <= cluster.held()


def test_uninstalling_keeps_the_data_and_nothing_else(cluster: Cluster, helm: Config) -> None:
    helm.install(str(CHART), "w", {}, wait="watcher", timeout=20)
    helm.uninstall("w", wait="watcher", timeout=20)
    assert cluster.held() == {"PersistentVolumeClaim/data-w-wattshed-collector-0"}


def test_data_go_with_the_release_where_that_is_said(cluster: Cluster, helm: Config) -> None:
    told = {"collector": {"persistence": {"whenDeleted": "Delete"}}}
    helm.install(str(CHART), "w", told, wait="watcher", timeout=20)
    helm.uninstall("w", wait="watcher", timeout=20)
    assert cluster.held() == set()


def test_the_migration_runs_before_anything_else_is_touched(cluster: Cluster, helm: Config) -> None:
    give(cluster, "external")
    for namespace in ("ml", "serving"):
        cluster.add_namespace(namespace)
    helm.install(str(CHART), "w", values("external"), wait="watcher", timeout=20)
    made = cluster.made()
    assert made.index("Job/w-wattshed-migrate") < made.index("StatefulSet/w-wattshed-collector")
    assert not {each for each in cluster.held() if "migrate" in each}


def test_a_migration_that_fails_stops_the_upgrade(cluster: Cluster, helm: Config) -> None:
    give(cluster, "external")
    for namespace in ("ml", "serving"):
        cluster.add_namespace(namespace)
    helm.install(str(CHART), "w", values("external"), wait="watcher", timeout=20)
    running = held(cluster, "StatefulSet", "w-wattshed-collector")
    cluster.controllers.failing.add("w-wattshed-migrate")
    newer = values("external") | {"commonLabels": {"a": "b"}}
    with pytest.raises(HelmError, match="w-wattshed-migrate") as refused:
        helm.upgrade(str(CHART), "w", newer, wait="watcher", timeout=20)
    assert "pre-upgrade" in str(refused.value)
    assert held(cluster, "StatefulSet", "w-wattshed-collector") == running
    assert held(cluster, "Job", "w-wattshed-migrate")["status"]["failed"] == 1
    assert [each["status"] for each in helm.history("w")] == ["deployed", "failed"]
    cluster.controllers.failing.clear()
    helm.upgrade(str(CHART), "w", newer, wait="watcher", timeout=20)
    assert held(cluster, "StatefulSet", "w-wattshed-collector") != running


def test_a_missing_operator_is_named(schemas: Callable[[str], Schemas]) -> None:
    with serving(Cluster(schemas("1.34"))) as cluster:
        cluster.add_namespace("energy")
        with Config(
            namespace="energy", kubeconfig_content=cluster.kubeconfig, storage_driver="memory"
        ) as helm:
            with pytest.raises(HelmError, match='no matches for kind "ServiceMonitor"'):
                helm.install(str(CHART), "w", values("kube-prometheus-stack"))
            with pytest.raises(HelmError, match='no matches for kind "ClickHouseInstallation"'):
                helm.install(str(CHART), "w2", values("altinity"))


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_namespace_with_a_level_refuses_the_exporters_alone(
    level: str, schemas: Callable[[str], Schemas]
) -> None:
    with serving(Cluster(schemas("1.34"))) as cluster:
        cluster.add_namespace("energy", enforce=level)
        with Config(
            namespace="energy", kubeconfig_content=cluster.kubeconfig, storage_driver="memory"
        ) as helm:
            helm.install(str(CHART), "w", {})
            ready = held(cluster, "StatefulSet", "w-wattshed-collector")["status"]["readyReplicas"]
            assert ready == 1
            assert cluster.controllers.events
            assert all("-exporter-" in each for each in cluster.controllers.events)
            assert all(f'PodSecurity "{level}' in each for each in cluster.controllers.events)
            helm.upgrade(
                str(CHART), "w", {"exporter": {"enabled": False}}, wait="watcher", timeout=20
            )


def test_helm_test_fails_where_its_pod_does(cluster: Cluster, helm: Config) -> None:
    helm.install(str(CHART), "w", {}, wait="watcher", timeout=20)
    helm.test("w", timeout=20)
    assert "Pod/w-wattshed-test" not in cluster.held()
    cluster.controllers.failing.add("w-wattshed-test")
    with pytest.raises(HelmError, match="w-wattshed-test"):
        helm.test("w", timeout=20)
    helm.uninstall("w", wait="watcher", timeout=20)
    # Helm leaves a hook that failed: docs/INSTALL-KUBERNETES.md removes it by its labels.
    labels = held(cluster, "Pod", "w-wattshed-test")["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "test"
