"""CPU per million samples of a scrape, by our client, by aiohttp's, and by the whole scraper.

Usage: ``python -m bench.scrape [--targets N] [--rounds N] [--repeats N] [--seconds N]``. One
process serves every target from memory (8 GPUs with 15 series each); the scrapers run one after
another in processes of their own. Printed are CPU-seconds (user and system, of the scraper alone)
per million samples, median and spread of the repeats. ``whole`` is the scraper as it is in the
collector, at its own schedule, with a writer that takes batches and throws them away; spread over
the interval it wakes up cold for every few pages.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, cast

import aiohttp

from wattshed_collector.config import NAMED_ALONE, Job, Scrape
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.scrape import Scraper
from wattshed_collector.receivers.scrape.client import Client
from wattshed_collector.receivers.scrape.pages import Desk, PageReader, Pages, Read
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.state import TargetState
from wattshed_collector.receivers.scrape.targets import alone
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

SERIES = 120
WATTS = ("power_watts", "temperature_celsius", "utilization_ratio", "memory_used_bytes")
LABELS = 'cluster="c1",host="node-%05d",model="NVIDIA H100 80GB HBM3",team="vision",zone="z1"'
At = Callable[[int], Awaitable[object]]


def page(node: int) -> bytes:
    """Return what a node says: ours of what we know, others of what is no concern of ours."""
    lines = []
    for gpu in range(8):
        device = f'device="GPU-{node * 8 + gpu:08x}-7a1c-4c1e-9f00-{gpu:012x}"'
        where = f'{LABELS % node},gpu="{gpu}",minor="{gpu}"'
        for number in range(15):
            known = number < len(WATTS)
            name = f"wattshed_{WATTS[number]}" if known else f"wattshed_other_{number}"
            lines.append(f"{name}{{{device},{where}}} {100 + node % 7 + number / 8}")
    return ("\n".join(lines) + "\n").encode()


class _Server(asyncio.Protocol):
    """Answers each request with the page of the node that its path names."""

    def __init__(self, answers: dict[bytes, tuple[bytes, bytes]]) -> None:
        self._answers = answers
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            request, self._held = self._held[:end], self._held[end + 4 :]
            path = request.split(b" ", 2)[1]
            self._transport.write(self._answers[path][b"Accept-Encoding: gzip" in request])


async def serve(targets: int) -> None:
    """Serve until this is killed; the first line is the port."""
    answers = {}
    for node in range(targets):
        body = page(node)
        packed = gzip.compress(body, 1)
        answers[b"/%d" % node] = (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
            % (len(packed), packed),
        )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Server(answers), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def rounds(targets: int, count: int, scrape: At) -> float:
    """Return CPU-seconds per million samples of ``count`` rounds after one to warm up."""
    gate = asyncio.Semaphore(64)

    async def one(node: int) -> None:
        async with gate:
            await scrape(node)

    begun = 0.0
    for number in range(count + 1):
        if number == 1:
            begun = cpu_seconds()
        await asyncio.gather(*(one(node) for node in range(targets)))
    return (cpu_seconds() - begun) / (targets * SERIES * count) * 1e6


async def ours(port: int, targets: int, count: int, *, read: bool, packed: bool = False) -> float:
    job = Job(name=NAMED_ALONE, interval_seconds=10.0, timeout_seconds=5.0)
    desk = Desk(Pages(Normaliser(Limits()), Foreign()), 2**25)
    members = []
    for node in range(targets):
        target = alone(f"http://127.0.0.1:{port}/{node}", job)
        state = TargetState(Origin(target.address), job, Rules(()))
        client = Client("127.0.0.1", port, lambda: None)
        members.append((client, state, target.request("", compression=packed)))

    async def scrape(node: int) -> None:
        client, state, request = members[node]
        reply = await client.get(request, 5.0, 2**25)
        if read:
            said = reply.headers.get("content-encoding", "")
            await desk.read(reply.body, said, int(time.time() * 1000), state)

    return await rounds(targets, count, scrape)


async def theirs(port: int, targets: int, count: int) -> float:
    timeout = aiohttp.ClientTimeout(total=5.0)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, headers=headers
    ) as session:

        async def scrape(node: int) -> None:
            async with session.get(f"http://127.0.0.1:{port}/{node}") as response:
                await response.read()

        return await rounds(targets, count, scrape)


class Away:
    """Takes batches, says at once that they are durable, and throws them away."""

    def __init__(self) -> None:
        self.ticks = 0

    def submit(self, batch: Batch, frames: object = (), sender: str = "") -> Future[None]:
        self.ticks += len(batch.ticks)
        done: Future[None] = Future()
        done.set_result(None)
        return done


class Unread:
    """Reads nothing of any page: what is left is what finding, asking and telling cost."""

    def read(self, page: bytes, scraped_ms: int, state: TargetState) -> Read:
        return Read(Batch())


async def whole(port: int, targets: int, seconds: float, pages: PageReader) -> float:
    telemetry, writer = Telemetry(), Away()
    urls = tuple(f"http://127.0.0.1:{port}/{node}" for node in range(targets))
    options = Scrape(targets=urls, interval_seconds=10.0, timeout_seconds=5.0)
    scraper = Scraper(cast(Writer, writer), pages, telemetry, options)
    task = asyncio.create_task(scraper.run())

    def scraped(result: str) -> float:
        labels = {"job": NAMED_ALONE, "result": result}
        name = "wattshed_collector_scrapes_total"
        return telemetry.registry.get_sample_value(name, labels) or 0.0

    await asyncio.sleep(11)  # every target was asked once
    before, begun = scraped("ok"), cpu_seconds()
    await asyncio.sleep(seconds)
    used, done = cpu_seconds() - begun, scraped("ok") - before
    bad = {name: scraped(name) for name in ("failed", "skipped", "not_written")}
    print(
        f"whole: {done:.0f} scrapes in {seconds:g} s, {bad}, "
        f"{100 * used / seconds:.1f} % of a core, {writer.ticks} ticks, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most",
        file=sys.stderr,
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return used / (done * SERIES) * 1e6


def measured(kind: str, port: int, options: argparse.Namespace) -> float:
    """Measure one kind in this process."""
    targets, count = options.targets, options.rounds
    made: dict[str, Callable[[], Any]] = {
        "aiohttp, GET": lambda: theirs(port, targets, count),
        "ours, GET": lambda: ours(port, targets, count, read=False),
        "ours, GET and read": lambda: ours(port, targets, count, read=True),
        "ours, GET gzip and read": lambda: ours(port, targets, count, read=True, packed=True),
        "whole, pages unread": lambda: whole(port, targets, options.seconds, Unread()),
        "whole": lambda: whole(
            port, targets, options.seconds, Pages(Normaliser(Limits()), Foreign())
        ),
    }
    return float(asyncio.run(made[kind]()))


KINDS = (
    "aiohttp, GET",
    "ours, GET",
    "ours, GET and read",
    "ours, GET gzip and read",
    "whole, pages unread",
    "whole",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--targets", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--kind", choices=(*KINDS, "serve"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    if options.kind == "serve":
        asyncio.run(serve(options.targets))
    elif options.kind:
        print(json.dumps(measured(options.kind, options.port, options)))
    else:
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    me = [sys.executable, "-m", "bench.scrape", *sys.argv[1:], "--kind"]
    server = subprocess.Popen([*me, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        said: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(options.repeats):
            for kind in KINDS:
                run = subprocess.run(
                    [*me, kind, "--port", port], stdout=subprocess.PIPE, check=True
                )
                said[kind].append(json.loads(run.stdout))
    finally:
        server.terminate()
        server.wait()
    print(f"{options.targets} targets of {SERIES} series, {len(page(0))} bytes each")
    base = statistics.median(said[KINDS[0]])
    for kind, values in said.items():
        middle = statistics.median(values)
        print(
            f"{kind:26} {middle:6.2f} CPU-s per million samples "
            f"({min(values):.2f}-{max(values):.2f}), {middle / base:.2f} of aiohttp's GET"
        )


if __name__ == "__main__":
    main()
