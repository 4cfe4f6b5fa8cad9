"""Measure queries, and disk, beside VictoriaMetrics and Prometheus, on the same data, in one run.

The main set is a day of a fleet with fifteen metrics a GPU every ten seconds; before it lie some
days of energy by the minute, for the question about a month (``bench/query/fill.py`` says how each
of them gets it). Every question is put to all of them, one after the other, once cold and some
times warm, with nothing cached, and printed as soon as it was; each answer is held against what the
generator gave (``error``: all deviations in parts of the whole). CPU of the peers is that of their
processes, of ours of this one, in which the engine runs. Nothing here is a test; nothing fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import wattshed_exporter
from bench import peers
from bench.exporter.usage import cpu_seconds
from bench.fleetgen import METRICS, Fleet
from bench.ledger.ours import Ours
from bench.peers import Peer
from bench.query import fill, ours, promql
from bench.query.promql import NAMES, Cost
from bench.query.truth import WATCHED, Truth, Values, error

HOUR_S = 3600
TABLES = ("tick", "detail", "tick_hour", "tick_day", "power_hour")
QUICK = {"gpus": 16, "hours": 2, "days": 1, "repeats": 1}
CALM_RATIO = 0.03
CALM_SECONDS = 120
"""Of one core: what works less has done with what it was given. It is waited for so long."""


@dataclass(frozen=True)
class Answered:
    """What one question cost one of them, and how wrong the answer was."""

    who: str
    what: str
    cost: Cost
    rows: int
    error: float


@dataclass(frozen=True)
class Disk:
    """Bytes of the main set's samples, once everything is merged."""

    who: str
    samples: int
    size_bytes: int


def main() -> None:
    options = arguments()
    if not options.json:
        print(conditions(options), flush=True)
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        disks, answers = measure(options, Path(name))
    if options.json:
        found = {"C3": list(map(asdict, disks)), "C4": list(map(asdict, answers))}
        print(json.dumps({"conditions": conditions(options), **found}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.query",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gpus", type=int, default=1000, help="in nodes of 8 (1000)")
    parser.add_argument("--hours", type=int, default=24, help="of the main set (24)")
    parser.add_argument("--days", type=int, default=29, help="of history before it (29)")
    parser.add_argument("--repeats", type=int, default=3, help="warm runs; medians are shown (3)")
    parser.add_argument("--only", choices=("C4",), help="no disk, and only what the questions read")
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
    sets = fill.Sets(fleet, options.days, fill.ASKED if options.only else METRICS)
    show = _silent if options.json else _print
    store = Ours(folder / "ours", lambda: end)
    try:
        with ExitStack() as stack:
            others = [] if options.no_peers else _peers(stack, folder)
            had: list[int] = []
            mark = (lambda: None) if options.only else (lambda: had.extend(map(peer_bytes, others)))
            began = time.monotonic()
            truth = fill.everybody(sets, store, others, mark, _say)
            show(f"filled in {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
            disks = [] if options.only else list(disk(store, others, had, fleet))
            if disks:
                show(disk_table(disks))
            _calm([os.getpid(), *(peer.pid for peer in others)])
            answers: list[Answered] = []
            show(HEAD)
            for answer in asked(store, others, truth, options):
                answers.append(answer)
                show(answer_line(answers, options))
    finally:
        store.close()
    return disks, answers


def _peers(stack: ExitStack, folder: Path) -> list[Peer]:
    started = (stack.enter_context(p(folder)) for p in (peers.victoria_metrics, peers.prometheus))
    return [peer for peer in started if peer is not None]


def disk(store: Ours, others: Sequence[Peer], had: Sequence[int], fleet: Fleet) -> Iterator[Disk]:
    """Have everything merged, and give what the main set takes of each folder."""
    samples = fleet.devices * fleet.ticks * fleet.hours * len(METRICS)
    _say("ours: merging")
    for table in TABLES:
        store.client.command(f"OPTIMIZE TABLE {table} FINAL")
    yield Disk("wattshed", samples, store.disk_bytes(*TABLES))
    for peer, before in zip(others, had, strict=True):
        yield Disk(f"{peer.name} {peer.version}", samples, peer_bytes(peer) - before)


def peer_bytes(peer: Peer) -> int:
    """Have everything merged, as far as that can be asked for; return what it takes on disk.

    Of Prometheus it is what it has as blocks: its log of what is not in blocks comes on top.
    """
    _say(f"{peer.name}: merging")
    if peer.name == "Prometheus":
        return peers.snapshot_bytes(peer)
    peers.merge(peer)
    return peer.disk_bytes


def _calm(pids: Sequence[int]) -> None:
    """Wait until what was filled works no more in the background."""
    until = time.monotonic() + CALM_SECONDS
    while time.monotonic() < until:
        _say("waiting for merges")
        before = [cpu_seconds(pid) for pid in pids]
        time.sleep(1)
        used = [cpu_seconds(pid) - cpu for pid, cpu in zip(pids, before, strict=True)]
        if max(used) < CALM_RATIO:
            return


def asked(
    store: Ours, others: Sequence[Peer], truth: Truth, options: argparse.Namespace
) -> Iterator[Answered]:
    """Put each question to everybody, ours first."""
    fleet, repeats = truth.fleet, options.repeats
    all_hours = options.hours + 24 * options.days
    mine = ours.questions(store, fleet, all_hours)
    theirs = promql.questions(options.hours, all_hours, fleet.keys[WATCHED])
    for what, true in truth.answers().items():
        _say(f"wattshed: {what}")
        yield _answered("wattshed", what, true, ours.ask(store, mine[what], repeats))
        for peer in others:
            _say(f"{peer.name}: {what}")
            answer = promql.ask(peer, theirs[what], fleet.end, repeats)
            yield _answered(f"{peer.name} {peer.version}", what, true, answer)


def _answered(who: str, what: str, true: Values, answer: tuple[Cost, Values]) -> Answered:
    cost, found = answer
    return Answered(who, what, cost, len(found), error(found, true))


def disk_table(disks: Sequence[Disk]) -> str:
    lines = [f"{'C3 disk':30}{'bytes a sample':>16}{'MB':>10}{'ours / theirs':>16}"]
    for told in disks:
        ratio = disks[0].size_bytes / told.size_bytes
        lines.append(
            f"  {told.who:28}{told.size_bytes / told.samples:>16.3f}{told.size_bytes / 1e6:>10.1f}"
            f"{ratio:>16.2f}"
        )
    return "\n".join(lines)


_COLUMNS = ("cold ms", "warm ms", "CPU ms", "ours/it", "rows", "error")
HEAD = f"{'C4 queries':40}{'':24}" + "".join(f"{column:>10}" for column in _COLUMNS)


def answer_line(answers: Sequence[Answered], options: argparse.Namespace) -> str:
    """Return the newest answer as a line; the first of a question is ours."""
    newest = answers[-1]
    first = next(answer for answer in answers if answer.what == newest.what)
    hours = {"hours": options.hours, "all_hours": options.hours + 24 * options.days}
    cost, shown = newest.cost, ""
    if newest is first:
        shown = f"{newest.what:4}{NAMES[newest.what].format(**hours)}"
    ratio = first.cost.cpu_ms / cost.cpu_ms if cost.cpu_ms else float("nan")
    return (
        f"{shown:40}{newest.who:24}{cost.cold_ms:>10.1f}{cost.warm_ms:>10.1f}{cost.cpu_ms:>10.1f}"
        f"{ratio:>10.2f}{newest.rows:>10}{newest.error:>10.4%}"
    )


def _silent(text: str) -> None:
    """Where all is printed at the end."""


def _print(text: str) -> None:
    _say("")
    print(text, flush=True)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
