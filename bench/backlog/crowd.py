"""A thousand exporters whose collector comes back: how long it takes, and what they are told.

All of them begin in the same moment, as after an outage of the collector or of the network before
it. Settings are those of a new installation; the ledger does not run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wattshed_exporter
from bench.backlog import kept, senders
from bench.ingest import scrape
from bench.ingest.rows import counted
from bench.servers import Meter, collector
from wattshed_collector.store.client import Client

ACKNOWLEDGED, STORED = "readings acknowledged", "readings stored"
PROCESSES = 2
"""In which the exporters are."""


def measure(folder: Path, nodes: int, requests: int, seconds: float) -> dict[str, object]:
    """Let ``nodes`` with so many kept requests each send at once; return what came of it."""
    first_ms = int(time.time()) * 1000 - requests * kept.BATCH_SECONDS * 1000
    with collector(folder / "data", scrape.NO_LEDGER) as server:
        own = [sys.executable, "-m", "bench.backlog.senders", f"http://127.0.0.1:{server.port}"]
        each = -(-nodes // PROCESSES)
        parts = [(first, min(each, nodes - first)) for first in range(0, nodes, each)]
        crowd = [
            subprocess.Popen(
                [*own, *map(str, (first, count, requests, first_ms, seconds))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for first, count in parts
        ]
        for process in crowd:
            _said(process)
        with Meter(server.pid) as meter:
            for process in crowd:
                _begin(process)
            told = [json.loads(process.communicate()[0]) for process in crowd]
    return _table(nodes, requests, told, meter, counted(folder / "data", _stored))


def is_short(told: Mapping[str, object]) -> bool:
    """Return whether fewer readings are stored than were acknowledged."""
    return int(str(told.get(STORED, 0))) < int(str(told.get(ACKNOWLEDGED, 0)))


def _said(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != senders.READY:
        raise RuntimeError(f"{process.args!r} does not begin")


def _begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _table(
    nodes: int, requests: int, told: list[dict[str, Any]], meter: Meter, stored: int
) -> dict[str, object]:
    taken = sum(one["put"] - one["left"] for one in told)
    seconds = max(one["seconds"] for one in told)
    answers = sum((Counter(one["answers"]) for one in told), Counter[str]())
    return {
        "wattshed": wattshed_exporter.__version__,
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "nodes, kept requests of each": f"{nodes}, {requests}",
        "readings kept": sum(one["put"] for one in told),
        ACKNOWLEDGED: taken,
        STORED: stored,
        "seconds until half was taken": f"{max(one['half'] for one in told):.1f}",
        "seconds until the last was taken": f"{seconds:.1f}",
        "readings per second": f"{taken / seconds:.0f}",
        "answers": ", ".join(f"{n} x {what}" for what, n in sorted(answers.items())),
        "slowest answer, s": f"{max(one['slowest'] for one in told):.1f}",
        "collector, CPU us a reading": f"{meter.cpu_seconds / max(taken, 1) * 1e6:.1f}",
        "collector, cores": f"{meter.cpu_seconds / meter.wall_seconds:.2f}",
        "collector, peak MB": f"{meter.peak_mb:.0f}",
    }


def _stored(client: Client) -> int:
    ((found,),) = client.rows("SELECT count() FROM tick FINAL")
    return int(found)
