"""Who held which GPU, as the store knows it: what a history from elsewhere is set against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wattshed_exporter.model import Allocation, Workload, stable_id

from .client import Client
from .rows import WORKLOAD_TEXT

DEVICES = "SELECT key, kind, node, cluster FROM device FINAL WHERE node != ''"
WORKLOADS = (
    f"SELECT {', '.join(WORKLOAD_TEXT)} FROM workload FINAL "
    "WHERE workload_id IN {ids:Array(UInt64)}"
)
HELD = """
SELECT workload_id, device_id, toUnixTimestamp64Milli(start_ts), toUnixTimestamp64Milli(end_ts),
       share, method, activity, revision
FROM allocation FINAL
WHERE start_ts BETWEEN fromUnixTimestamp64Milli({since:Int64})
                   AND fromUnixTimestamp64Milli({until:Int64})
  AND device_id IN {devices:Array(UInt64)} AND workload_id IN {workloads:Array(UInt64)}
  AND share > 0
ORDER BY start_ts
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: the scope of its workloads' keys, which is its cluster or itself, and its GPUs."""

    scope: str
    cluster: str
    gpus: tuple[str, ...]


def nodes(client: Client, cluster: str = "") -> dict[str, Node]:
    """Return the machines by host name without domain; of ``cluster`` or of none, if that is said.

    A name that two machines have is in nobody's favour and left out.
    """
    found: dict[str, dict[tuple[str, str], list[str]]] = {}
    for key, kind, node, of in client.rows(DEVICES):
        if not cluster or of in ("", cluster):
            gpus = found.setdefault(node.partition(".")[0], {}).setdefault((node, of), [])
            if kind == "gpu":
                gpus.append(key)
    single = {short: next(iter(same.items())) for short, same in found.items() if len(same) == 1}
    return {
        short: Node(of or node, of, tuple(sorted(gpus)))
        for short, ((node, of), gpus) in single.items()
    }


def workloads(client: Client, keys: Iterable[str]) -> dict[str, Workload]:
    """Return what is known of workloads, by key."""
    ids = [stable_id(key) for key in keys]
    rows = client.records(WORKLOADS, {"ids": ids}) if ids else []
    return {row["key"]: Workload(**row) for row in rows}


def held(
    client: Client, keys: Iterable[str], devices: Iterable[str], since_ms: int, until_ms: int
) -> dict[str, list[Allocation]]:
    """Return by workload, in order, what it holds of devices and began between two times.

    What was taken back is among it, and ends where it starts.
    """
    workload_of = {stable_id(key): key for key in keys}
    device_of = {stable_id(key): key for key in devices}
    found: dict[str, list[Allocation]] = {key: [] for key in workload_of.values()}
    parameters = {
        "workloads": list(workload_of),
        "devices": list(device_of),
        "since": since_ms,
        "until": until_ms,
    }
    for workload, device, start, end, share, method, activity, revision in (
        client.rows(HELD, parameters) if workload_of and device_of else ()
    ):
        key = workload_of[workload]
        found[key].append(
            Allocation(device_of[device], key, start, end, share, str(method), activity, revision)
        )
    return found
