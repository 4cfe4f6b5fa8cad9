"""Each file of ``ci/`` is installed by Helm, waited for, tested and uninstalled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml
from helm_python import Config
from tests.fixtures.kube_server import Cluster, serving
from tests.fixtures.kube_server.controllers import references
from tests.fixtures.kube_server.kinds import OPERATORS
from tests.fixtures.kube_server.schemas import VERSIONS, Schemas
from tests.helm.chart import CHART
from tests.helm.releases import NAMES, pods, release, values

# Helm looks once a second whether what it waits for is there.
pytestmark = pytest.mark.e2e

LINUX = {"kubernetes.io/os": "linux"}
NODES = {
    "cpu": LINUX,
    "gpu": LINUX | {"nvidia.com/gpu.present": "true"},
    "edge": LINUX | {"node-role.kubernetes.io/edge": ""},
    "old": LINUX | {"nvidia.com/gpu.deploy.driver": "pre-installed"},
}


def given(name: str) -> dict[str, set[str]]:
    """Return the Secrets that a file of ``ci/`` names as being there, and the keys used of them."""
    told = yaml.safe_dump(values(name))
    used: dict[str, set[str]] = {}
    for _, pod in pods(release(name)):
        for kind, secret, keys in references(pod["spec"]):
            if kind == "Secret" and secret in told:
                used.setdefault(secret, set()).update(keys)
    return used


def give(cluster: Cluster, name: str) -> None:
    """Put into the cluster what its owner has before installing."""
    for secret, keys in given(name).items():
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {}}
        data = {"stringData": dict.fromkeys(keys, "x" * 40)}
        cluster.store.create(cluster.key("Secret", secret, "energy"), manifest | data)


@pytest.mark.parametrize(
    ("version", "name"),
    [(VERSIONS[0], name) for name in NAMES] + [(VERSIONS[-1], n) for n in ("default", "external")],
)
def test_it_installs_and_leaves(version: str, name: str, schemas: Callable[[str], Schemas]) -> None:
    with serving(Cluster(schemas(version), OPERATORS, NODES)) as cluster:
        for namespace in ("energy", "ml", "serving"):
            cluster.add_namespace(namespace)
        give(cluster, name)
        before = cluster.held()
        with Config(
            namespace="energy", kubeconfig_content=cluster.kubeconfig, storage_driver="memory"
        ) as helm:
            installed = helm.install(str(CHART), "w", values(name), wait="watcher", timeout=20)
            assert installed["status"] == "deployed"
            assert cluster.controllers.events == []
            assert not [n for n, pod in cluster.store.having("Pod") if not _well(pod)]
            if "Pod/w-wattshed-test" in {
                f"{o['kind']}/{o['metadata']['name']}" for o in release(name)
            }:
                helm.test("w", timeout=20)
            helm.uninstall("w", wait="watcher", timeout=20)
        kept = {each for each in cluster.held() - before if "PersistentVolumeClaim/" not in each}
        assert kept == set()


def _well(pod: dict[str, dict[str, str]]) -> bool:
    return pod["status"]["phase"] in ("Running", "Succeeded")


def test_each_node_has_one_exporter(schemas: Callable[[str], Schemas]) -> None:
    with serving(Cluster(schemas("1.34"), nodes=NODES)) as cluster:
        cluster.add_namespace("energy")
        with Config(
            namespace="energy", kubeconfig_content=cluster.kubeconfig, storage_driver="memory"
        ) as helm:
            helm.install(str(CHART), "w", {"exporter": {"pools": {"edge": {"enabled": True}}}})
        exporters = {n.name for n, _ in cluster.store.having("Pod") if "exporter" in n.name}
        assert exporters == {
            "w-wattshed-exporter-node-cpu",
            "w-wattshed-exporter-node-old",
            "w-wattshed-exporter-gpu-gpu",
            "w-wattshed-exporter-edge-edge",
        }
