"""How fast a backlog drains: nodes that were offline for hours, and a live fleet beside them.

Each node of the backlog is a process of its own: the exporter's push side over a spool on disk that
holds so many hours of eight GPUs read once a second, a request for each five seconds, as it keeps
them while nobody answers. The collector is a process as well. Live machines push such a request
every five seconds all the while; what counts of them is how long an answer takes. CPU is that of
each process; the ledger does not run. With ``--crowd`` as many nodes come back at once instead,
each with a few requests; leaves with 1 where fewer readings are stored than were acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import wattshed_exporter
from bench.backlog import crowd, kept, node
from bench.backlog.kept import BATCH_SECONDS, GPUS, READINGS, Request
from bench.fleetgen import Fleet
from bench.ingest import push, scrape
from bench.ingest.__main__ import ONE_ADDRESS
from bench.servers import Meter, collector
from wattshed_collector.store.client import Store
from wattshed_exporter.model import stable_id

AWAY_HOURS = 72

Processes = Sequence["subprocess.Popen[bytes]"]


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        if options.crowd:
            told = crowd.measure(Path(name), options.crowd, options.requests, options.seconds)
        else:
            told = measure(Path(name), options)
        for what, number in told.items():
            print(f"  {what:46}{number:>12}")
    return int(crowd.is_short(told))


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
    parser.add_argument("--crowd", type=int, default=0, help="nodes that come back at once")
    parser.add_argument("--requests", type=int, default=12, help="of each of those (12)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    return parser.parse_args()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Drain for a while; return rates, CPU and how long live machines waited."""
    hours = max(1, round(options.hours + 0.5))
    fleet = Fleet(options.nodes + options.live, GPUS, hours, 1, 7)
    now_ms, rounds = int(time.time()) * 1000, round(options.hours * 3600) // BATCH_SECONDS
    states = [folder / f"state-{node}" for node in range(options.nodes)]
    for number, state in enumerate(states):
        fill(state, islice(requests(fleet, number, now_ms - rounds * BATCH_SECONDS * 1000), rounds))
    machines = range(options.nodes, options.nodes + options.live)
    bodies = [_live_bodies(fleet, machine, now_ms, options.seconds) for machine in machines]
    with (
        collector(folder / "data", scrape.NO_LEDGER, *ONE_ADDRESS) as server,
        Meter(server.pid) as meter,
    ):
        own = [sys.executable, "-m", "bench.backlog.node", f"http://127.0.0.1:{server.port}"]
        commands = [[*own, str(state), str(options.seconds)] for state in states]
        away = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
        answers = asyncio.run(live(push.otlp(server.port), bodies, away))
        told = [json.loads(process.communicate()[0]) for process in away]
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
        "kept requests, sent": f"{put}, {sent}",
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


def requests(fleet: Fleet, number: int, first_ms: int) -> Iterator[Request]:
    """Give what the exporter of a node sends from ``first_ms`` on, as long as the fleet lasts."""
    own = kept.encoder(number)
    for hour in fleet.each_hour():
        start_ms = first_ms + hour.index * 3_600_000
        yield from kept.requests(fleet, hour, number, own, start_ms, 3600 // BATCH_SECONDS)


def _live_bodies(fleet: Fleet, machine: int, now_ms: int, seconds: float) -> list[bytes]:
    made = requests(fleet, machine, now_ms - 3_600_000)
    return [body for body, *_ in islice(made, round(seconds) // BATCH_SECONDS + 1)]


def fill(state: Path, made: Iterator[Request]) -> None:
    """Keep requests as the exporter does while nobody answers."""
    store = node.spool(state)
    for body, ticks, newest_ms in made:
        store.put(body, ticks, newest_ms)
    level = store.level()
    size = level.size_bytes / level.bodies
    print(f"  {level.bodies} requests of {size:.0f} bytes are kept", file=sys.stderr)
    store.close()


async def live(to: push.Endpoint, bodies: push.Bodies, away: Processes) -> list[float]:
    """Push live until all others are done; return the seconds that each answer took."""
    answers: list[float] = []
    machines = [
        asyncio.create_task(_machine(to, own, BATCH_SECONDS * number / len(bodies), answers))
        for number, own in enumerate(bodies)
    ]
    await asyncio.gather(*(asyncio.to_thread(process.wait) for process in away))
    for machine in machines:
        machine.cancel()
    for ended in await asyncio.gather(*machines, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
    return answers


async def _machine(
    to: push.Endpoint, bodies: Sequence[bytes], late: float, answers: list[float]
) -> None:
    began = time.monotonic() + late
    for number, body in enumerate(bodies):
        await asyncio.sleep(began + number * BATCH_SECONDS - time.monotonic())
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
    sys.exit(main())
