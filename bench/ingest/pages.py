"""Pages of many machines from one process: ``python -m bench.ingest.pages PORT TARGETS``.

Target n is at /n/metrics: what the exporter on a machine with eight GPUs would show, rendered by
the exporter's own code. The readings move on every ten seconds, for all who ask alike.
"""

from __future__ import annotations

import asyncio
import sys
import time

from bench.fleetgen import Fleet
from bench.ingest.ours import Node
from wattshed_exporter.outputs import Charged, Snapshot
from wattshed_exporter.outputs.exposition import Exposition

STEP_S = 10
TICKS = 120
"""Readings that are there; after twenty minutes the counters begin again."""


class Pages:
    """The pages of a fleet; what one asked for is kept until the readings move on."""

    def __init__(self, targets: int) -> None:
        fleet = Fleet(targets, 8, 1, 3600 // TICKS, 3, int(time.time()))
        (self._hour,) = fleet.each_hour()
        self._fleet = fleet
        self._nodes: dict[int, Node] = {}
        self._expositions: dict[int, Exposition] = {}
        self._made: dict[int, tuple[int, bytes]] = {}
        self.began = time.time()

    def page(self, target: int, now: float) -> bytes:
        step = int((now - self.began) // STEP_S)
        known, page = self._made.get(target, (-1, b""))
        if known != step:
            page = self._render(target, step)
            self._made[target] = step, page
        return page

    def _render(self, target: int, step: int) -> bytes:
        if target not in self._nodes:
            self._nodes[target] = Node(self._fleet, self._hour, target)
            self._expositions[target] = Exposition(False)
        read_ms = int((self.began + step * STEP_S) * 1000)
        batch = self._nodes[target].batch(step % TICKS, read_ms)
        snapshot = Snapshot(
            batch.devices,
            {tick.device: tick for tick in batch.ticks},
            {},
            {(d.metric, d.device, d.attributes): d for d in batch.details},
        )
        return self._expositions[target].render(snapshot, b"", Charged())


class Answering(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            target = int(head.split(b" ", 2)[1].split(b"/")[1])
            page = self._pages.page(target, time.time())
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                b"Content-Length: %d\r\n\r\n" % len(page) + page
            )


async def serve(port: int, targets: int) -> None:
    pages = Pages(targets)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(pages), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
