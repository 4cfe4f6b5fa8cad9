"""What a query costs at /clickhouse beside the same text asked of the engine: clock and CPU.

``python bench/clickhouse.py`` fills a temporary embedded store as ``bench/queries.py`` does
(synthetic roll-ups of 1000 GPUs over 30 days), and asks panels' statements three ways: of the
engine itself, past the guard, and over HTTP (client and collector are in this process, so their CPU
is counted together). Then twenty panels ask at once, as a dashboard does. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bench.queries import DAY_S, DAYS, UNTIL, build, timed
from wattshed_collector.app import running
from wattshed_collector.clickhouse.asked import question
from wattshed_collector.clickhouse.engine import Engine, Limits
from wattshed_collector.config import Config, Retention
from wattshed_collector.store.client import Store

WINDOW = f"t >= toDateTime({UNTIL - DAYS * DAY_S}) AND t <= toDateTime({UNTIL})"
PANELS = {
    "SELECT 1": "SELECT 1",
    "series, 30 days": "SELECT toStartOfInterval(t, INTERVAL 86400 second) AS time, class, "
    f"sum(joules) / 86400 AS watts FROM v_workload_1d WHERE {WINDOW} AND (1=1) "
    "GROUP BY time, class ORDER BY time, class",
    "table, 30 days": "SELECT w.team, sum(d.joules) / 3.6e6 AS kwh FROM v_workload_1d AS d "
    f"LEFT JOIN v_workload AS w ON w.workload_id = d.workload_id WHERE {WINDOW} "
    "GROUP BY w.team ORDER BY kwh DESC LIMIT 10",
    "columns of the editor": "SELECT name, type, table FROM system.columns",
}
AT_ONCE = 20
KEPT = Retention(raw_days=0, minute_days=0)


class Over:
    """Asks one statement over a connection that is kept."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=60)

    def ask(self, sql: str) -> bytes:
        self._to.request("POST", "/clickhouse?default_format=Native", sql)
        answer = self._to.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(body.decode())
        return body

    def close(self) -> None:
        self._to.close()


def past_http(folder: Path, runs: int) -> None:
    """Print what the engine takes for each statement, and what it takes past the guard."""
    store = Store(folder)
    engine, client = Engine(store.embedded, Limits()), store.client()
    for name, sql in PANELS.items():
        told = question([("query", sql), ("default_format", "Native")], {}, b"")
        print(f"{name:24} {'engine':10} {timed(partial(client.native, sql), runs)}")
        print(f"{name:24} {'guarded':10} {timed(partial(engine.answer, told, 'b'), runs)}")
    engine.close()
    client.close()
    store.close()


def over_http(url: str, runs: int) -> None:
    """Print what each statement takes over HTTP, then what twenty at once take."""
    with closing(Over(url)) as to:
        for name, sql in PANELS.items():
            print(f"{name:24} {'HTTP':10} {timed(partial(to.ask, sql), runs)}")

    def panel(number: int) -> float:
        with closing(Over(url)) as to:
            started = time.perf_counter()
            to.ask(PANELS["table, 30 days" if number % 2 else "series, 30 days"])
            return (time.perf_counter() - started) * 1e3

    started, spent = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        each = sorted(threads.map(panel, range(AT_ONCE)))
    wall, cpu = time.perf_counter() - started, time.process_time() - spent
    middle, last = each[AT_ONCE // 2], each[-1]
    print(
        f"{AT_ONCE} panels at once: {wall * 1e3:.0f} ms, {cpu * 1e3:.0f} ms of CPU; one waited "
        f"{middle:.0f} ms (median), {last:.0f} ms (longest)"
    )


def served(folder: Path, runs: int) -> None:
    """Run a collector on the store, in this process, while it is asked."""

    async def serve() -> None:
        config = Config(listen="127.0.0.1:0", data=str(folder), retention=KEPT)
        async with running(config) as url:
            await asyncio.to_thread(over_http, url, runs)

    asyncio.run(serve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name))
        client = store.client()
        build(client, options.gpus)
        client.close()
        store.close()
        print(f"{'ms':35} {'wall':>9} {'least':>9} {'CPU':>9} {'least':>9}")
        past_http(Path(name), options.runs)
        served(Path(name), options.runs)


if __name__ == "__main__":
    main()
