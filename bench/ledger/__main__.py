"""Measure the ledger beside VictoriaMetrics and Prometheus in one run and print tables.

The same synthetic fleet (bench/fleetgen.py) goes to all of them: to the peers by remote write, to
ours through the product's own writer. Truth is what the counters gained. Nothing passes or fails.
CPU of ours is that of this process, in which the embedded engine runs, of the peers that of theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import wattshed_exporter
from bench import peers
from bench.fleetgen import Fleet
from bench.ledger import accuracy, growth
from bench.ledger.ours import Ours

QUICK = {"gpus": 16, "hours": 25, "step": 600, "days": 2, "many_gpus": 80, "repeats": 1}
DAY_S = 86_400

Table = tuple[str, list[growth.Timed]]


@dataclass
class Found:
    """Everything that was measured."""

    conditions: dict[str, str]
    accuracy: list[accuracy.Row]
    ledger: dict[str, float]
    timed: dict[str, list[growth.Timed]]
    notes: list[str]


def main() -> None:
    options = arguments()
    say = progress if sys.stderr.isatty() and not options.quiet else silent
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        found = measure(options, Path(name), say, silent if options.json else tell)
    say("")
    if options.json:
        print(json.dumps(asdict(found), indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ledger",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gpus", type=int, default=1000, help="in nodes of 8 (1000)")
    parser.add_argument("--hours", type=int, default=26, help="the last 24 are scored (26)")
    parser.add_argument("--step", type=int, default=10, help="seconds between readings (10)")
    parser.add_argument(
        "--offset", type=int, default=0, help="seconds by which readings miss the edges of jobs (0)"
    )
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--days", type=int, default=30, help="days of history (30)")
    parser.add_argument("--every", type=int, default=6, help="of history each n-th reading (6)")
    parser.add_argument("--many-gpus", type=int, default=100_000, help="of the roll-ups (100000)")
    parser.add_argument("--repeats", type=int, default=5, help="warm runs; medians are shown (5)")
    parser.add_argument("--no-peers", action="store_true", help="measure only ours")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it runs")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quiet", action="store_true", help="show no progress on a terminal")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    if options.hours < 24 or options.gpus % 8 or 3600 % options.step:
        parser.error("at least 24 hours, GPUs in nodes of 8, and a step that divides an hour")
    return options


def measure(
    options: argparse.Namespace, folder: Path, say: accuracy.Say, emit: accuracy.Say
) -> Found:
    """Run every part, one after the other, in ``folder``; ``emit`` gets each table when it is had.

    The whole takes long, and what was measured by then is not lost with a run that is cut short.
    """
    fleet = Fleet(options.gpus // 8, 8, options.hours, options.step, options.seed)
    found = Found(conditions(options), [], {}, {}, [])
    ours = Ours(folder / "ours")
    try:
        with ExitStack() as stack:
            others = [] if options.no_peers else _peers(stack, folder, found)
            truth, cpu = accuracy.ingest(fleet, ours, others, options.offset, say)
            _charge(fleet, ours, found)
            found.accuracy = accuracy.peer_rows(fleet, truth, others, cpu)
        found.accuracy.append(accuracy.our_row(fleet, truth, ours, found.ledger["cpu_s"]))
        emit(accuracy_table(found))
        for title, rows in _recompute(options, fleet, ours, found, say):
            found.timed[title] = rows
            emit(timed_table(title, rows))
    finally:
        ours.close()
    title, rows = _many(options, folder, found, say)
    found.timed[title] = rows
    found.conditions["load after"] = _load()
    notes = "\n".join(f"note: {note}" for note in found.notes)
    emit(f"{timed_table(title, rows)}\n{notes}\nload after: {found.conditions['load after']}\n")
    return found


def _peers(stack: ExitStack, folder: Path, found: Found) -> list[peers.Peer]:
    started = {
        "VictoriaMetrics": stack.enter_context(peers.victoria_metrics(folder)),
        "Prometheus": stack.enter_context(peers.prometheus(folder)),
    }
    absent = [name for name, peer in started.items() if peer is None]
    found.notes += [f"{name} is not installed here and was left out" for name in absent]
    return [peer for peer in started.values() if peer is not None]


def _charge(fleet: Fleet, ours: Ours, found: Found) -> None:
    hours, cpu, wall = accuracy.charge(ours)
    since = fleet.end - DAY_S
    charged = sum(ours.ask("workload", since, fleet.end).joules.values())
    meter = ours.meter_joules(since, fleet.end)
    found.ledger = {
        "hours": hours,
        "cpu_s": cpu,
        "wall_s": wall,
        "build_cpu_s": ours.building.cpu,
        "write_cpu_s": ours.writing.cpu,
        "write_wall_s": ours.writing.wall,
        "charged_less_meter_ratio": charged / meter - 1,
        "tick_bytes": ours.disk_bytes(*accuracy.RAW),
    }


def _recompute(
    options: argparse.Namespace, fleet: Fleet, ours: Ours, found: Found, say: accuracy.Say
) -> Iterator[Table]:
    hour = fleet.end - 3 * 3600
    name = f"one dirty hour, {fleet.devices} GPUs, {fleet.step} s"
    yield f"{name}, 1 day behind it", _hour(ours, hour, options.repeats)
    growth.add_history(ours, fleet.end - DAY_S, options.days - 1, options.every, say)
    found.notes.append(
        f"history is the last day copied {options.days - 1} times inside the engine, of its "
        f"readings each {options.every}th"
    )
    yield f"{name}, {options.days} days behind it", _hour(ours, hour, options.repeats)
    asked = growth.month(ours, fleet.end, options.repeats)
    yield f"energy over 30 days, {fleet.devices} GPUs", asked


def _hour(ours: Ours, hour: int, repeats: int) -> list[growth.Timed]:
    parts = growth.recompute(ours, hour, repeats)
    return [*parts, growth.run_of_one_hour(ours, hour, repeats)]


def _many(options: argparse.Namespace, folder: Path, found: Found, say: accuracy.Say) -> Table:
    fleet = growth.Synthetic(options.many_gpus, options.many_gpus // 8, Fleet().end)
    ours = fleet.fill(folder / "many", say)
    try:
        rows = growth.month(ours, fleet.until, options.repeats)
    finally:
        ours.close()
    found.notes.append(
        f"the charges of {fleet.gpus} GPUs are synthetic rows by the hour, {fleet.workloads} jobs"
    )
    return f"energy over 30 days, {fleet.gpus} GPUs", rows


def conditions(options: argparse.Namespace) -> dict[str, str]:
    """Return what a number depends on beside the code."""
    return {
        "wattshed": wattshed_exporter.__version__,
        "python": platform.python_version(),
        "cpus": str(os.cpu_count()),
        "load": _load(),
        "fleet": f"{options.gpus} GPUs, {options.hours} h, {options.step} s, seed {options.seed}, "
        f"offset {options.offset} s",
    }


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def accuracy_table(found: Found) -> str:
    head = ("who", "query", "total", "idle", "job p50", "job p95", "in CPU s", "CPU ms", "wall ms")
    cells = "".join(f"{h:>13}" for h in (*head[2:], "disk MB"))
    return "\n".join(
        [
            "; ".join(f"{name} {value}" for name, value in found.conditions.items()),
            f"\n{head[0]:<24}{head[1]:<14}{cells}",
            *(_accuracy_line(row) for row in found.accuracy),
            "\n" + ", ".join(f"{name} {value:.6g}" for name, value in found.ledger.items()),
        ]
    )


def timed_table(title: str, rows: list[growth.Timed]) -> str:
    lines = [f"\n{title:<62}{'cold ms':>10}{'warm ms':>10}{'CPU ms':>10}"]
    for timed in rows:
        values = (timed.cold_ms, timed.warm_ms, timed.warm_cpu_ms)
        lines.append(f"  {timed.what:<60}" + "".join(f"{value:>10.1f}" for value in values))
    return "\n".join(lines)


def _accuracy_line(row: accuracy.Row) -> str:
    errors = (row.total, row.idle, row.job_median, row.job_p95)
    rest: tuple[Any, ...] = (
        "" if row.ingest_cpu is None else f"{row.ingest_cpu:.1f}",
        f"{row.query_cpu_ms:.1f}",
        f"{row.query_wall_ms:.1f}",
        "" if row.disk_bytes is None else f"{row.disk_bytes / 1e6:.1f}",
    )
    cells = [*(f"{error:+.4f} %" for error in errors), *rest]
    return f"{row.who:<24}{row.what:<14}" + "".join(f"{cell:>13}" for cell in cells)


def progress(text: str) -> None:
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def tell(text: str) -> None:
    print(text, flush=True)


def silent(text: str) -> None:
    """Say nothing."""


if __name__ == "__main__":
    main()
