"""Prometheus remote write 1.0 of a fleet's hour: one template per hour, values patched by numpy.

Wire format: https://prometheus.io/docs/specs/remote_write_spec/, a WriteRequest in protobuf in a
block of snappy. All samples of a series in a frame are 18 bytes each, so that only values and times
differ between two frames of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cramjam
import numpy as np
from numpy.typing import NDArray

from bench.fleetgen import IDLE, METRICS, Fleet, Hour

Bytes = NDArray[np.uint8]

ENERGY = METRICS[1::-1]
SAMPLE = 18
"""tag, length 16, tag and double, tag and a varint of 6 bytes: times until the year 2109."""


def frames(
    fleet: Fleet,
    hour: Hour,
    offset: int,
    samples: int,
    metrics: Sequence[str] = ENERGY,
    nodes: range | None = None,
) -> Iterator[bytes]:
    """Give the hour of some nodes, or all, as requests of up to ``samples`` samples per series.

    Tick n of the hour is at (n + 1) steps after its begin, less ``offset`` seconds.
    """
    begin_ms = (fleet.start + hour.index * 3600 - offset) * 1000
    held = range(fleet.nodes) if nodes is None else nodes
    gpus = range(held.start * fleet.gpus, held.stop * fleet.gpus)
    emitted = hour.values
    values = np.stack([emitted[name][:, gpus.start : gpus.stop] for name in metrics])
    known: dict[int, tuple[Bytes, NDArray[np.int64]]] = {}
    for first in range(0, fleet.ticks, samples):
        ticks = np.arange(first, min(first + samples, fleet.ticks))
        if len(ticks) not in known:
            known[len(ticks)] = _template(fleet, hour, metrics, gpus, len(ticks))
        template, places = known[len(ticks)]
        part = values[:, ticks, :].transpose(0, 2, 1).reshape(-1, len(ticks))
        times = begin_ms + (ticks + 1) * fleet.step * 1000
        at = places[:, None] + np.arange(len(ticks)) * SAMPLE
        _patch(template, at + 3, part.astype("<f8")[..., None].view(np.uint8))
        _patch(template, at + 12, np.broadcast_to(_varints(times), (*at.shape, 6)))
        yield bytes(cramjam.snappy.compress_raw(template.tobytes()))


def _patch(template: Bytes, at: NDArray[np.int64], values: Bytes) -> None:
    template[at[..., None] + np.arange(values.shape[-1])] = values


def _varints(times: NDArray[np.int64]) -> Bytes:
    groups = (times[:, None] >> (7 * np.arange(6))) & 0x7F
    groups[:, :5] |= 0x80
    return groups.astype(np.uint8)


def _template(
    fleet: Fleet, hour: Hour, metrics: Sequence[str], gpus: range, samples: int
) -> tuple[Bytes, NDArray[np.int64]]:
    """Return the request without values, and where the samples of each series begin in it."""
    sample = b"\x12\x10\x09" + bytes(8) + b"\x10" + bytes(6)
    text, places, size = [], [], 0
    for metric in metrics:
        for gpu in gpus:
            labels = _labels(fleet, hour, metric, gpu)
            head = b"\x0a" + _varint(len(labels) + samples * SAMPLE) + labels
            places.append(size + len(head))
            text += [head, sample * samples]
            size += len(head) + samples * SAMPLE
    return np.frombuffer(b"".join(text), np.uint8).copy(), np.array(places)


def _labels(fleet: Fleet, hour: Hour, metric: str, gpu: int) -> bytes:
    job = hour.jobs[gpu // fleet.gpus]
    labels = {
        "__name__": metric,
        "cluster": "c1",
        "gpu": str(gpu % 8),
        "model": "NVIDIA H100 80GB HBM3",
        "node": f"node-{gpu // fleet.gpus:05d}",
        "team": job.team if job else "none",
        "uuid": fleet.keys[gpu],
        "workload": job.workload if job else IDLE,
    }
    if job:
        labels["pod"] = job.pod
    return b"".join(_field(_field(name) + _field(labels[name], 2)) for name in sorted(labels))


def _field(content: str | bytes, number: int = 1) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2]) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
