"""How fast a backlog drains: nodes that were offline for hours, and a live fleet beside them.

Each node of the backlog is a process of its own: the exporter's push side over a spool on disk that
holds so many hours of eight GPUs read once a second, a request for each five seconds, as it keeps
them while nobody answers. The collector is a process as well. Live machines push such a request
every five seconds all the while; what counts of them is how long an answer takes. CPU is that of
each process; the ledger does not run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import wattshed_exporter
from bench.fleetgen import Fleet
from bench.ingest import ours, push, scrape
from bench.ingest.__main__ import ONE_ADDRESS
from bench.servers import Meter, collector
from wattshed_collector.store.client import Store
from wattshed_exporter.config import Config
from wattshed_exporter.config import Otlp as Settings
from wattshed_exporter.model import stable_id
from wattshed_exporter.outputs.otlp import Otlp, gzipped
from wattshed_exporter.outputs.protobuf import Encoder
from wattshed_exporter.spool import Memory
from wattshed_exporter.spool_disk import Disk
from wattshed_exporter.telemetry import Telemetry

GPUS, BATCH_SECONDS = 8, 5
READINGS = GPUS * BATCH_SECONDS
"""Of a request; each is fifteen samples."""
SPOOL_BYTES = 1 << 30
AWAY_HOURS = 72

Request = tuple[bytes, int, int]
"""A body, how many ticks it has and its newest time in milliseconds."""
Nodes = Sequence["subprocess.Popen[bytes]"]


def main() -> None:
    options = arguments()
    if options.send:
        url, state, seconds = options.send
        drain(url, Path(state), float(seconds))
        return
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        for what, number in measure(Path(name), options).items():
            print(f"  {what:46}{number:>12}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.backlog",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=float, default=1.0, help="of the backlog (1)")
    parser.add_argument("--nodes", type=int, default=1, help="that were offline (1)")
    parser.add_argument("--live", type=int, default=20, help="machines that push live (20)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of draining at most (60)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Drain for a while; return rates, CPU and how long live machines waited."""
    hours = max(1, round(options.hours + 0.5))
    fleet = Fleet(options.nodes + options.live, GPUS, hours, 1, 7)
    now_ms, rounds = int(time.time()) * 1000, round(options.hours * 3600) // BATCH_SECONDS
    states = [folder / f"state-{node}" for node in range(options.nodes)]
    for node, state in enumerate(states):
        fill(state, islice(requests(fleet, node, now_ms - rounds * BATCH_SECONDS * 1000), rounds))
    machines = range(options.nodes, options.nodes + options.live)
    bodies = [_live_bodies(fleet, machine, now_ms, options.seconds) for machine in machines]
    with (
        collector(folder / "data", scrape.NO_LEDGER, *ONE_ADDRESS) as server,
        Meter(server.pid) as meter,
    ):
        own = [sys.executable, "-m", "bench.backlog", "--send", f"http://127.0.0.1:{server.port}"]
        commands = [[*own, str(state), str(options.seconds)] for state in states]
        nodes = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
        answers = asyncio.run(live(push.otlp(server.port), bodies, nodes))
        told = [json.loads(node.communicate()[0]) for node in nodes]
    return {**table(options.nodes * rounds, told, meter), **_waited(answers, options.live),
            "stored": stored(folder / "data", fleet, options.nodes)}  # fmt: skip


def table(put: int, told: Sequence[dict[str, float]], meter: Meter) -> dict[str, object]:
    sent = round(put - sum(one["left"] for one in told))
    seconds = max(one["seconds"] for one in told)
    readings = max(sent, 1) * READINGS
    whole = AWAY_HOURS * 3600 / BATCH_SECONDS * len(told)
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return {
        "wattshed": wattshed_exporter.__version__,
        "load": load,
        "kept requests sent": f"{sent} of {put}",
        "seconds": f"{seconds:.1f}",
        "kept requests per second": f"{sent / seconds:.2f}",
        "readings per second": f"{readings / seconds:.0f}",
        f"minutes for {AWAY_HOURS} h of every node": f"{whole / max(sent, 1) * seconds / 60:.1f}",
        "exporter, CPU us a reading": f"{sum(one['cpu'] for one in told) / readings * 1e6:.1f}",
        "exporter, peak MB": f"{max(one['peak'] for one in told):.0f}",
        "collector, CPU us a reading of the backlog": f"{meter.cpu_seconds / readings * 1e6:.1f}",
        "collector, cores": f"{meter.cpu_seconds / meter.wall_seconds:.2f}",
        "collector, peak MB": f"{meter.peak_mb:.0f}",
        "readings sent of the backlog": readings,
    }


def _waited(answers: Sequence[float], machines: int) -> dict[str, object]:
    by_time = sorted(answers) or [float("nan")]
    return {
        "live machines, answers": f"{machines}, {len(answers)}",
        "median live answer, s": f"{by_time[len(by_time) // 2]:.2f}",
        "slowest live answer, s": f"{by_time[-1]:.2f}",
    }


def requests(fleet: Fleet, node: int, first_ms: int) -> Iterator[Request]:
    """Give what the exporter of a node sends from ``first_ms`` on, as long as the fleet lasts."""
    encoder = Encoder({"wattshed.node": ours.node_name(node)}, wattshed_exporter.__version__)
    for hour in fleet.each_hour():
        said = ours.Node(fleet, hour, node)
        start_ms = first_ms + hour.index * 3_600_000
        for at in range(0, 3600, BATCH_SECONDS):
            reads = [said.batch(n, start_ms + n * 1000) for n in range(at, at + BATCH_SECONDS)]
            ticks = sum(len(read.ticks) for read in reads)
            yield gzipped(encoder.pieces(*reads)), ticks, reads[-1].ticks[-1].ts_ms


def _live_bodies(fleet: Fleet, machine: int, now_ms: int, seconds: float) -> list[bytes]:
    made = requests(fleet, machine, now_ms - 3_600_000)
    return [body for body, *_ in islice(made, round(seconds) // BATCH_SECONDS + 1)]


def fill(state: Path, kept: Iterator[Request]) -> None:
    """Keep requests as the exporter does while nobody answers."""
    store = Disk(state / "spool", SPOOL_BYTES, Memory(1 << 24, lost), lost)
    store.open()
    for body, ticks, newest_ms in kept:
        store.put(body, ticks, newest_ms)
    level = store.level()
    size = level.size_bytes / level.bodies
    print(f"  {level.bodies} requests of {size:.0f} bytes are kept", file=sys.stderr)
    store.close()


def lost(*told: object) -> None:
    raise RuntimeError(f"the spool lost something: {told}")


def drain(url: str, state: Path, most_seconds: float) -> None:
    """Be an exporter with a backlog, for a while or until nothing is left; say what it took."""
    config = Config(node="n", otlp=Settings(endpoint=url), state_dir=state)
    telemetry = Telemetry()
    began = time.monotonic()
    output = Otlp(config, telemetry)
    bodies = 1.0
    while bodies and time.monotonic() - began < most_seconds:
        time.sleep(0.1)
        bodies = telemetry.value("wattshed_spool_bodies", output="otlp")
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    output.close()
    store = Disk(state / "spool", SPOOL_BYTES, Memory(1 << 24, lost), lost)
    store.open()
    told = {
        "left": store.level().bodies,
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024 / 1e6,
    }
    print(json.dumps(told))


async def live(to: push.Endpoint, bodies: push.Bodies, nodes: Nodes) -> list[float]:
    """Push live until the nodes are done; return the seconds that each answer took."""
    answers: list[float] = []

    def is_over() -> bool:
        return all(node.poll() is not None for node in nodes)

    async with asyncio.TaskGroup() as tasks:
        for number, own in enumerate(bodies):
            late = BATCH_SECONDS * number / len(bodies)
            tasks.create_task(_machine(to, own, late, answers, is_over))
    return answers


async def _machine(
    to: push.Endpoint,
    bodies: Sequence[bytes],
    late: float,
    answers: list[float],
    is_over: Callable[[], bool],
) -> None:
    began = time.monotonic()
    for number, body in zip(count(), bodies, strict=False):
        due = began + late + number * BATCH_SECONDS
        while (left := due - time.monotonic()) > 0 and not is_over():
            await asyncio.sleep(min(left, 0.5))
        if is_over():
            return
        answers += (await push.deliver(to, [[body]])).seconds


def stored(folder: Path, fleet: Fleet, nodes: int) -> int:
    """Return how many readings of the nodes the stopped collector's store holds."""
    store = Store(folder)
    client = store.client()
    try:
        ids = {"ids": [stable_id(key) for key in fleet.keys[: nodes * GPUS]]}
        sql = "SELECT count() FROM tick FINAL WHERE has({ids:Array(UInt64)}, device_id)"
        ((found,),) = client.rows(sql, ids)
        return int(found)
    finally:
        client.close()
        store.close()


if __name__ == "__main__":
    main()
