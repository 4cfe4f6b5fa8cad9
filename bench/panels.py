"""What every panel of every board costs: milliseconds of clock and of CPU, the slowest first.

``python -m bench.panels`` fills a temporary embedded store with a day of the demo fleet, charged by
the ledger, and copies it (``bench/copies.py``) to the size that is asked for. Each panel's own SQL
is put to it as the collector's pages do, over the range with which its board opens and over all
days. Exits 1 where one takes longer than a second in each of its runs.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.fleet_store import KEEP_ALL, fill

from bench.copies import DAY_S, FLEET_GPUS, Size, enlarge
from wattshed_collector.boards import Asked, Boards, panels_of
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import migrate
from wattshed_dashboards.boards import BOARDS
from wattshed_dashboards.macros import Window

MOST_MS = 1000.0
UNITS_S = {"h": 3600, "d": DAY_S, "y": 365 * DAY_S}


@dataclass(frozen=True)
class Took:
    """Medians of a panel over a window; ``least_ms`` is the quickest run by the clock."""

    board: str
    panel: str
    window: str
    wall_ms: float
    least_ms: float
    cpu_ms: float
    rows: int
    error: str = ""


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=options.folder) as folder:
        store = Store(Path(folder))
        end = filled(store, Size(round(options.gpus / FLEET_GPUS), options.days))
        client = store.client(only_reads=True)
        rows = {
            table: client.rows(f"SELECT count() FROM {table}")[0][0]
            for table in ("device", "workload", "charge_1m", "charge_1h", "workload_1d", "tick")
        }
        print(", ".join(f"{count} rows of {table}" for table, count in rows.items()))
        found = list(measured(client, end, options))
        client.close()
        store.close()
    found.sort(key=lambda took: -took.wall_ms)
    print(f"{'ms':66} {'wall':>8} {'least':>8} {'CPU':>8} {'rows':>6}")
    for took in found:
        name = f"{took.board.removeprefix('wattshed-')} / {took.panel} / {took.window}"
        figures = f"{took.wall_ms:8.0f} {took.least_ms:8.0f} {took.cpu_ms:8.0f} {took.rows:6d}"
        print(f"{name:66} {figures} {took.error}")
    slow = [took for took in found if took.least_ms > MOST_MS or took.error]
    print(f"{len(found)} asked, {len(slow)} above {MOST_MS:.0f} ms or failed")
    return 1 if slow else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.panels", description=__doc__)
    parser.add_argument("--gpus", type=int, default=1000, help="in fleets of 32 (1000)")
    parser.add_argument("--days", type=int, default=30, help="of history by the hour (30)")
    parser.add_argument("--board", default="", help="its uid; all boards")
    parser.add_argument("--panel", default="", help="its title; all panels")
    parser.add_argument("--runs", type=int, default=3, help="after one that warms up (3)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    return parser.parse_args()


def filled(store: Store, size: Size) -> int:
    """Fill the store; return when its past ends, in Unix seconds."""
    now, began = time.time(), time.monotonic()
    client = store.client()
    migrate(client, KEEP_ALL)
    fill(store, now)
    print(f"a day of the demo fleet in {time.monotonic() - began:.0f} s", file=sys.stderr)
    enlarge(client, size, int(now))
    print(f"copied after {time.monotonic() - began:.0f} s", file=sys.stderr)
    client.close()
    return int(now)


def measured(client: Client, end: int, options: argparse.Namespace) -> Iterator[Took]:
    boards = Boards(BOARDS)
    for board in boards.documents():
        if options.board not in ("", board["uid"]):
            continue
        own = re.fullmatch(r"now-(\d+)([hdy])", board["time"]["from"])
        assert own, board["uid"]
        opens = int(own[1]) * UNITS_S[own[2]]
        for panel in panels_of(board):
            if "targets" in panel and options.panel in ("", panel["title"]):
                for seconds in sorted({opens, options.days * DAY_S}):
                    yield took(boards, client, board["uid"], panel, (end, seconds), options.runs)


def took(
    boards: Boards, client: Client, uid: str, panel: dict[str, object], of: tuple[int, int],
    runs: int,
) -> Took:  # fmt: skip
    """Ask a panel of ``of`` (end, length in seconds) once to warm up, then ``runs`` times."""
    end, seconds = of
    asked = Asked(Window.of((end - seconds) * 1000, end * 1000), {})
    window = f"{seconds // DAY_S} d" if seconds >= DAY_S else f"{seconds // 3600} h"
    number, title = int(str(panel["id"])), str(panel["title"])
    wall, cpu, rows = [], [], 0
    for _ in range(runs + 1):
        began, spent = time.perf_counter(), time.process_time()
        try:
            columns = boards.answer(client, uid, number, asked)
        except Exception as error:
            return Took(uid, title, window, 0.0, 0.0, 0.0, 0, str(error).splitlines()[0][:160])
        wall.append((time.perf_counter() - began) * 1e3)
        cpu.append((time.process_time() - spent) * 1e3)
        rows = len(columns[0]["values"]) if columns else 0
    median = statistics.median
    return Took(uid, title, window, median(wall[1:]), min(wall[1:]), median(cpu[1:]), rows)


if __name__ == "__main__":
    sys.exit(main())
