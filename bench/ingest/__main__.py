"""Measure what taking in costs, beside VictoriaMetrics and Prometheus, and print tables of one run.

C1: everyone scrapes the same pages at once. C2: machines push one tick per request, each on a
connection of its own; ours are the bodies that the exporter sends, the peers get the same numbers
by remote write, once as our exporters send (a sample per series) and once in batches of thirty. The
first two requests of each, in which everybody learns the series, are not counted. C2b: metrics
that are not ours, in batches as OpenTelemetry Collectors send them, and one host to a request; the
peers get the same samples by remote write, and so do ours once. CPU is that of each server's
process; the ledger does not run (bench.ledger measures it). An answer of ours means that the rows
are on disk and fsynced; afterwards the store is counted. Leaves with 1 where it holds other than
what was sent.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

import wattshed_exporter
from bench import peers
from bench.fleetgen import METRICS, Fleet
from bench.frames import frames
from bench.ingest import foreign, push, scrape
from bench.ingest.rows import LEARNING, Row, counted, measured
from bench.peers import Peer
from bench.servers import collector
from wattshed_collector.store.client import Client

QUICK = {
    "targets": 4,
    "warm": 2.0,
    "window": 2.0,
    "windows": 1,
    "senders": 20,
    "ticks": 3,
    "collectors": 2,
    "hosts": 4,
    "agents": 5,
}
ONE_ADDRESS = "--requests.concurrent=0", "--requests.concurrent-per-sender=0"
"""Here all senders share an address, of which a collector takes 4,096 requests at once."""
GOALS = "C1", "C2", "C2b"
BATCHED = 30
"""Ticks of a request of the second row: what Prometheus itself sends of a series at once."""


def main() -> int:
    options = arguments()
    rows: dict[str, list[Row]] = {}
    scraped: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        folder = Path(name)
        if "C1" in options.only:
            scraped = _scraped(options, folder / "c1")
        for name, pushed in (("C2", _pushed), ("C2b", _foreign)):
            for row in pushed(options, folder) if name in options.only else ():
                rows.setdefault(name, []).append(row)
                print(_line(row), file=sys.stderr, flush=True)
    if options.json:
        told = {name: list(map(asdict, found)) for name, found in rows.items()}
        print(json.dumps({"conditions": conditions(), "C1": scraped, **told}))
    else:
        print(conditions(), _scrape_table(scraped) if scraped else "", sep="\n")
        print(*(_push_table(name, found) for name, found in rows.items()), sep="\n")
    return int(any(row.is_off for found in rows.values() for row in found))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ingest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=GOALS, default=GOALS)
    parser.add_argument("--targets", type=int, default=500, help="pages of C1 (500)")
    parser.add_argument("--warm", type=float, default=60.0, help="seconds before C1 (60)")
    parser.add_argument("--window", type=float, default=60.0, help="seconds of a window (60)")
    parser.add_argument("--windows", type=int, default=3, help="windows of C1 (3)")
    parser.add_argument("--senders", type=int, default=1500, help="machines of C2 (1500)")
    parser.add_argument("--ticks", type=int, default=8, help="requests of each (8)")
    parser.add_argument("--collectors", type=int, default=8, help="of C2b that batch (8)")
    parser.add_argument("--hosts", type=int, default=72, help="in each of their batches (72)")
    parser.add_argument("--agents", type=int, default=500, help="of C2b, of one host each (500)")
    parser.add_argument("--no-peers", action="store_true", help="C2, C2b: measure only ours")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it runs")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    return options


def conditions() -> str:
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"wattshed {wattshed_exporter.__version__}, {os.cpu_count()} CPUs, load {load}"


def _scraped(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    folder.mkdir()
    windows, resident, per_page = scrape.measure(
        folder, options.targets, options.warm, options.window, options.windows
    )
    found = {name: statistics.median(costs) for name, costs in windows.items()}
    return {
        "targets": options.targets,
        "series": per_page,
        "cpu_s_per_million": found,
        "windows": windows,
        "resident_mb": resident,
    }


def _scrape_table(found: dict[str, object]) -> str:
    costs, resident = found["cpu_s_per_million"], found["resident_mb"]
    assert isinstance(costs, dict)
    assert isinstance(resident, dict)
    head = f"C1 scrape and store, {found['targets']} targets of {found['series']} series, each 10 s"
    lines = [f"\n{head}", f"  {'':26}{'CPU s / M samples':>20}{'ours / theirs':>16}{'RSS MB':>10}"]
    for name, cost in costs.items():
        ratio = costs["wattshed"] / cost if cost else float("nan")
        lines.append(f"  {name:26}{cost:>20.2f}{ratio:>16.2f}{resident[name]:>10.0f}")
    return "\n".join(lines)


def _pushed(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    fleet = Fleet(options.senders, 8, 1, 10, 7)
    with collector(folder / "ours", scrape.NO_LEDGER, *ONE_ADDRESS) as ours:
        bodies = push.our_bodies(fleet, LEARNING + options.ticks)
        each = fleet.gpus * len(METRICS)
        row = measured(ours, "one tick per request", push.otlp(ours.port), bodies, each)
    yield replace(row, stored=counted(folder / "ours", _stored))
    if options.no_peers:
        return
    small = push.peer_bodies(fleet, LEARNING + options.ticks)
    large = _batched(fleet, options.ticks)
    starts: tuple[Callable[[Path], AbstractContextManager[Peer | None]], ...]
    starts = peers.victoria_metrics, peers.prometheus
    for start in starts:
        for what, sent, ticks in (("one tick per request", small, 1), ("batched", large, BATCHED)):
            place = folder / f"{start.__name__}-{ticks}"
            place.mkdir()
            with start(place) as peer:
                if peer is not None:
                    endpoint = push.remote_write(peer.port)
                    yield measured(peer, what, endpoint, sent, each * ticks)


def _foreign(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    batches = foreign.Fleet(options.collectors, options.hosts, options.ticks)
    single = foreign.Fleet(options.agents, 1, options.ticks)
    flags = scrape.NO_LEDGER, *ONE_ADDRESS
    yield from foreign.rows(folder, batches, single, flags, options.no_peers)


def _batched(fleet: Fleet, ticks: int) -> push.Bodies:
    """Return about as many samples as ``ticks`` ticks of all machines, in batches."""
    (hour, *_) = fleet.each_hour()
    nodes = range(max(1, fleet.nodes * ticks // (fleet.ticks - LEARNING * BATCHED)))
    return [list(frames(fleet, hour, 0, BATCHED, METRICS, range(node, node + 1))) for node in nodes]


def _stored(client: Client) -> int:
    ticks = "(isNotNull(power_uw) + isNotNull(energy_uj) + isNotNull(util_e4)"
    ticks += " + isNotNull(mem_used_bytes) + isNotNull(temp_e1))"
    ((told,),) = client.rows(f"SELECT sum({ticks}) FROM tick FINAL")
    ((details,),) = client.rows("SELECT count() FROM v_sample WHERE device != ''")
    return int(told) + int(details)


def _push_table(name: str, rows: list[Row]) -> str:
    lines = [f"{name} push"]
    lines += [f"  {'':24}{'':22}{'CPU s / M':>10}{'x ours':>8}{'peak MB':>9}{'slowest s':>11}"
              f"{'samples/s':>11}{'sent':>10}{'stored':>10}"]  # fmt: skip
    lines += [
        f"{_line(row)[:56]}{row.cpu_s_per_million:>10.3f}"
        f"{row.cpu_s_per_million / rows[0].cpu_s_per_million:>8.1f}{row.peak_mb:>9.0f}"
        f"{row.slowest_answer_s:>11.2f}{row.samples_per_s:>11.0f}{row.sent:>10}"
        f"{'' if row.stored is None else row.stored:>10}"
        for row in rows
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    return f"  {row.who:24}{row.what:22}        {row.cpu_s_per_million:.3f} CPU s per million"


if __name__ == "__main__":
    sys.exit(main())
