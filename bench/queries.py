"""What a question about energy per workload over 30 days costs: milliseconds of clock and CPU.

``python bench/queries.py --gpus 1000`` fills a temporary embedded store through the migrations. The
roll-ups are synthetic, nothing was measured or charged: nodes of eight GPUs run one job after
another of four hours with half an hour between them (the mean of 2 to 6 hours and 0 or 1 of a real
fleet), 5.3 a day and node. Each job is a workload of its own, as a pod or a Slurm job is; their
names recur, ``{team}-train-{k}`` of 8 teams and 23 numbers. The days are summed from the hours by
the ledger's own statement, and the newest day is written several times, as it is in life. Beside
today's questions stands the form that they had before.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wattshed_collector.store import queries
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.ledger_sql import WORKLOAD_DAYS
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.pieces_sql import within

DAY_S, HOUR_S = 86_400, 3600
UNTIL = 1_768_464_000  # 2026-01-15T08:00:00Z
DAYS = 30
SITES = 4
TEAMS = "['vision', 'nlp', 'search', 'ads', 'infra', 'robotics', 'speech', 'research']"

WORKLOADS = f"""
INSERT INTO workload (workload_id, key, name, kind, team, namespace)
WITH {TEAMS}[1 + cityHash64(number) % 8] AS team
SELECT cityHash64(number), concat('k8s/c1/', team, '/train-', hex(number)),
       concat(team, '-train-', toString(number % 23)), 'training', team, team
FROM numbers({{jobs:UInt64}})
"""
HOURS = f"""
INSERT INTO workload_1h (t, workload_id, class, site, currency, joules, seconds, version)
WITH intDiv(number, {{nodes:UInt64}}) AS h, number % {{nodes:UInt64}} AS node,
     intDiv({{lo:Int64}} - {{from:Int64}}, 3600) + h AS hour,
     intDiv(hour * 2 + node % 9, 9) AS slot,
     (hour * 2 + node % 9) % 9 < 8 AS is_held
SELECT toDateTime({{lo:Int64}} + h * 3600, 'UTC') AS t,
       if(is_held, cityHash64(slot * {{nodes:UInt64}} + node), 0) AS workload,
       if(is_held, part.1, 'idle_unallocated') AS class, concat('site-', toString(node % {SITES})),
       '', sum(part.2 * (1e7 + node)), sum(part.2 * 28800), {{version:UInt64}}
FROM numbers({{nodes:UInt64}} * {{hours:UInt64}})
ARRAY JOIN if(cityHash64(node, hour) % 3 = 0 AND is_held, [('active', 0.8), ('idle_held', 0.2)],
              [('active', 1.)]) AS part
GROUP BY t, workload, class, node % {SITES}
"""
FINISHED = """
INSERT INTO ledger_hour (t, version)
SELECT toDateTime({lo:Int64} + number * 3600, 'UTC'), {version:UInt64} FROM numbers({hours:UInt64})
"""

FORMER_SOURCE = """(
    SELECT * FROM (
        SELECT workload_id, class, site, sum(r.joules) AS joules, sum(r.seconds) AS seconds
        FROM (
            SELECT workload_id, class, site, joules, seconds
            FROM (SELECT * FROM workload_1d FINAL WHERE seconds != 0)
            WHERE t >= toDateTime({first_day:UInt32}, 'UTC')
              AND t < toDateTime({end_day:UInt32}, 'UTC')
            UNION ALL
            SELECT workload_id, class, site, joules, seconds
            FROM (SELECT * FROM workload_1h FINAL WHERE seconds != 0)
            WHERE t >= toDateTime({since:UInt32}, 'UTC') AND t < toDateTime({until:UInt32}, 'UTC')
              AND (t < toDateTime({first_day:UInt32}, 'UTC')
                   OR t >= toDateTime({end_day:UInt32}, 'UTC'))
        ) AS r
        GROUP BY workload_id, class, site
    ) AS summed
    LEFT JOIN v_workload USING (workload_id)
)"""


def former(client: Client, columns: str, since: int, until: int, more: str = "") -> None:
    """Ask as it was asked before: every name is joined before the sums are formed."""
    client.records(
        f"""
        SELECT {columns}, sum(e.joules) AS joules,
               sumIf(e.joules, class = 'active') AS active_joules,
               sumIf(e.joules, class = 'idle_held') AS idle_held_joules,
               sum(e.seconds) AS device_seconds
        FROM {FORMER_SOURCE} AS e WHERE workload_key != ''
        GROUP BY {columns} ORDER BY joules DESC, {columns} {more}
        """,
        {
            "since": since,
            "until": until,
            "first_day": -(-since // DAY_S) * DAY_S,
            "end_day": until // DAY_S * DAY_S,
        },
    )


def build(client: Client, gpus: int) -> None:
    migrate(client, Layout(raw_days=0, minute_days=0))
    nodes = gpus // 8
    since = UNTIL - (DAYS + 1) * DAY_S
    first = since // DAY_S * DAY_S
    slots = (UNTIL - first) // HOUR_S * 2 // 9 + 2
    client.command(WORKLOADS, {"jobs": slots * nodes})
    days = [(lo, 1) for lo in range(first, UNTIL, DAY_S)]
    for lo, version in [*days, *((days[-1][0], again) for again in range(2, 7))]:
        hours = min(24, (UNTIL - lo) // HOUR_S)
        given = {"lo": lo, "from": first, "hours": hours, "nodes": nodes, "version": version}
        client.command(HOURS, given)
        window = {**within(lo, lo + hours * HOUR_S), "version": version}
        client.command(WORKLOAD_DAYS, window)
        client.command(FINISHED, given)


def timed(ask: Callable[[], object], runs: int) -> str:
    """Return the median and the least of wall and CPU milliseconds, after one run to warm up."""
    ask()
    wall, cpu = [], []
    for _ in range(runs):
        started, spent = time.perf_counter(), time.process_time()
        ask()
        wall.append((time.perf_counter() - started) * 1e3)
        cpu.append((time.process_time() - spent) * 1e3)
    median, least = statistics.median, min
    return f"{median(wall):9.1f} {least(wall):9.1f} {median(cpu):9.1f} {least(cpu):9.1f}"


def questions(client: Client) -> dict[str, Callable[[], object]]:
    since = UNTIL - DAYS * DAY_S
    name = "workload, workload_kind, team"
    job = "workload_key, workload, workload_kind, team, ai_model, precision"
    return {
        "by name": lambda: queries.energy(client, "workload", since, UNTIL),
        "by name, before": lambda: former(client, name, since, UNTIL),
        "by team": lambda: queries.energy(client, "team", since, UNTIL),
        "by team, before": lambda: former(client, "team", since, UNTIL),
        "by class": lambda: queries.energy(client, "class", since, UNTIL),
        "by job, the first 1000": lambda: queries.workload_energy(client, since, UNTIL, 1000),
        "by job, the first 1000, before": lambda: former(client, job, since, UNTIL, "LIMIT 1000"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    for gpus in options.gpus:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            client = store.client()
            build(client, gpus)
            ((jobs,), (hours,), (days,)) = (
                client.rows(f"SELECT count() FROM {table}")[0]
                for table in ("workload", "workload_1h", "workload_1d")
            )
            print(f"{gpus} GPUs, {jobs} jobs, {hours} rows of hours, {days} of days (synthetic)")
            print(f"{'ms':32} {'wall':>9} {'least':>9} {'CPU':>9} {'least':>9}")
            for what, ask in questions(client).items():
                print(f"{what:32} {timed(ask, options.runs)}", flush=True)
            client.close()
            store.close()


if __name__ == "__main__":
    main()
