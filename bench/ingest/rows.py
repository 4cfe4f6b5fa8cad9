"""One line of the table: what a server needed for what it was sent, and whether it has it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.ingest import push
from bench.peers import Peer
from bench.servers import Collector, Meter
from wattshed_collector.store.client import Client, Store

LEARNING = 2
"""The first requests of each sender, in which everybody learns the series, are not counted."""


@dataclass(frozen=True)
class Row:
    """What one server needed for ``samples``: CPU seconds per million, and the rest beside.

    ``sent`` and ``stored`` are of all samples, the first ones included; None where nobody looked.
    """

    who: str
    what: str
    samples: int
    cpu_s_per_million: float
    peak_mb: float
    slowest_answer_s: float
    samples_per_s: float
    sent: int
    stored: int | None = None

    @property
    def is_off(self) -> bool:
        """Whether the store holds other than what was sent."""
        return self.stored is not None and self.stored != self.sent


def measured(
    server: Collector | Peer, what: str, endpoint: push.Endpoint, bodies: push.Bodies, each: int
) -> Row:
    """Send everything, wait until the server is done with it, and say what it cost.

    ``each`` is how many samples a request has.
    """
    push.send(endpoint, [own[:LEARNING] for own in bodies])
    counted = [own[LEARNING:] for own in bodies]
    with Meter(server.pid) as meter:
        sent = push.send(endpoint, counted)
        wall = sum(sent.seconds) / len(counted)
        if isinstance(server, Peer):
            peers.flush(server)
    samples = sum(map(len, counted)) * each
    name = server.name if isinstance(server, Collector) else f"{server.name} {server.version}"
    return Row(
        name,
        what,
        samples,
        meter.cpu_seconds / samples * 1e6,
        meter.peak_mb,
        sent.slowest,
        samples / wall,
        sum(map(len, bodies)) * each,
    )


def counted(folder: Path, count: Callable[[Client], int]) -> int:
    """Return what ``count`` finds in the store of a stopped collector."""
    store = Store(folder)
    client = store.client()
    try:
        return count(client)
    finally:
        client.close()
        store.close()
