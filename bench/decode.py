"""What it costs to read what exporters say: the short way beside the long one, in one run.

Prints microseconds of CPU time per data point, the best of some rounds, from the bytes of a request
or page to rows as arrays; nothing is stored. What is only checked becomes rows later, together with
what others sent. Beside a page stands prometheus_client's parser, which
only parses. With ``--seconds`` an exporter of the simulated fleet pushes for so long as well, and
what it sent is read in its order, with how many bodies went which way. With ``--senders`` as many
machines of the reference fleet push one tick a body, each with a layout of its own; microseconds
are per body there, and of the rows that a group of all of them becomes.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise, product

from prometheus_client.parser import text_string_to_metric_families

from bench.fleetgen import Fleet
from bench.ingest.push import our_bodies
from bench.push import START_MS, devices, ticks
from wattshed_collector.app import CYCLES
from wattshed_collector.config import Job
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.normalise.foreign import Foreign
from wattshed_collector.receivers.known_others import KnownOthers
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.otlp_decoding import ProtobufDecoder, Way
from wattshed_collector.receivers.otlp_layout import LayoutDecoder
from wattshed_collector.receivers.scrape.known_pages import KnownPages
from wattshed_collector.receivers.scrape.pages import Pages
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.state import TargetState
from wattshed_collector.store.dimensions import Dimensions
from wattshed_collector.store.native import encode
from wattshed_collector.store.rows import Ids, tables
from wattshed_collector.store.stacks import by_table, spread
from wattshed_collector.store.wide import WIDE
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Detail, Device
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.outputs.exposition import Exposition
from wattshed_exporter.outputs.protobuf import Encoder

DETAILS = WIDE[:10]
"""Beside the five values of a tick: 15 metrics of each GPU."""
BODIES = 20
SENDER_TICKS = 8
MICRO = 1e6


class Reader:
    """The two ways of reading requests, and the two of pages."""

    def __init__(self) -> None:
        normaliser, foreign = Normaliser(Limits(1e12, 0)), Foreign()
        self.telemetry = Telemetry()
        others = Others((), 0, Limits())
        self.parser = ProtobufDecoder(normaliser, foreign, others, self.telemetry)
        known = KnownOthers(self.parser, others, foreign.produced.counters, self.telemetry)
        self.layouts = LayoutDecoder(normaliser, foreign, known, self.telemetry)
        self.pages = Pages(normaliser, foreign)
        self.known = KnownPages(self.pages, normaliser, foreign)

    def ways(self) -> dict[str, int]:
        name, asked = "wattshed_collector_bodies_total", self.telemetry.registry.get_sample_value
        return {way: int(asked(name, {"receiver": "otlp", "way": way}) or 0) for way in Way}


def said(known: Iterable[Device], ts_ms: int) -> Batch:
    """Return ten details of each device."""
    return Batch(
        details=tuple(
            Detail(device.key, wide.metric, ts_ms, ts_ms % 997 / 1000, wide.attributes)
            for device, wide in product(known, DETAILS)
        )
    )


def requests(gpus: int, reads: int) -> list[bytes]:
    """Return bodies of our own exporter, each with so many reads and details of the last."""
    known = devices(gpus)
    encoder = Encoder({"service.name": "wattshed-exporter", "host.name": "node-1"}, "0")
    made = [encoder.request(Batch(devices=known), ticks(known, START_MS))]
    for number in range(BODIES):
        begin = START_MS + 1000 + number * reads * 1000
        parts = [ticks(known, begin + n * 1000) for n in range(reads)]
        made.append(encoder.request(*parts, said(known, begin + (reads - 1) * 1000)))
    return made[1:]


def pages(gpus: int) -> list[bytes]:
    """Return pages of our own exporter with the same values."""
    known, exposition, made = devices(gpus), Exposition(), []
    for number in range(BODIES):
        ts_ms = START_MS + number * 10_000
        read = {tick.device: tick for tick in ticks(known, ts_ms).ticks}
        details = {(d.device, d.metric, d.attributes): d for d in said(known, ts_ms).details}
        made.append(exposition.render(Snapshot(known, read, {}, details)))
    return made


def cpu(work: Callable[[bytes], object], bodies: list[bytes], rounds: int, points: int) -> float:
    """Return microseconds of CPU time per data point."""
    for body in bodies[:3]:
        work(body)
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for body in bodies:
            work(body)
        best = min(best, time.process_time() - begin)
    return best / (len(bodies) * points) * MICRO


def show(name: str, points: int, bodies: list[bytes], *told: tuple[str, float]) -> None:
    print(f"{name}: {points} data points, {len(bodies[0])} bytes")
    for what, micros in told:
        ratio = told[-1][1] and micros / told[-1][1]
        print(f"  {what:34} {micros:8.3f} us per data point {ratio:8.1f}x")


def otlp(name: str, bodies: list[bytes], points: int, rounds: int) -> None:
    reader = Reader()
    long = cpu(lambda body: reader.parser.decode(body, ""), bodies, 1, points)
    alone = cpu(lambda body: spread(reader.layouts.decode(body, "")[1]), bodies, rounds, points)
    short = cpu(lambda body: reader.layouts.decode(body, ""), bodies, rounds, points)
    told = ("parsed, point by point", long), ("known layout, its rows alone", alone)
    show(name, points, bodies, *told, ("known layout, checked", short))


def page(gpus: int, rounds: int) -> None:
    reader, bodies = Reader(), pages(gpus)
    series = sum(not line.startswith(b"#") for line in bodies[0].splitlines())
    job = Job(name="bench")
    states = [TargetState(Origin("node-1:9400"), job, Rules(())) for _ in range(2)]
    parsed = cpu(
        lambda body: list(text_string_to_metric_families(body.decode())), bodies, 1, series
    )
    long = cpu(lambda body: reader.pages.read(body, START_MS, states[0]), bodies, 1, series)
    known = partial(reader.known.read, scraped_ms=START_MS, state=states[1])
    alone = cpu(lambda body: spread(known(body).frames), bodies, rounds, series)
    short = cpu(known, bodies, rounds, series)
    told = ("prometheus_client, parsing only", parsed), ("sample by sample", long)
    own = ("known lines, its rows alone", alone), ("known lines, checked", short)
    show("page of our exporter", series, bodies, *told, *own)


def captured(seconds: float) -> list[bytes]:
    """Return what an exporter of the simulated fleet pushes in so many seconds."""
    found: list[bytes] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            found.append(gzip.decompress(body) if packed else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1/metrics"
    told = ("--sources", "simulate", "--simulate.history-hours", "0")
    where = ("--otlp.endpoint", url, "--web.listen-address", "127.0.0.1:0")
    known = {k: text for k, text in os.environ.items() if not k.startswith("WATTSHED_")}
    command = [sys.executable, "-m", "wattshed_exporter", *told, *where]
    with subprocess.Popen(command, env=known) as exporter:
        time.sleep(seconds)
        exporter.terminate()
    server.shutdown()
    return found


def real(seconds: float) -> None:
    bodies = captured(seconds)
    if not bodies:
        raise SystemExit("the exporter sent nothing")
    reader = Reader()
    for body in bodies:
        reader.layouts.decode(body, "")
    ways = ", ".join(f"{count} {way}" for way, count in reader.ways().items())
    sizes = sorted(map(len, bodies))
    print(f"an exporter for {seconds:.0f} s: {len(bodies)} bodies ({ways})")
    print(f"  of {sizes[0]} to {sizes[-1]} bytes")


def many(senders: int, ticks: int) -> None:
    """Print what a body of each of many senders costs, from its bytes to those of the insert."""
    bodies = [list(map(gzip.decompress, own)) for own in our_bodies(Fleet(senders, 8, 1), ticks)]
    gc.set_threshold(*CYCLES)  # as the collector has it
    gc.freeze()
    reader, dimensions = Reader(), Dimensions(Ids())
    print(f"{senders} senders of one tick of 8 GPUs, {len(bodies[0][0])} bytes a body")
    print(f"  {'':6}{'read':>10}{'compare':>10}{'rows':>10}{'bytes':>10}  us of CPU per body")
    for tick in range(ticks):
        marks = [time.process_time()]
        said = [reader.layouts.decode(own[tick], "") for own in bodies]
        marks.append(time.process_time())
        news = dimensions.news([batch for batch, _ in said], lambda keys: None)
        dimensions.remember(news)
        marks.append(time.process_time())
        frames = by_table([*tables(news.batch, Ids()), *(rows for _, own in said for rows in own)])
        marks.append(time.process_time())
        for frame in frames:
            encode(frame)
        marks.append(time.process_time())
        costs = [(b - a) / senders * MICRO for a, b in pairwise(marks)]
        print(f"  {tick + 1:<6}" + "".join(f"{cost:>10.1f}" for cost in costs))
    print("  " + ", ".join(f"{count} {way}" for way, count in reader.ways().items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.0, help="of an exporter that pushes")
    parser.add_argument("--senders", type=int, default=0, help="machines that push a tick each")
    told = parser.parse_args()
    if told.senders:
        many(told.senders, SENDER_TICKS)
        return
    width = 5 + len(DETAILS)
    for reads in (1, 5):
        points = told.gpus * (reads * 5 + len(DETAILS))
        name = f"OTLP, {reads} x 5 values and {width - 5} details of {told.gpus} GPUs"
        otlp(name, requests(told.gpus, reads), points, told.rounds)
    page(told.gpus, told.rounds)
    if told.seconds:
        real(told.seconds)


if __name__ == "__main__":
    main()
