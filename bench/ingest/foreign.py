"""C2b: metrics that are not ours, as OpenTelemetry Collectors and Prometheus forward them.

The peers in Debian have no OTLP (Prometheus has it from 2.47 on, VictoriaMetrics from 1.92), so
they get the same samples by remote write, of which ours get them once as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import peers
from bench.ingest import collectors, push
from bench.ingest.rows import LEARNING, Row, counted, measured
from bench.peers import Peer
from bench.servers import collector
from wattshed_collector.self_record import RECORDED
from wattshed_collector.store.client import Client

ALL = "--other-metrics.prometheus=*", "--other-metrics.max-series=10000000"
Starts = tuple[Callable[[Path], AbstractContextManager[Peer | None]], ...]
STARTS: Starts = (peers.victoria_metrics, peers.prometheus)


@dataclass(frozen=True)
class Fleet:
    """So many senders, each of so many hosts, for so many ticks."""

    senders: int
    hosts: int
    ticks: int

    @property
    def per_request(self) -> int:
        return self.hosts * collectors.PER_HOST

    def bodies(self, made: Callable[[int, int, int, int], Iterator[bytes]]) -> push.Bodies:
        ticks = self.ticks + LEARNING
        begin_ms = int(time.time() * 1000) - ticks * collectors.STEP_MS
        firsts = range(0, self.senders * self.hosts, self.hosts)
        return [list(made(first, self.hosts, ticks, begin_ms)) for first in firsts]


def rows(
    folder: Path,
    batches: Fleet,
    single: Fleet,
    flags: tuple[str, ...],
    alone: bool,
) -> Iterator[Row]:
    """Measure ours with ``flags``, and the peers unless ``alone``."""
    for fleet, told in ((batches, "OTLP, a batch"), (single, "OTLP, one host")):
        bodies = fleet.bodies(collectors.bodies)
        yield _ours(folder / told, told, push.otlp, bodies, fleet, flags)
    written = batches.bodies(collectors.writes)
    told = "remote write"
    yield _ours(folder / told, told, push.remote_write, written, batches, flags)
    for start in () if alone else STARTS:
        place = folder / f"{start.__name__}-foreign"
        place.mkdir()
        with start(place) as peer:
            if peer is not None:
                endpoint = push.remote_write(peer.port)
                yield measured(peer, told, endpoint, written, batches.per_request)


def _ours(
    folder: Path,
    what: str,
    endpoint: Callable[[int], push.Endpoint],
    bodies: push.Bodies,
    fleet: Fleet,
    flags: tuple[str, ...],
) -> Row:
    with collector(folder, *flags, *ALL) as ours:
        row = measured(ours, what, endpoint(ours.port), bodies, fleet.per_request)
    return replace(row, stored=counted(folder, _rows))


def _rows(client: Client) -> int:
    """Count what came; the collector's own numbers are in the same table."""
    sql = "SELECT count() FROM metric_sample FINAL WHERE NOT has({own:Array(String)}, metric)"
    ((found,),) = client.rows(sql, {"own": list(RECORDED)})
    return int(found)
