"""Where devices are and in which cluster workloads run, as the store knows them."""

from __future__ import annotations

from .client import Client


def places(client: Client) -> dict[str, tuple[str, str]]:
    """Return cluster and node of each device, by its key."""
    rows = client.rows("SELECT key, cluster, node FROM device FINAL")
    return {str(key): (str(cluster), str(node)) for key, cluster, node in rows}


def clusters(client: Client) -> dict[str, str]:
    """Return the cluster of each workload that is in one, by its key."""
    rows = client.rows("SELECT key, cluster FROM workload FINAL WHERE cluster != ''")
    return {str(key): str(cluster) for key, cluster in rows}
