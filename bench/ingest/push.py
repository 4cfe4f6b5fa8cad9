"""Many senders at once: each has a connection, sends its next request when the last is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from bench.fleetgen import METRICS, Fleet
from bench.frames import frames
from bench.ingest import ours

RETRY_SECONDS = 0.5
CONNECT_AT_ONCE = 200

Bodies = Sequence[Sequence[bytes]]
"""By sender, the requests in their order."""


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and as what."""

    port: int
    path: str
    headers: Mapping[str, str]


@dataclass
class Sent:
    """What came of it: answers by status, and the seconds that each answer took."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @property
    def slowest(self) -> float:
        return max(self.seconds, default=0.0)


def otlp(port: int) -> Endpoint:
    told = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    return Endpoint(port, "/v1/metrics", told)


def remote_write(port: int) -> Endpoint:
    told = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
    return Endpoint(port, "/api/v1/write", {**told, "X-Prometheus-Remote-Write-Version": "0.1.0"})


def our_bodies(fleet: Fleet, ticks: int) -> Bodies:
    """What the exporters of the fleet send: one request for each tick of a machine."""
    (hour, *_) = fleet.each_hour()
    return [list(ours.bodies(fleet, hour, node, ticks)) for node in range(fleet.nodes)]


def peer_bodies(fleet: Fleet, ticks: int) -> Bodies:
    """The same numbers as remote writes: one sample per series, a request per tick of a machine."""
    (hour, *_) = fleet.each_hour()
    return [
        list(islice(frames(fleet, hour, 0, 1, METRICS, range(node, node + 1)), ticks))
        for node in range(fleet.nodes)
    ]


def send(endpoint: Endpoint, bodies: Bodies) -> Sent:
    """Send everything; raises RuntimeError where a request is refused for good."""
    return asyncio.run(deliver(endpoint, bodies))


async def deliver(endpoint: Endpoint, bodies: Bodies) -> Sent:
    """Send everything, each sender on a connection of its own; raises as ``send`` does."""
    sent = Sent()
    door = asyncio.Semaphore(CONNECT_AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        for own in bodies:
            tasks.create_task(_sender(endpoint, own, sent, door))
    return sent


async def _sender(
    endpoint: Endpoint, bodies: Sequence[bytes], sent: Sent, door: asyncio.Semaphore
) -> None:
    async with door:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    head = f"POST {endpoint.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += "".join(f"{name}: {text}\r\n" for name, text in endpoint.headers.items())
    try:
        for body in bodies:
            request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            began = time.perf_counter()
            while (status := await _ask(reader, writer, request)) in (429, 503):
                sent.statuses[status] = sent.statuses.get(status, 0) + 1
                await asyncio.sleep(RETRY_SECONDS)
            if status not in (200, 204):
                raise RuntimeError(f"a request is refused with {status}")
            sent.statuses[status] = sent.statuses.get(status, 0) + 1
            sent.seconds.append(time.perf_counter() - began)
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return status
