"""What it costs to compute one hour again: milliseconds of each statement that the ledger runs.

``python bench/recompute.py --gpus 1000 --history-days 1`` fills a temporary embedded store through
the migrations: one hour of ticks every 10 s with counters and power, jobs that follow one another
on each GPU, three GPUs in ten shared by two workloads whose activity is told every ``--round``
seconds, and days of history before it with a tick a minute. The ledger computes the last hour, then
what it would run to compute it again is run ``--runs`` times. Printed is the median of each
statement: by the clock, in CPU, and the part of that which the engine spends before it reads a row.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.device_power import POWER_HOURS
from wattshed_collector.store.ledger_sql import TICK_HOURS, WHOLE, steps
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.pieces_sql import within

HOUR_MS = 3_600_000
LAST_HOUR_MS = 1_768_471_200_000  # 2026-01-15T10:00:00Z

Cost = tuple[float, float]
"""Milliseconds of the clock and of CPU."""

DEVICES = """
INSERT INTO device (device_id, key, kind, node, site, source)
SELECT cityHash64(number), concat('gpu-', toString(number)), 'gpu',
       concat('node-', toString(intDiv(number, 8))), 'hall', 'nvml'
FROM numbers({gpus:UInt64})
"""

TICKS = """
INSERT INTO tick (ts, device_id, power_uw, energy_uj, start_ts, interval_ms, util_e4, method)
WITH intDiv(number, {gpus:UInt64}) AS step, number % {gpus:UInt64} AS gpu,
     intDiv({lo:Int64}, 1000) + step * {every_s:UInt32} AS s,
     300 + cityHash64(gpu, step) % 400 AS watts
SELECT fromUnixTimestamp64Milli(toInt64(s * 1000 + gpu % 997), 'UTC'), cityHash64(gpu),
       watts * 1000000, toUInt64(s - 1760000000) * 500000000 + watts * 100,
       toDateTime64(1760000000, 3, 'UTC'), {every_s:UInt32} * 1000,
       if(cityHash64(gpu, intDiv(s, 1800)) % 5 = 0, 0, 8000), 'counter'
FROM numbers({gpus:UInt64} * intDiv(intDiv({hi:Int64} - {lo:Int64}, 1000), {every_s:UInt32}))
"""

JOBS = """
INSERT INTO allocation (start_ts, device_id, workload_id, end_ts, share, method)
WITH number % {gpus:UInt64} AS gpu, 1200 + cityHash64(gpu) % 2400 AS length_s,
     intDiv({lo:Int64}, 1000) + intDiv(number, {gpus:UInt64}) * length_s AS s
SELECT fromUnixTimestamp64Milli(toInt64(s) * 1000, 'UTC'), cityHash64(gpu),
       1 + cityHash64(gpu, s) % 1000,
       fromUnixTimestamp64Milli(toInt64(s + length_s - 30) * 1000, 'UTC'), 1, 'job'
FROM numbers({gpus:UInt64} * (intDiv(intDiv({hi:Int64} - {lo:Int64}, 1000), 1200) + 1))
WHERE gpu % 10 >= 3 AND s * 1000 < {hi:Int64}
"""

WINDOWS = """
INSERT INTO allocation (start_ts, device_id, workload_id, end_ts, share, activity, method)
WITH intDiv(number, {gpus:UInt64} * 2) AS step, intDiv(number, 2) % {gpus:UInt64} AS gpu,
     intDiv({lo:Int64}, 1000) + step * {round_s:UInt32} AS s, 0.2 + number % 2 * 0.3 AS activity
SELECT fromUnixTimestamp64Milli(toInt64(s) * 1000, 'UTC'), cityHash64(gpu),
       1 + cityHash64(gpu, number % 2) % 1000,
       fromUnixTimestamp64Milli(toInt64(s + {round_s:UInt32}) * 1000, 'UTC'),
       0.5, activity, 'cgroup'
FROM numbers(2 * {gpus:UInt64} * intDiv(intDiv({hi:Int64} - {lo:Int64}, 1000), {round_s:UInt32}))
WHERE gpu % 10 < 3
"""

BASELINES = """
INSERT INTO idle_hour (hour, device_id, watts)
SELECT toDateTime(intDiv({lo:Int64}, 1000) + intDiv(number, {gpus:UInt64}) * 3600, 'UTC'),
       cityHash64(number % {gpus:UInt64}), 60 + number % 20
FROM numbers({gpus:UInt64} * intDiv({hi:Int64} - {lo:Int64}, 3600000))
"""


def fill(client: Client, gpus: int, lo: int, hi: int, every_s: int, round_s: int) -> None:
    """Make up the hours [lo, hi) (Unix ms) of a fleet, a tick of each GPU every ``every_s``."""
    parameters = {"gpus": gpus, "lo": lo, "hi": hi, "every_s": every_s, "round_s": round_s}
    for statement in (TICKS, JOBS, WINDOWS, BASELINES):
        client.command(statement, parameters)
    client.command(TICK_HOURS, {"hours": list(range(lo // 1000, hi // 1000, 3600)), "version": 1})


def build(client: Client, gpus: int, history_days: float, round_s: int) -> None:
    migrate(client, Layout(raw_days=0, minute_days=0))
    client.command(DEVICES, {"gpus": gpus})
    day_ms = 24 * HOUR_MS
    past = round(history_days * day_ms)
    for lo in range(LAST_HOUR_MS - past, LAST_HOUR_MS, day_ms):
        fill(client, gpus, lo, min(lo + day_ms, LAST_HOUR_MS), 60, 3600)
    fill(client, gpus, LAST_HOUR_MS, LAST_HOUR_MS + HOUR_MS, 10, round_s)


def again(client: Client) -> list[str]:
    """Compute the last hour; return what the ledger would run to compute it once more."""
    ledger, hour = Ledger(client, Policy(raw_days=0)), LAST_HOUR_MS // 1000
    ledger.recompute([hour])
    statements = (*ledger.statements(hour, hour + HOUR_MS // 1000), POWER_HOURS)
    return [statement for statement, _ in steps(statements, [WHOLE])]


def parameters_of(version: int) -> dict[str, object]:
    return {
        **within(LAST_HOUR_MS // 1000, (LAST_HOUR_MS + HOUR_MS) // 1000),
        "version": version,
        "idle_below_e4": 500,
        "idle_policy": "holder",
        "host_remainder": "overhead",
    }


def names(statements: Sequence[str]) -> list[str]:
    """Say what each statement of a run writes to, in order."""
    found: list[str] = []
    for statement in statements:
        table = statement.split("INSERT INTO ", 1)[1].split()[0]
        found.append(f"{table}{' again' if table in found else ''}")
    return found


def measure(client: Client, statements: Sequence[str], runs: int) -> list[list[Cost]]:
    """Return the cost of each statement of each run."""
    spent = []
    for _ in range(runs):
        row, given = [], parameters_of(time.time_ns() // 1000)
        for statement in statements:
            wall, cpu = time.perf_counter(), time.process_time()
            client.command(statement, given)
            row.append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
        spent.append(row)
    return spent


def plan_cost(client: Client, statement: str) -> float:
    """Return the CPU milliseconds after which a statement would read its first row."""
    query = statement[statement.index(")") + 1 :]
    costs = []
    for _ in range(3):
        cpu = time.process_time()
        client.command(f"EXPLAIN {query}", parameters_of(0))
        costs.append((time.process_time() - cpu) * 1e3)
    return statistics.median(costs)


def report(client: Client, statements: Sequence[str], runs: int) -> None:
    spent = measure(client, statements, runs)
    print(f"{'':24} {'clock':>8} {'CPU':>8} {'to plan':>8}  milliseconds")
    plans = [plan_cost(client, statement) for statement in statements]
    for name, column, plan in zip(names(statements), zip(*spent, strict=True), plans, strict=True):
        print(f"{name:24} {_line(column)} {plan:8.1f}")
    sums = [(sum(wall for wall, _ in row), sum(cpu for _, cpu in row)) for row in spent]
    print(f"{'all':24} {_line(sums)} {sum(plans):8.1f}")


def _line(costs: Sequence[Cost]) -> str:
    return " ".join(f"{statistics.median(part):8.1f}" for part in zip(*costs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--history-days", type=float, default=1)
    parser.add_argument("--round", type=int, default=60, help="seconds of a window of activity")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        client = store.client()
        build(client, options.gpus, options.history_days, options.round)
        report(client, again(client), options.runs)
        client.close()
        store.close()


if __name__ == "__main__":
    main()
