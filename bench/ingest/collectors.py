"""What OpenTelemetry Collectors send of hosts and services, and the same samples as remote writes.

A host says what the hostmetrics receiver says by default, a service on it what an SDK says of HTTP,
histograms included. A Collector's batch processor sends the resources of many hosts as one request;
on a small site there is one host to a request. Bytes are laid out as a Collector lays them out:
each message has its fields in the reverse of the order in which its structs declare them (pdata
of late), where protobuf's own libraries write them by number; gzip is its default.
Source: opentelemetry-collector, pdata/internal; opentelemetry-collector-contrib,
receiver/hostmetricsreceiver; semantic conventions for HTTP and hosts.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cramjam

from wattshed_collector.normalise.wire import encoded, message

NANOS_PER_MS = 1_000_000
STEP_MS = 10_000
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Of a duration in seconds, as the semantic conventions advise."""
GAUGE, SUM, HISTOGRAM = 5, 7, 9
"""Fields of a metric that hold its points."""
BEFORE_POINTS = {GAUGE: b"", SUM: b"\x18\x01\x10\x02", HISTOGRAM: b"\x10\x02"}
"""That a sum is monotonic, and that both are cumulative."""
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Said:
    """A metric of a resource and the attributes of its points."""

    name: str
    unit: str
    kind: int
    points: tuple[Labels, ...]

    @property
    def samples(self) -> int:
        """Of a histogram count and sum are kept, and sent to those who have no histograms."""
        return len(self.points) * (2 if self.kind == HISTOGRAM else 1)


def _each(**told: Sequence[str]) -> tuple[Labels, ...]:
    made: list[Labels] = [()]
    for name, texts in told.items():
        made = [(*labels, (name.replace("__", "."), text)) for labels in made for text in texts]
    return tuple(made)


CPUS = tuple(f"cpu{n}" for n in range(8))
STATES = ("user", "system", "idle", "wait", "nice", "interrupt", "softirq", "steal")
DISKS, CARDS = ("nvme0n1", "nvme1n1"), ("eth0", "eth1")
WAYS, FLOWS = ("read", "write"), ("receive", "transmit")
HOST = (
    Said("system.cpu.time", "s", SUM, _each(cpu=CPUS, state=STATES)),
    Said("system.cpu.load_average.1m", "{thread}", GAUGE, ((),)),
    Said("system.memory.usage", "By", SUM, _each(state=("used", "free", "cached", "buffered"))),
    Said("system.disk.io", "By", SUM, _each(device=DISKS, direction=WAYS)),
    Said("system.disk.operations", "{operation}", SUM, _each(device=DISKS, direction=WAYS)),
    Said("system.network.io", "By", SUM, _each(device=CARDS, direction=FLOWS)),
    Said("system.network.packets", "{packet}", SUM, _each(device=CARDS, direction=FLOWS)),
    Said(
        "system.filesystem.usage",
        "By",
        SUM,
        _each(device=DISKS, mountpoint=("/", "/data"), state=("used", "free")),
    ),
)
ROUTES = ("/v1/items", "/v1/items/{id}", "/v1/orders", "/healthz")
SERVICE = (
    Said(
        "http.server.request.duration",
        "s",
        HISTOGRAM,
        _each(http__request__method=("GET",), http__route=ROUTES),
    ),
    Said("http.server.active_requests", "{request}", SUM, ((),)),
    Said("process.runtime.memory", "By", SUM, _each(type=("rss", "vms"))),
)
PER_HOST = sum(said.samples for said in (*HOST, *SERVICE))


def bodies(first: int, hosts: int, ticks: int, begin_ms: int) -> Iterator[bytes]:
    """Give one Collector's requests of consecutive ticks: each of all its hosts, in gzip."""
    for tick in range(1, ticks + 1):
        ts_ms = begin_ms + tick * STEP_MS
        numbers = range(first, first + hosts)
        request = b"".join(_resources(number, tick, ts_ms) for number in numbers)
        yield gzip.compress(request, 1)


def writes(first: int, hosts: int, ticks: int, begin_ms: int) -> Iterator[bytes]:
    """Give the same samples as remote writes of one sample a series."""
    for tick in range(1, ticks + 1):
        told = encoded(begin_ms + tick * STEP_MS)
        series = (
            _series(labels, _value(number, at, tick), told)
            for number in range(first, first + hosts)
            for at, labels in enumerate(_all_labels(number))
        )
        yield bytes(cramjam.snappy.compress_raw(b"".join(series)))


def _resources(number: int, tick: int, ts_ms: int) -> bytes:
    at, made = 0, b""
    for resource, metrics in ((_host(number), HOST), (_service(number), SERVICE)):
        written = b""
        for said in metrics:
            written += message(2, _metric(said, number, at, tick, ts_ms))
            at += said.samples
        scope = message(1, message(2, b"1.0") + message(1, b"otelcol/hostmetrics"))
        attributes = b"".join(message(1, _pair(*told)) for told in resource)
        made += message(1, message(2, written + scope) + message(1, attributes))
    return made


def _metric(said: Said, number: int, at: int, tick: int, ts_ms: int) -> bytes:
    points = b""
    for labels in said.points:
        if said.kind == HISTOGRAM:
            point = _histogram(_value(number, at, tick), _value(number, at + 1, tick))
            key, at = 9, at + 2
        else:
            point = b"\x21" + struct.pack("<d", _value(number, at, tick))
            key, at = 7, at + 1
        point = _with_times(point, said.kind, ts_ms)
        points += message(1, point + b"".join(message(key, _pair(*told)) for told in labels))
    data = message(said.kind, BEFORE_POINTS[said.kind] + points)
    return data + message(3, said.unit.encode()) + message(1, said.name.encode())


def _with_times(point: bytes, kind: int, ts_ms: int) -> bytes:
    made = point + b"\x19" + struct.pack("<Q", ts_ms * NANOS_PER_MS)
    if kind == GAUGE:
        return made
    return made + b"\x11" + struct.pack("<Q", (ts_ms // 86_400_000) * 86_400_000 * NANOS_PER_MS)


def _histogram(count: float, total: float) -> bytes:
    counts = [int(count) // len(BOUNDS)] * (len(BOUNDS) + 1)
    return b"".join(
        (
            b"\x61" + struct.pack("<d", 9.5),
            b"\x59" + struct.pack("<d", 0.001),
            message(7, struct.pack(f"<{len(BOUNDS)}d", *BOUNDS)),
            message(6, struct.pack(f"<{len(counts)}Q", *counts)),
            b"\x29" + struct.pack("<d", total),
            b"\x21" + struct.pack("<Q", int(count)),
        )
    )


def _pair(name: str, text: str) -> bytes:
    return message(2, message(1, text.encode())) + message(1, name.encode())


def _host(number: int) -> Labels:
    return ("host.name", f"node-{number:05d}"), ("os.type", "linux")


def _service(number: int) -> Labels:
    return (
        ("service.name", "checkout"),
        ("service.instance.id", f"5b1c0000-0000-4000-8000-{number:012x}"),
        ("k8s.pod.name", f"checkout-{number:05d}"),
        ("telemetry.sdk.language", "go"),
    )


def _value(number: int, at: int, tick: int) -> float:
    return float(number % 97 * 1000 + at * 10 + tick * (1 + at % 7))


def _all_labels(number: int) -> Iterator[bytes]:
    """Give the labels of each sample of a host and its service, as a remote write has them."""
    for resource, metrics in ((_host(number), HOST), (_service(number), SERVICE)):
        for said in metrics:
            parts = ("_count", "_sum") if said.kind == HISTOGRAM else ("",)
            for labels in said.points:
                for part in parts:
                    told = {"__name__": _plain(said.name) + part}
                    told.update((_plain(name), text) for name, text in (*resource, *labels))
                    yield b"".join(_label(name, told[name]) for name in sorted(told))


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _label(name: str, text: str) -> bytes:
    return message(1, message(1, name.encode()) + message(2, text.encode()))


def _series(labels: bytes, value: float, told: bytes) -> bytes:
    sample = b"\x09" + struct.pack("<d", value) + b"\x10" + told
    return message(1, labels + message(2, sample))
