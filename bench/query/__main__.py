"""Measure disk and queries beside VictoriaMetrics and Prometheus, on the same data, in one run.

The main set is a day of a fleet with fifteen metrics a GPU every ten seconds; before it lie some
days of energy by the minute, for the question about a month. The peers get both by remote write in
batches, ours get the day as rows through the product's own writer, charged by the ledger, and the
days before as copies of its charges inside the engine. CPU of the peers is that of their processes,
of ours of this one, in which the engine runs. Nothing here is a test; nothing passes or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import wattshed_exporter
from bench import peers, rows
from bench.fleetgen import METRICS, Fleet
from bench.frames import frames
from bench.ledger.growth import add_history
from bench.ledger.ours import Ours, measured
from bench.peers import Peer
from bench.query.promql import QUESTIONS, Cost, ask
from wattshed_collector.store import fleet_queries, queries
from wattshed_collector.store.insert import Column, Frame
from wattshed_exporter.model import Allocation, Batch, stable_id

DAY_S, HOUR_S = 86_400, 3600
SAMPLES_PER_FRAME = 30
TABLES = ("tick", "detail", "tick_hour", "tick_day")
QUICK = {"gpus": 16, "hours": 2, "days": 1, "repeats": 1}


@dataclass(frozen=True)
class Answered:
    """What one question cost one of them."""

    who: str
    what: str
    cost: Cost


@dataclass(frozen=True)
class Disk:
    """Bytes of the main set's samples, once everything is merged."""

    who: str
    samples: int
    size_bytes: int


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        disks, answers = measure(options, Path(name))
    if options.json:
        found = {"C3": list(map(asdict, disks)), "C4": list(map(asdict, answers))}
        print(json.dumps({"conditions": conditions(options), **found}))
    else:
        print(conditions(options), disk_table(disks), answer_table(answers), sep="\n\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.query",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gpus", type=int, default=1000, help="in nodes of 8 (1000)")
    parser.add_argument("--hours", type=int, default=24, help="of the main set (24)")
    parser.add_argument("--days", type=int, default=29, help="of history before it (29)")
    parser.add_argument("--repeats", type=int, default=5, help="warm runs; medians are shown (5)")
    parser.add_argument("--no-peers", action="store_true", help="measure only ours")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it runs")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    return options


def conditions(options: argparse.Namespace) -> str:
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    fleet = f"{options.gpus} GPUs, {options.hours} h, {options.days} days before"
    return f"wattshed {wattshed_exporter.__version__}, {os.cpu_count()} CPUs, load {load}; {fleet}"


def measure(options: argparse.Namespace, folder: Path) -> tuple[list[Disk], list[Answered]]:
    end = int(time.time()) // HOUR_S * HOUR_S
    fleet = Fleet(options.gpus // 8, 8, options.hours, 10, 7, end)
    disks: list[Disk] = []
    answers: list[Answered] = []
    ours = Ours(folder / "ours")
    try:
        with ExitStack() as stack:
            others = [] if options.no_peers else _peers(stack, folder)
            for peer in others:  # Prometheus takes nothing that is older than what it has
                _history(peer, fleet, options.days)
            before = [peer_bytes(peer) for peer in others]
            load(fleet, ours, others)
            for peer, had in zip(others, before, strict=True):
                name = f"{peer.name} {peer.version}"
                disks.append(Disk(name, samples(fleet), peer_bytes(peer) - had))
                answers += peer_answers(peer, fleet, options.repeats)
        disks.insert(0, our_disk(ours, fleet))
        _say("the ledger charges")
        ours.ledger().run()
        add_history(ours, fleet.end - DAY_S, options.days, 6, _say)
        say_now(ours, fleet)
        answers[:0] = our_answers(ours, fleet, options.repeats)
    finally:
        ours.close()
    return disks, answers


def _peers(stack: ExitStack, folder: Path) -> list[Peer]:
    started = (stack.enter_context(p(folder)) for p in (peers.victoria_metrics, peers.prometheus))
    return [peer for peer in started if peer is not None]


def load(fleet: Fleet, ours: Ours, others: list[Peer]) -> None:
    """Send the main set to everybody."""
    ids = np.array([stable_id(key) for key in fleet.keys], np.uint64)
    ours.describe(fleet)
    for hour in fleet.each_hour():
        _say(f"hour {hour.index + 1} of {fleet.hours}")
        for at in rows.portions(fleet.ticks, 60):
            told = rows.ticks(fleet, hour, at, ids), rows.details(fleet, hour, at, ids)
            ours.writer.submit(Batch(), told).result()
        for node in range(fleet.nodes) if others else ():
            for frame in frames(fleet, hour, 0, SAMPLES_PER_FRAME, METRICS, range(node, node + 1)):
                for peer in others:
                    peer.send(frame)
    for peer in others:
        peers.flush(peer)


def _history(peer: Peer, fleet: Fleet, days: int) -> None:
    """Send energy by the minute of the days before the main set."""
    before = Fleet(fleet.nodes, fleet.gpus, 24 * days, 60, 11, fleet.start)
    for hour in before.each_hour() if days else ():
        _say(f"{peer.name}: history, hour {hour.index + 1} of {before.hours}")
        for frame in frames(before, hour, 0, SAMPLES_PER_FRAME, METRICS[1:2]):
            peer.send(frame)
    peers.flush(peer)


def say_now(ours: Ours, fleet: Fleet) -> None:
    """Say one reading of everybody as if it were now, and who holds what: the day has ended."""
    (*_, hour) = fleet.each_hour()
    ids = np.array([stable_id(key) for key in fleet.keys], np.uint64)
    frame = rows.ticks(fleet, hour, range(1), ids)
    now_ms = int(time.time() * 1000)
    told = {**frame.columns, "ts": Column(np.full(len(frame), now_ms))}
    held = tuple(
        Allocation(fleet.keys[node * fleet.gpus + gpu], job.pod, now_ms - 900_000, now_ms)
        for node, job in enumerate(hour.jobs)
        if job is not None
        for gpu in range(fleet.gpus)
    )
    ours.writer.submit(Batch(allocations=held), (Frame(frame.table, told),)).result()


def samples(fleet: Fleet) -> int:
    return fleet.devices * fleet.ticks * fleet.hours * len(METRICS)


def our_disk(ours: Ours, fleet: Fleet) -> Disk:
    _say("merging")
    for table in TABLES:
        ours.client.command(f"OPTIMIZE TABLE {table} FINAL")
    return Disk("wattshed", samples(fleet), ours.disk_bytes(*TABLES))


def peer_bytes(peer: Peer) -> int:
    """Have everything merged, as far as that can be asked for; return what it takes on disk.

    Of Prometheus it is what it has as blocks: its log of what is not in blocks comes on top.
    """
    _say(f"{peer.name}: merging")
    if peer.name == "Prometheus":
        return peers.snapshot_bytes(peer)
    peers.merge(peer)
    return peer.disk_bytes


def peer_answers(peer: Peer, fleet: Fleet, repeats: int) -> Iterator[Answered]:
    for what, asked in QUESTIONS.items():
        _say(f"{peer.name}: {what}")
        cost = ask(peer, asked, fleet.end, fleet.keys[5], repeats)
        yield Answered(f"{peer.name} {peer.version}", what, cost)


def our_answers(ours: Ours, fleet: Fleet, repeats: int) -> list[Answered]:
    client, end = ours.client, fleet.end
    day, month = end - DAY_S, end - 30 * DAY_S
    asked: list[Callable[[], list[queries.Record]]] = [
        lambda: fleet_queries.power_now(client, "team"),
        lambda: queries.energy(client, "workload", day, end),
        lambda: fleet_queries.least_used(client, day, end, 50),
        lambda: queries.energy(client, "team", day, end),
        lambda: queries.energy(client, "team", month, end),
        lambda: fleet_queries.power(client, "team", day, end, 60),
        lambda: fleet_queries.device_power(client, fleet.keys[5], day, end, 60),
    ]
    found = []
    for what, question in zip(QUESTIONS, asked, strict=True):
        _say(f"wattshed: {what}")
        ours.evict()
        answer, cold = measured(question)
        warm = [measured(question)[1] for _ in range(repeats)]
        wall = statistics.median(cost.wall for cost in warm)
        cpu = statistics.median(cost.cpu for cost in warm)
        cost = Cost(cold.wall * 1e3, wall * 1e3, cpu * 1e3, len(answer))
        found.append(Answered("wattshed", what, cost))
    return found


def disk_table(disks: list[Disk]) -> str:
    lines = [f"{'C3 disk':30}{'bytes a sample':>16}{'MB':>10}{'ours / theirs':>16}"]
    for disk in disks:
        ratio = disks[0].size_bytes / disk.size_bytes
        lines.append(
            f"  {disk.who:28}{disk.size_bytes / disk.samples:>16.3f}{disk.size_bytes / 1e6:>10.1f}"
            f"{ratio:>16.2f}"
        )
    return "\n".join(lines)


def answer_table(answers: list[Answered]) -> str:
    head = f"{'C4 queries':46}{'':26}"
    lines = [
        head + "".join(f"{h:>12}" for h in ("cold ms", "warm ms", "CPU ms", "rows", "ours/it"))
    ]
    for what in QUESTIONS:
        of = [answer for answer in answers if answer.what == what]
        for answer in of:
            cost = answer.cost
            ratio = of[0].cost.cpu_ms / cost.cpu_ms if cost.cpu_ms else float("nan")
            shown = what if answer is of[0] else ""
            lines.append(
                f"{shown:46}{answer.who:26}{cost.cold_ms:>12.1f}{cost.warm_ms:>12.1f}"
                f"{cost.cpu_ms:>12.1f}{cost.rows:>12}{ratio:>12.2f}"
            )
    return "\n".join(lines)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
