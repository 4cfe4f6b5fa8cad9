"""The questions as PromQL, and what an answer costs a peer: on a fresh connection, no cache."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlencode

from bench.exporter.usage import cpu_seconds
from bench.peers import TIMEOUT_SECONDS, Peer

DAY_S = 86_400


@dataclass(frozen=True)
class Asked:
    """A query, and for a series of answers its window and step in seconds; 0 is one instant."""

    text: str
    window: int = 0
    step: int = 0


@dataclass(frozen=True)
class Cost:
    """Milliseconds: the first answer, and the medians of the warm ones; rows of the answer."""

    cold_ms: float
    warm_ms: float
    cpu_ms: float
    rows: int


ENERGY = "gpu_energy_joules_total"
QUESTIONS = {
    "q1 fleet power now by team": Asked("sum by (team)(gpu_power_watts)"),
    "q2 energy per workload, 24 h": Asked(f"sum by (workload)(increase({ENERGY}[24h]))"),
    "q3 50 least used GPUs, 24 h": Asked(
        "bottomk(50, avg by (uuid)(avg_over_time(gpu_util_percent[24h])))"
    ),
    "q3b idle burn by team, 24 h": Asked(
        "sum by (team)(sum_over_time((gpu_power_watts and on(uuid,pod) gpu_util_percent < 5)"
        "[24h:1m]) * 60)"
    ),
    "q4 energy by team, 30 d": Asked(f"sum by (team)(increase({ENERGY}[30d]))"),
    "q5 fleet power by team, 24 h by the minute": Asked(
        "sum by (team)(gpu_power_watts)", DAY_S, 60
    ),
    "q6 one GPU's power, 24 h by the minute": Asked('gpu_power_watts{uuid="UUID"}', DAY_S, 60),
}


def ask(peer: Peer, asked: Asked, at: int, uuid: str, repeats: int) -> Cost:
    """Ask once cold and ``repeats`` times warm."""
    runs = [_once(peer, asked, at, uuid) for _ in range(repeats + 1)]
    warm = runs[1:]
    return Cost(
        runs[0][0],
        statistics.median(run[0] for run in warm),
        statistics.median(run[1] for run in warm),
        runs[0][2],
    )


def _once(peer: Peer, asked: Asked, at: int, uuid: str) -> tuple[float, float, int]:
    told: dict[str, object] = {"query": asked.text.replace("UUID", uuid), "nocache": 1}
    told |= {"timeout": "600s"}
    path = "/api/v1/query"
    if asked.step:
        path = "/api/v1/query_range"
        told |= {"start": at - asked.window, "end": at, "step": asked.step}
    else:
        told["time"] = at
    began, cpu = time.perf_counter(), cpu_seconds(peer.pid)
    connection = HTTPConnection("127.0.0.1", peer.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{path}?{urlencode(told)}")
        response = connection.getresponse()
        said = response.read()
    finally:
        connection.close()
    wall, used = time.perf_counter() - began, cpu_seconds(peer.pid) - cpu
    if response.status != 200:
        raise RuntimeError(f"{peer.name} does not answer {asked.text!r}: {said[:300]!r}")
    found = json.loads(said)["data"]["result"]
    return wall * 1e3, used * 1e3, len(found)
