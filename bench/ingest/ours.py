"""The fleet as our own exporter says it: the encoder of the exporter makes every body.

What the fleet calls ``gpu_mem_free_bytes`` is the total here, since free is total less used; all
else is the same number under our name, so that a GPU says fifteen samples at each tick as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.fleetgen import MEMORY_BYTES, Fleet, Hour
from wattshed_exporter import __version__
from wattshed_exporter.model import Batch, Detail, Device, Kind, Method, Tick
from wattshed_exporter.outputs.joined import gzipped
from wattshed_exporter.outputs.protobuf import Encoder

MODEL = "NVIDIA H100 80GB HBM3"
DETAILS: dict[str, tuple[str, tuple[str, ...], float]] = {
    "gpu_mem_util_percent": ("wattshed_memory_activity_ratio", (), 0.01),
    "gpu_mem_temp_celsius": ("wattshed_sensor_temperature_celsius", ("memory",), 1.0),
    "gpu_sm_clock_hz": ("wattshed_clock_hertz", ("sm",), 1.0),
    "gpu_mem_clock_hz": ("wattshed_clock_hertz", ("memory",), 1.0),
    "gpu_pcie_rx_bytes_total": ("wattshed_link_bytes_total", ("pcie", "receive"), 1.0),
    "gpu_pcie_tx_bytes_total": ("wattshed_link_bytes_total", ("pcie", "transmit"), 1.0),
    "gpu_sm_active_ratio": ("wattshed_sm_activity_ratio", (), 1.0),
    "gpu_tensor_active_ratio": ("wattshed_pipe_activity_ratio", ("tensor",), 1.0),
    "gpu_power_limit_watts": ("wattshed_power_limit_bound_watts", ("default",), 1.0),
}
"""Of the fleet's metrics those that are details: our name, its own labels, and the scale."""


def node_name(node: int) -> str:
    return f"node-{node:05d}"


def devices(fleet: Fleet, nodes: range) -> tuple[Device, ...]:
    return tuple(
        Device(
            fleet.keys[gpu],
            Kind.GPU,
            node_name(node),
            "nvml",
            name=MODEL,
            model=MODEL,
            cluster="c1",
        )
        for node in nodes
        for gpu in range(node * fleet.gpus, (node + 1) * fleet.gpus)
    )


class Node:
    """What one machine of the fleet says in an hour."""

    def __init__(self, fleet: Fleet, hour: Hour, node: int) -> None:
        self.devices = devices(fleet, range(node, node + 1))
        self._step = fleet.step
        columns = slice(node * fleet.gpus, (node + 1) * fleet.gpus)
        self._rows = {name: values[:, columns].tolist() for name, values in hour.values.items()}

    def batch(self, n: int, ts_ms: int) -> Batch:
        """Return tick ``n`` as if it were at ``ts_ms``: fifteen samples of each GPU."""
        ticks, details = [], []
        for g, device in enumerate(self.devices):
            said = {name: row[n][g] for name, row in self._rows.items()}
            ticks.append(_tick(device.key, ts_ms, self._step, said))
            details += _details(device.key, ts_ms, said)
        return Batch(devices=self.devices, ticks=tuple(ticks), details=tuple(details))


def bodies(fleet: Fleet, hour: Hour, node: int, ticks: int) -> Iterator[bytes]:
    """Give the first ticks of an hour of one node as its exporter sends them, gzip included."""
    resource = {"service.name": "wattshed-exporter", "wattshed.node": node_name(node)}
    encoder = Encoder({**resource, "wattshed.cluster": "c1"}, __version__)
    said = Node(fleet, hour, node)
    begin_ms = (fleet.start + hour.index * 3600) * 1000
    for n in range(ticks):
        batch = said.batch(n, begin_ms + (n + 1) * fleet.step * 1000)
        yield gzipped(encoder.pieces(batch))


def _tick(key: str, ts_ms: int, step: int, said: dict[str, float]) -> Tick:
    return Tick(
        key,
        ts_ms,
        step * 1000,
        Method.COUNTER,
        said["gpu_power_watts"],
        round(said["gpu_energy_joules_total"] * 1e6),
        None,
        said["gpu_util_percent"] / 100,
        int(said["gpu_mem_used_bytes"]),
        said["gpu_temp_celsius"],
    )


def _details(key: str, ts_ms: int, said: dict[str, float]) -> list[Detail]:
    found = [
        Detail(key, metric, ts_ms, said[name] * scale, labels)
        for name, (metric, labels, scale) in DETAILS.items()
    ]
    return [*found, Detail(key, "wattshed_memory_total_bytes", ts_ms, MEMORY_BYTES)]
