"""All scrapers at once on the same pages: what one window costs each of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import yaml

from bench import peers
from bench.exporter.processes import free_port, running
from bench.exporter.usage import cpu_seconds, memory
from bench.servers import collector

STEP_S = 10
NO_LEDGER = "--ledger.enabled=false"
"""Charging is no part of taking in; bench.ledger measures it."""

Windows = dict[str, list[float]]
"""By who, CPU seconds per million samples of each window."""


def peer_config(port: int, targets: int) -> str:
    """A Prometheus configuration that scrapes every target each ten seconds."""
    groups = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {"instance": f"node-{n:05d}", "__metrics_path__": f"/{n}/metrics"},
        }
        for n in range(targets)
    ]
    job = {"job_name": "gpus", "scrape_interval": f"{STEP_S}s", "scrape_timeout": "5s"}
    return json.dumps({"scrape_configs": [{**job, "static_configs": groups}]})


def our_config(port: int, targets: int) -> str:
    urls = [f"node-{n:05d}=http://127.0.0.1:{port}/{n}/metrics" for n in range(targets)]
    return yaml.safe_dump({"scrape": {"targets": urls, "interval_seconds": float(STEP_S)}})


@contextmanager
def pages(targets: int) -> Iterator[int]:
    """Serve the pages until the block ends; gives the port."""
    port = free_port()
    with running([sys.executable, "-m", "bench.ingest.pages", str(port), str(targets)]):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                samples(port)
            except OSError:
                time.sleep(0.2)
            else:
                break
        yield port


def samples(port: int) -> int:
    """Return how many samples a page has."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/0/metrics")
        lines = connection.getresponse().read().split(b"\n")
        return sum(1 for line in lines if line and not line.startswith(b"#"))
    finally:
        connection.close()


def measure(
    folder: Path, targets: int, warm_seconds: float, window_seconds: float, windows: int
) -> tuple[Windows, dict[str, float], int]:
    """Return the windows, each one's resident memory in MB, and the samples of a page."""
    found: Windows = {}
    with ExitStack() as stack:
        port = stack.enter_context(pages(targets))
        per_page = samples(port)
        settings = folder / "collector.yaml"
        settings.write_text(our_config(port, targets))
        pids = _start(stack, folder, settings, peer_config(port, targets))
        time.sleep(warm_seconds)
        taken = per_page * targets * window_seconds / STEP_S
        for _ in range(windows):
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            time.sleep(window_seconds)
            for name, pid in pids.items():
                used = cpu_seconds(pid) - before[name]
                found.setdefault(name, []).append(used / taken * 1e6)
        resident = {name: memory(pid).rss for name, pid in pids.items()}
    return found, resident, per_page


def _start(stack: ExitStack, folder: Path, settings: Path, scraped: str) -> dict[str, int]:
    ours = stack.enter_context(collector(folder / "wattshed", "--config", str(settings), NO_LEDGER))
    pids = {"wattshed": ours.pid}
    for start in (peers.victoria_metrics, peers.prometheus):
        peer = stack.enter_context(start(folder, scraped))
        if peer is not None:
            pids[f"{peer.name} {peer.version}"] = peer.pid
    return pids
