"""Measure what taking in costs, beside VictoriaMetrics and Prometheus, and print tables of one run.

C1: everyone scrapes the same pages at once. C2: machines push one tick per request, each on a
connection of its own; ours are the bodies that the exporter sends, the peers get the same numbers
by remote write, once as our exporters send (a sample per series) and once in batches of thirty. The
first two requests of each, in which everybody learns the series, are not counted. CPU is that of
each server's process; the ledger does not run (bench.ledger measures it). An answer of ours means
that the rows are on disk and fsynced. Nothing here is a test; nothing passes or fails.
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
from dataclasses import asdict, dataclass
from pathlib import Path

import wattshed_exporter
from bench import peers
from bench.fleetgen import METRICS, Fleet
from bench.frames import frames
from bench.ingest import push, scrape
from bench.peers import Peer
from bench.servers import Collector, Meter, collector
from wattshed_collector.store.client import Store

QUICK = {"targets": 4, "warm": 2.0, "window": 2.0, "windows": 1, "senders": 20, "ticks": 3}
ONE_ADDRESS = "--requests.concurrent=0", "--requests.concurrent-per-sender=0"
"""Here all senders share an address, of which a collector takes 256 requests at once."""
LEARNING = 2
BATCHED = 30
"""Ticks of a request of the second row: what Prometheus itself sends of a series at once."""


@dataclass(frozen=True)
class Row:
    """What one server needed for ``samples``: CPU seconds per million, and the rest beside."""

    who: str
    what: str
    samples: int
    cpu_s_per_million: float
    peak_mb: float
    slowest_answer_s: float
    samples_per_s: float
    stored: int | None = None


def main() -> None:
    options = arguments()
    rows: list[Row] = []
    scraped: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as name:
        folder = Path(name)
        if "C1" in options.only:
            scraped = _scraped(options, folder / "c1")
        if "C2" in options.only:
            for row in _pushed(options, folder):
                rows.append(row)
                print(_line(row), file=sys.stderr, flush=True)
    if options.json:
        print(
            json.dumps({"conditions": conditions(), "C1": scraped, "C2": list(map(asdict, rows))})
        )
    else:
        print(conditions())
        print(_scrape_table(scraped) if scraped else "", _push_table(rows), sep="\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ingest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=("C1", "C2"), default=("C1", "C2"))
    parser.add_argument("--targets", type=int, default=500, help="pages of C1 (500)")
    parser.add_argument("--warm", type=float, default=60.0, help="seconds before C1 (60)")
    parser.add_argument("--window", type=float, default=60.0, help="seconds of a window (60)")
    parser.add_argument("--windows", type=int, default=3, help="windows of C1 (3)")
    parser.add_argument("--senders", type=int, default=1500, help="machines of C2 (1500)")
    parser.add_argument("--ticks", type=int, default=8, help="requests of each (8)")
    parser.add_argument("--no-peers", action="store_true", help="C2: measure only ours")
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
        row = _sent(ours, "one tick per request", push.otlp(ours.port), bodies, fleet, 1)
    yield Row(**{**asdict(row), "stored": stored(folder / "ours")})
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
                    yield _sent(peer, what, endpoint, sent, fleet, ticks)


def _sent(
    server: Collector | Peer,
    what: str,
    endpoint: push.Endpoint,
    bodies: push.Bodies,
    fleet: Fleet,
    ticks: int,
) -> Row:
    """Send everything, wait until the server is done with it, and say what it cost."""
    push.send(endpoint, [own[:LEARNING] for own in bodies])
    bodies = [own[LEARNING:] for own in bodies]
    with Meter(server.pid) as meter:
        sent = push.send(endpoint, bodies)
        wall = sum(sent.seconds) / len(bodies)
        if isinstance(server, Peer):
            peers.flush(server)
    requests = sum(map(len, bodies))
    samples = requests * fleet.gpus * len(METRICS) * ticks
    name = server.name if isinstance(server, Collector) else f"{server.name} {server.version}"
    return Row(
        name,
        what,
        samples,
        meter.cpu_seconds / samples * 1e6,
        meter.peak_mb,
        sent.slowest,
        samples / wall,
    )


def _batched(fleet: Fleet, ticks: int) -> push.Bodies:
    """Return about as many samples as ``ticks`` ticks of all machines, in batches."""
    (hour, *_) = fleet.each_hour()
    nodes = range(max(1, fleet.nodes * ticks // (fleet.ticks - LEARNING * BATCHED)))
    return [list(frames(fleet, hour, 0, BATCHED, METRICS, range(node, node + 1))) for node in nodes]


def stored(folder: Path) -> int:
    """Return how many samples the stopped collector's store holds, the first ones included."""
    store = Store(folder)
    client = store.client()
    try:
        ticks = "(isNotNull(power_uw) + isNotNull(energy_uj) + isNotNull(util_e4)"
        ticks += " + isNotNull(mem_used_bytes) + isNotNull(temp_e1))"
        ((told,),) = client.rows(f"SELECT sum({ticks}) FROM tick FINAL")
        ((details,),) = client.rows("SELECT count() FROM v_sample WHERE device != ''")
        return int(told) + int(details)
    finally:
        client.close()
        store.close()


def _push_table(rows: list[Row]) -> str:
    lines = ["C2 push"]
    lines += [f"  {'':24}{'':22}{'CPU s / M':>10}{'x ours':>8}{'peak MB':>9}{'slowest s':>11}"
              f"{'samples/s':>11}{'sent':>10}{'stored':>10}"]  # fmt: skip
    lines += [
        f"{_line(row)[:56]}{row.cpu_s_per_million:>10.3f}"
        f"{row.cpu_s_per_million / rows[0].cpu_s_per_million:>8.1f}{row.peak_mb:>9.0f}"
        f"{row.slowest_answer_s:>11.2f}{row.samples_per_s:>11.0f}{row.samples:>10}"
        f"{'' if row.stored is None else row.stored:>10}"
        for row in rows
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    return f"  {row.who:24}{row.what:22}        {row.cpu_s_per_million:.3f} CPU s per million"


if __name__ == "__main__":
    main()
