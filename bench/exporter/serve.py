"""Serve a page of about so many series, by our code or by prometheus-client; for E3.

Usage: ``python -m bench.exporter.serve (ours|prometheus_client) PORT SERIES|FILE``. Ours renders
another snapshot for every scrape, as it does while it reads meters; the peer serves the series of
FILE, a page in the text format, as one gauge child each.
"""

from __future__ import annotations

import itertools
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.__main__ import serve
from wattshed_exporter.config import Config, Web
from wattshed_exporter.model import Detail, Device, Kind, Method, Tick
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.sampler import Sampler
from wattshed_exporter.semconv import DETAIL_METRICS
from wattshed_exporter.sources import Sample
from wattshed_exporter.telemetry import Telemetry

from .processes import fetch

if TYPE_CHECKING:
    from wattshed_exporter.outputs.prometheus import Prometheus

SERIES_PER_DEVICE = 30
SNAPSHOTS = 16
NOW_MS = 1_763_856_000_000


class Still:
    """A source that is never asked; its worker carries what is served."""

    name = "nvml"
    interval_seconds = 1.0

    def discover(self) -> tuple[Device, ...]:
        return ()

    def read(self) -> Sample:
        return Sample()

    def close(self) -> None:
        """Hold nothing."""


def device(index: int) -> Device:
    key = f"GPU-{index:08x}-7a1c-4c1e-9f00-{index * 2654435761 & 0xFFFFFFFFFFFF:012x}"
    return Device(
        key, Kind.GPU, "node-00001", "nvml", f"gpu{index}", "NVIDIA", "NVIDIA H100 80GB HBM3",
        cluster="c1", site="hall-2", tier="datacenter", scope="gpu", power_limit_watts=700.0,
    )  # fmt: skip


def snapshot(devices: tuple[Device, ...], details: int, seed: int) -> Snapshot:
    """Return one instant of a fleet: a full tick and ``details`` other values for each device."""
    draw = random.Random(seed)
    metrics = itertools.cycle(DETAIL_METRICS.values())
    ticks, told = {}, {}
    for one in devices:
        ticks[one.key] = Tick(
            one.key, NOW_MS + 1000 * seed, 1000, Method.COUNTER, draw.uniform(70, 700),
            draw.randrange(10**12, 10**16), NOW_MS - 10**9, draw.random(),
            draw.randrange(8 * 10**10), draw.uniform(30, 80),
        )  # fmt: skip
    for one in devices:
        for number, metric in zip(range(details), metrics, strict=False):
            own = tuple(f"v{number}" for _ in metric.own)
            detail = Detail(one.key, metric.prometheus, NOW_MS, draw.uniform(0, 1e10), own)
            told[(detail.metric, detail.device, detail.attributes)] = detail
    return Snapshot(devices, ticks, {}, told)


def snapshots(series: int) -> list[Snapshot]:
    """Return instants of a fleet that gives about ``series`` series."""
    details = SERIES_PER_DEVICE - series_of_one_device(0)
    devices = tuple(device(i) for i in range(round(series / series_of_one_device(details))))
    return [snapshot(devices, details, seed) for seed in range(SNAPSHOTS)]


def series_of_one_device(details: int) -> int:
    server = serving(0, [snapshot((device(0),), details, 0)])
    try:
        body = fetch(server.address[1]).decode()
    finally:
        server.close()
    return sum(f'device="{device(0).key}"' in line for line in body.splitlines())


def serving(port: int, instants: Sequence[Snapshot]) -> Prometheus:
    """Start the exporter's own server on what its sampler would have read."""
    telemetry = Telemetry()
    config = Config(node="node-00001", web=Web(listen_address=f"127.0.0.1:{port}"))
    sampler = Replayed([Still()], [], config, telemetry)
    sampler.instants = itertools.cycle(instants)
    server = serve(config, sampler, telemetry)
    assert server is not None
    return server


class Replayed(Sampler):
    """A sampler that has read something else whenever it is asked."""

    instants: Iterator[Snapshot]

    def snapshot(self) -> Snapshot:
        self.workers[0].snapshot = next(self.instants)
        return super().snapshot()


def peer(port: int, page: Path) -> None:
    from prometheus_client import CollectorRegistry, Gauge, start_http_server
    from prometheus_client.parser import text_string_to_metric_families

    registry = CollectorRegistry()
    for family in text_string_to_metric_families(page.read_text(encoding="utf-8")):
        gauges: dict[str, Gauge] = {}
        for sample in family.samples:
            names = tuple(sample.labels)
            if sample.name not in gauges:
                gauges[sample.name] = Gauge(
                    sample.name, family.documentation, names, registry=registry
                )
            child = gauges[sample.name]
            (child.labels(*sample.labels.values()) if names else child).set(sample.value)
    start_http_server(port, "127.0.0.1", registry)


def main(arguments: Iterator[str]) -> None:
    kind, port, what = arguments
    if kind == "ours":
        serving(int(port), snapshots(int(what)))
    else:
        peer(int(port), Path(what))
    signal.pause()


if __name__ == "__main__":
    main(iter(sys.argv[1:]))
