"""What the tests of the chart share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
from helm_python import Config
from tests.fixtures.kube_server import Cluster, serving
from tests.fixtures.kube_server.kinds import OPERATORS
from tests.fixtures.kube_server.schemas import Schemas


@pytest.fixture(scope="session")
def schemas() -> Callable[[str], Schemas]:
    """Return the schemas of a version, each read once."""
    return cache(Schemas)


@pytest.fixture
def cluster(schemas: Callable[[str], Schemas]) -> Iterator[Cluster]:
    """Serve a cluster of Kubernetes 1.34 with all operators and the namespace ``energy``."""
    with serving(Cluster(schemas("1.34"), OPERATORS)) as server:
        server.add_namespace("energy")
        yield server


@pytest.fixture
def helm(cluster: Cluster) -> Iterator[Config]:
    """Return Helm, bound to the cluster and the namespace ``energy``; it remembers in memory."""
    content = cluster.kubeconfig
    with Config(namespace="energy", kubeconfig_content=content, storage_driver="memory") as config:
        yield config
