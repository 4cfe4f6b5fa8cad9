"""What it costs to push: ours beside the OpenTelemetry SDK, on the same points, in one run.

Prints microseconds of CPU time per data point, the median of some rounds. Ours starts from ticks
and details and ends with the bytes of a request; the SDK starts from readings of as many
instruments and ends with the bytes of a request as well. Compression is told apart, and so is what
it costs to keep a request until it is acknowledged. Needs the dependency group ``bench``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattshed_exporter.model import Batch, Detail, Device, Kind, Method, Tick
from wattshed_exporter.outputs.joined import gzipped
from wattshed_exporter.outputs.protobuf import Encoder
from wattshed_exporter.semconv import DEVICE_ATTRIBUTES, TICK_METRICS
from wattshed_exporter.spool import Memory, Store
from wattshed_exporter.spool_disk import Disk

START_MS = 1_763_856_000_000
FIELDS = 5
"""Energy, power, utilisation, memory and temperature of a tick."""
DETAILS = (
    ("wattshed_clock_hertz", ("sm",)),
    ("wattshed_clock_hertz", ("memory",)),
    ("wattshed_throttled", ("power",)),
    ("wattshed_sm_activity_ratio", ()),
    ("wattshed_link_bytes_total", ("pcie", "transmit")),
    ("wattshed_link_bytes_total", ("pcie", "receive")),
)


def devices(count: int) -> tuple[Device, ...]:
    return tuple(
        Device(
            f"node-1/nvml/GPU-{n:08x}-1234-4c1e-9f00-{n:012x}",
            Kind.GPU,
            "node-1",
            "nvml",
            f"gpu{n}",
            "NVIDIA",
            "NVIDIA H100 80GB HBM3",
            serial=f"16{n:08d}",
            driver="580.95.05",
            firmware="96.00.99.00.01",
            site="hall-2",
            tier="datacenter",
            cluster="c1",
            scope="gpu",
            uncertainty_ratio=0.05,
        )
        for n in range(count)
    )


def ticks(known: Iterable[Device], ts_ms: int) -> Batch:
    """One read of every device, each with five values."""
    joules = ts_ms - START_MS + 9_876_543_210_123
    return Batch(
        ticks=tuple(
            Tick(
                *(device.key, ts_ms, 1000, Method.COUNTER, 412.5 + n, joules + n, START_MS - 1000),
                *(0.97, 85_520_809_984 - n, 61.0 + n % 7),
            )
            for n, device in enumerate(known)
        )
    )


def details(known: Iterable[Device], ts_ms: int) -> Batch:
    return Batch(
        details=tuple(
            Detail(device.key, metric, ts_ms, float(ts_ms % 1000 + n), own)
            for n, device in enumerate(known)
            for metric, own in DETAILS
        )
    )


@dataclass
class Case:
    """Something to measure: ``make`` is outside the clock, ``work`` gets what it made."""

    name: str
    points: int
    make: Callable[[int], Any]
    work: Callable[[Any], object]
    seconds: list[float] = field(default_factory=list)

    def run(self, number: int) -> None:
        given = self.make(number)
        begin = time.process_time()
        self.work(given)
        self.seconds.append(time.process_time() - begin)

    @property
    def micros(self) -> float:
        """Median microseconds of CPU time per data point."""
        return statistics.median(self.seconds) / self.points * 1e6


def encoding(name: str, count: int, reads: int, width: int, read: Any) -> Case:
    """Encode so many reads of so many devices, each read with ``width`` points per device."""
    known = devices(count)
    encoder = Encoder({"service.name": "wattshed-exporter", "host.name": "node-1"}, "0")
    encoder.request(Batch(devices=known))

    def make(number: int) -> list[Batch]:
        begin = START_MS + number * reads * 1000
        return [read(known, begin + n * 1000) for n in range(reads)]

    for number in range(3):
        encoder.request(*make(number))
    return Case(name, reads * count * width, make, lambda batches: encoder.request(*batches))


def sdk(count: int) -> Case:
    """Let the SDK collect and encode as many points with the same attributes.

    Recording them is left out, as making the ticks is left out of ours. It keeps one value per
    series, so there are as many devices as it takes.
    """
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    meter = MeterProvider(metric_readers=[reader]).get_meter("wattshed-exporter")
    gauges = [meter.create_gauge(m.otel, m.unit, m.help) for m in TICK_METRICS if m.otel]
    labels = [
        {a.otel: str(v) for a in DEVICE_ATTRIBUTES if (v := getattr(device, a.name))}
        for device in devices(count)
    ]

    def record(number: int) -> None:
        for gauge in gauges:
            for own in labels:
                gauge.set(412.5 + number, own)

    def work(_: None) -> None:
        data = reader.get_metrics_data()
        if data is None:
            raise RuntimeError("the SDK recorded nothing")
        encode_metrics(data).SerializeToString()

    return Case(f"OpenTelemetry SDK, {count} devices", count * FIELDS, record, work)


def keeping(name: str, store: Store, body: bytes, points: int) -> Case:
    """Keep a request, read it back, acknowledge it."""
    store.open()

    def work(_: int) -> None:
        store.put(body, 1, 1)
        record = store.peek(newest=True)
        if record is None or not store.ack(record):
            raise RuntimeError("the store lost a request")
        store.sync()

    return Case(name, points, int, work)


def cases(gpus: int, points: int, folder: Path) -> list[Case]:
    """Return what is measured; the third is the one to set against the last."""
    reads, wide = points // (gpus * FIELDS), points // FIELDS
    own = points // (gpus * len(DETAILS))
    first = encoding(f"encode, {reads} reads of {gpus} devices", gpus, reads, FIELDS, ticks)
    request = Encoder({"host.name": "node-1"}, "0").request(
        Batch(devices=devices(gpus)), *first.make(0)
    )
    body = gzipped([request])
    print(f"{first.points} data points: {len(request)} bytes encoded, {len(body)} compressed")
    memory = Memory(1 << 24, lost)
    disk = Disk(folder, 1 << 30, Memory(1 << 24, lost), lost)
    return [
        first,
        encoding(f"encode, details of {gpus} devices", gpus, own, len(DETAILS), details),
        encoding(f"encode, 1 read of {wide} devices", wide, 1, FIELDS, ticks),
        Case("gzip level 1", first.points, int, lambda _: gzipped([request])),
        keeping("keep in memory until acknowledged", memory, body, first.points),
        keeping("keep on disk until acknowledged", disk, body, first.points),
        sdk(wide),
    ]


def lost(*told: object) -> None:
    raise RuntimeError(f"the store lost something: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--gpus", type=int, default=36)
    parser.add_argument("--points", type=int, default=1080)
    parser.add_argument("--folder", help="where to make the spool; its disk is what is measured")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        measured = cases(told.gpus, told.points, Path(folder))
        for number in range(told.rounds):  # in turn, so that all see the same load of the machine
            for case in measured:
                case.run(number)
    for case in measured:
        print(f"  {case.name:36} {case.micros:8.3f} us per data point")
    print(f"  SDK over ours, on the same devices: {measured[-1].micros / measured[2].micros:.0f}x")


if __name__ == "__main__":
    main()
