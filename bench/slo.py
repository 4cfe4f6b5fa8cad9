"""What the burn table of objectives costs: milliseconds of clock and CPU.

``python -m bench.slo`` fills a temporary embedded store through the migrations: each workload has
an objective of its own over 30 days with the four default pairs of windows. The roll-ups are
synthetic; an hour is computed by the ledger's own statements, which is what a run adds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wattshed_collector import slo_metrics
from wattshed_collector.ledger_slos import Slos
from wattshed_collector.slo import Slo
from wattshed_collector.store import ledger_state, slo_definitions, slo_queries
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.shards import Shards

UNTIL = 1_768_464_000  # 2026-01-15T08:00:00Z
DAYS, HOUR_S = 30, 3600
GOAL_MS = 200

WORKLOADS = """
INSERT INTO workload (workload_id, key, name, team)
SELECT 1 + number, toString(number), concat('w', toString(number)), 'team'
FROM numbers({many:UInt32})
"""
KINDS = """
INSERT INTO outcome_kind (workload_id, kind, model, is_made, version)
SELECT 1 + number, 'token_out', '', true, 1 FROM numbers({many:UInt32})
"""
MINUTES = """
INSERT INTO outcome_1m (t, workload_id, kind, count, active_joules, loaded_joules, before_joules,
                        version)
SELECT toDateTime({lo:UInt32} + intDiv(number, {many:UInt32} * 2) * 60, 'UTC'),
       1 + intDiv(number, 2) % {many:UInt32} AS w, if(number % 2, 'token_out', ''),
       if(number % 2, 6000 + w, 0), if(number % 2, NULL, 3000 + cityHash64(number) % 500),
       if(number % 2, NULL, 3000 + cityHash64(number) % 500), if(number % 2, NULL, 0), 1
FROM numbers({many:UInt32} * 2 * {minutes:UInt32})
"""
ROLLED_UP = """
INSERT INTO {table:Identifier} (t, slo, revision, outcomes, bad_outcomes, joules, version)
SELECT toDateTime({lo:UInt32} + intDiv(number, {many:UInt32}) * {step:UInt32}, 'UTC'), s.name,
       s.revision, 6000 * {step:UInt32} / 60, cityHash64(number) % 900, 3100 * {step:UInt32} / 60, 1
FROM numbers({many:UInt32} * {slots:UInt32}) AS n
INNER JOIN (SELECT name, revision, toUInt64OrZero(substring(name, 2)) AS at FROM slo FINAL) AS s
    ON s.at = n.number % {many:UInt32}
"""


def fill(client: Client, many: int) -> None:
    slos = [
        Slo(
            name=f"s{n}",
            outcome="token_out",
            target_joules_per_outcome=0.55,
            objective_ratio=0.99,
            match={"workload": f"w{n}"},
        )
        for n in range(many)
    ]
    slo_definitions.adopt(client, slos, UNTIL)
    told = {"many": many, "lo": UNTIL - 7 * HOUR_S, "minutes": 7 * 60}
    for statement in (WORKLOADS, KINDS, MINUTES):
        client.command(statement, told)
    for table, step, slots in (("slo_1h", HOUR_S, DAYS * 24), ("slo_1m", 60, 8 * 60)):
        given = {"table": table, "step": step, "slots": slots, "many": many}
        client.command(ROLLED_UP, {**given, "lo": UNTIL - slots * step})
    ledger_state.save(client, 0, UNTIL * 1000, 1)


def measure(name: str, does: Callable[[], object], times: int) -> float:
    """Print and return the median milliseconds of clock."""
    clock, cpu = [], []
    for _ in range(times):
        began, used = time.perf_counter(), time.process_time()
        does()
        clock.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - used) * 1000)
    print(f"{name:<44} {statistics.median(clock):8.1f} ms {statistics.median(cpu):8.1f} ms CPU")
    return statistics.median(clock)


def main() -> None:
    """Print each cost; the goal is that of the burn table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=200)
    parser.add_argument("--times", type=int, default=15)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        client = store.client()
        migrate(client, Layout(raw_days=0, minute_days=0))
        fill(client, told.workloads)
        slos, version = Slos(Shards(client)), round(time.time() * 1e6)
        slos.follow(UNTIL - 7 * HOUR_S, UNTIL, UNTIL, (version, version + 1), lambda: None)
        print(f"{told.workloads} workloads, an objective each, {DAYS} days")
        table = measure("burn table", lambda: slo_queries.burn(client), told.times)
        print(f"{'goal':<44} {GOAL_MS:8.1f} ms {'met' if table <= GOAL_MS else 'missed'}")

        def gauges() -> object:
            return slo_metrics.gauges(slo_queries.burn(client), slo_queries.defined(client))

        measure("all gauges (at most every 30 s)", gauges, told.times)
        measure("an hour in a run of the ledger", lambda: hour(slos), 5)
        measure("looking for news in a run", lambda: slos.is_behind(0, UNTIL, UNTIL), 5)
        client.close()
        store.close()


def hour(slos: Slos) -> None:
    slos.compute(UNTIL - HOUR_S, UNTIL, round(time.time() * 1e6))


if __name__ == "__main__":
    main()
