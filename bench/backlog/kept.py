"""The requests that an exporter keeps while nobody answers: five readings of eight GPUs each."""

from __future__ import annotations

from collections.abc import Iterator

import wattshed_exporter
from bench.fleetgen import Fleet, Hour
from bench.ingest import ours
from wattshed_exporter.outputs.joined import gzipped
from wattshed_exporter.outputs.protobuf import Encoder

GPUS, BATCH_SECONDS = 8, 5
READINGS = GPUS * BATCH_SECONDS
"""Of a request; each is fifteen samples."""

Request = tuple[bytes, int, int]
"""A body, how many ticks it has and its newest time in milliseconds."""


def encoder(number: int) -> Encoder:
    """Return the encoder of a node's exporter."""
    return Encoder({"wattshed.node": ours.node_name(number)}, wattshed_exporter.__version__)


def requests(
    fleet: Fleet, hour: Hour, number: int, own: Encoder, first_ms: int, count: int
) -> Iterator[Request]:
    """Give the first requests of an hour of a node, whose readings are a second apart."""
    said = ours.Node(fleet, hour, number)
    for at in range(0, count * BATCH_SECONDS, BATCH_SECONDS):
        reads = [said.batch(n, first_ms + n * 1000) for n in range(at, at + BATCH_SECONDS)]
        ticks = sum(len(read.ticks) for read in reads)
        yield gzipped(own.pieces(*reads)), ticks, reads[-1].ticks[-1].ts_ms
