"""The questions as PromQL, and what an answer costs a peer: on a fresh connection, no cache."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from bench.exporter.usage import cpu_seconds
from bench.peers import TIMEOUT_SECONDS, Peer
from bench.query.truth import LEAST, Values, name

HOUR_S = 3600
MINUTE_S = 60


@dataclass(frozen=True)
class Cost:
    """Milliseconds: the first answer, and the medians of the warm ones."""

    cold_ms: float
    warm_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Asked:
    """A query of one instant, or by the minute of some ``hours``.

    ``label`` is what its answer is by, "" is none; ``scale`` makes SI units of its values.
    """

    text: str
    label: str
    hours: int = 0
    scale: float = 1.0


ENERGY = "gpu_energy_joules_total"
NAMES = {
    "q1": "fleet power now by team",
    "q2": "energy per workload, {hours} h",
    "q3": "50 least used GPUs, {hours} h",
    "q3b": "idle burn by team, {hours} h",
    "q4a": "energy by team, {hours} h",
    "q4": "energy by team, {all_hours} h",
    "q5": "power by team and minute, {hours} h",
    "q6": "one GPU by the minute, {hours} h",
}


def questions(hours: int, all_hours: int, uuid: str) -> dict[str, Asked]:
    """Return each question by its name; ``all_hours`` are those of the days before as well."""
    gained = f"increase({ENERGY}[{hours}h])"
    idle = "gpu_power_watts and on(uuid,pod) gpu_util_percent < 5"
    used = f"avg_over_time(gpu_util_percent[{hours}h])"
    return {
        "q1": Asked("sum by (team)(gpu_power_watts)", "team"),
        "q2": Asked(f"sum by (workload)({gained})", "workload"),
        "q3": Asked(f"bottomk({LEAST}, avg by (uuid)({used}))", "uuid", scale=0.01),
        "q3b": Asked(f"sum by (team)(sum_over_time(({idle})[{hours}h:1m]) * 60)", "team"),
        "q4a": Asked(f"sum by (team)({gained})", "team"),
        "q4": Asked(f"sum by (team)(increase({ENERGY}[{all_hours}h]))", "team"),
        "q5": Asked("sum by (team)(gpu_power_watts)", "team", hours),
        "q6": Asked(f'gpu_power_watts{{uuid="{uuid}"}}', "", hours),
    }


def ask(peer: Peer, asked: Asked, at: int, repeats: int) -> tuple[Cost, Values]:
    """Ask once cold and ``repeats`` times warm."""
    runs = [_once(peer, asked, at) for _ in range(repeats + 1)]
    warm = runs[1:] or runs
    cost = Cost(
        runs[0][0],
        statistics.median(run[0] for run in warm),
        statistics.median(run[1] for run in warm),
    )
    return cost, _values(asked, json.loads(runs[0][2])["data"]["result"])


def _once(peer: Peer, asked: Asked, at: int) -> tuple[float, float, bytes]:
    told: dict[str, object] = {"query": asked.text, "nocache": 1, "timeout": "600s"}
    path = "/api/v1/query"
    if asked.hours:  # the value at the end of a minute stands for it
        path = "/api/v1/query_range"
        told |= {"start": at - asked.hours * HOUR_S + MINUTE_S, "end": at, "step": MINUTE_S}
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
    return wall * 1e3, used * 1e3, said


def _values(asked: Asked, rows: list[dict[str, Any]]) -> Values:
    found: Values = {}
    for row in rows:
        called = (name(row["metric"].get(asked.label)),) if asked.label else ()
        for at, value in row["values"] if asked.hours else [row["value"]]:
            when = (int(at) - MINUTE_S,) if asked.hours else ()
            key = (*when, *called)
            found[key] = found.get(key, 0.0) + float(value) * asked.scale
    return found
