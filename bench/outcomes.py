"""What energy per outcome costs: a month of many workloads in one question, a run of the ledger.

``python bench/outcomes.py`` fills a temporary embedded store through the migrations. First come
roll-ups of ``--workloads`` over 30 days by the hour, each with energy and three kinds of outcome;
they are synthetic, nothing was measured or charged. Then one hour of readings of ``--gpus``, eight
to a job, is charged again and again, without outcomes and with those that 15 s apart say three
counters of each job. Milliseconds of clock and CPU of this process, in which the engine runs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.queries import DAY_S, DAYS, UNTIL, timed
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.outcome_queries import Asked, per_outcome
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)

SINCE = UNTIL - DAYS * DAY_S
KINDS = ("token_in", "token_out", "request")

WORKLOADS = """
INSERT INTO workload (workload_id, key, name, kind, team, model, precision)
SELECT number + 1, concat('w', toString(number)), concat('w', toString(number)), 'inference',
       concat('team-', toString(number % 8)), concat('m', toString(number % 5)), 'fp8'
FROM numbers({workloads:UInt64})
"""
MADE = """
INSERT INTO outcome_kind (workload_id, kind, model, is_made, version)
SELECT number + 1, arrayJoin({kinds:Array(String)}), '', 1, 1 FROM numbers({workloads:UInt64})
"""
ROWS = """
INSERT INTO outcome_1h (t, workload_id, kind, model, count, active_joules, loaded_joules,
                        before_joules, uncertainty_joules, hardware, site, version)
SELECT toDateTime({since:UInt32} + intDiv(number, {workloads:UInt64}) * 3600, 'UTC') AS t,
       number % {workloads:UInt64} + 1 AS id, kind, '', if(kind = '', 0, 1000 + id),
       if(kind = '', 2e6, NULL), if(kind = '', 3e6, NULL), if(kind = '', 0, NULL),
       if(kind = '', 1e5, NULL), if(id % 2 = 0, 'H100', 'A100'), 'site', 1
FROM numbers({workloads:UInt64} * {hours:UInt64})
ARRAY JOIN arrayPushFront({kinds:Array(String)}, '') AS kind
"""
BY_VIEW = """
SELECT team, outcome, sum(loaded_joules) / sum(count) FROM v_outcome_1h
WHERE t >= toDateTime({since:UInt32}, 'UTC') AND outcome = 'token_out' GROUP BY team, outcome
"""


def month(client: Client, workloads: int, runs: int) -> None:
    given = {"workloads": workloads, "kinds": list(KINDS), "hours": DAYS * 24, "since": SINCE}
    for statement in (WORKLOADS, MADE, ROWS):
        client.command(statement, given)
    ((rows,),) = client.rows("SELECT count() FROM outcome_1h")
    print(f"{workloads} workloads, {DAYS} days by the hour, {rows} rows (synthetic)")
    print(f"{'ms':32} {'wall':>9} {'least':>9} {'CPU':>9} {'least':>9}")

    def asked(*by: str, until: int = UNTIL, **where: str) -> None:
        assert per_outcome(client, Asked(by, SINCE, until, where=where))

    questions = {
        "by workload": lambda: asked("workload_key", "team"),
        "by team": lambda: asked("team"),
        "by model and hardware": lambda: asked("ai_model", "precision", "hardware"),
        "of one team, with edges": lambda: asked("workload_key", until=UNTIL - 90, team="team-1"),
        "the view, by team, one kind": lambda: client.rows(BY_VIEW, {"since": SINCE}),
    }
    for what, ask in questions.items():
        print(f"{what:32} {timed(ask, runs)}", flush=True)


def fleet(gpus: int) -> tuple[Batch, Batch]:
    """An hour of readings 10 s apart; and what each job of eight devices produced in it."""
    lo, jobs = UNTIL - 3600, [f"job/{n}" for n in range(gpus // 8)]
    keys = [f"gpu{n}" for n in range(gpus)]
    charged = Batch(
        devices=tuple(Device(key, Kind.GPU, "n", "s", model="H100") for key in keys),
        ticks=tuple(
            Tick(key, (lo + at) * 1000, 10_000, Method.INTEGRAL, 500.0)
            for key in keys
            for at in range(0, 3600, 10)
        ),
        workloads=tuple(Workload(job, job, team="t") for job in jobs),
        allocations=tuple(
            Allocation(key, jobs[n // 8], lo * 1000, UNTIL * 1000) for n, key in enumerate(keys)
        ),
    )
    produced = tuple(
        Outcome(job, kind, (lo + at) * 1000, 10.0 * at, lo * 1000)
        for job in jobs
        for kind in KINDS
        for at in range(0, 3600, 15)
    )
    return charged, Batch(outcomes=produced)


def runs_of_the_ledger(store: Store, client: Client, gpus: int, runs: int) -> None:
    charged, produced = fleet(gpus)
    writer = Writer(store.client, window_seconds=0.0)
    ledger = Ledger(client, Policy(raw_days=0))

    def charge() -> None:
        client.insert("dirty", {"hour": [UNTIL - 3600]})
        ledger.run()

    def told() -> None:
        client.insert("dirty", {"hour": [UNTIL - 3600], "only_outcomes": [1]})
        charge()

    print(f"a run of the ledger, one hour of {gpus} GPUs")
    writer.submit(charged).result(600)
    print(f"{'no outcomes at all':32} {timed(charge, runs)}", flush=True)
    writer.submit(produced).result(600)
    print(f"{f'{len(produced.outcomes)} readings of outcomes':32} {timed(told, runs)}", flush=True)
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        client = store.client()
        migrate(client, Layout(raw_days=0, minute_days=0))
        month(client, options.workloads, options.runs)
        for table in ("outcome_1h", "outcome_kind", "workload"):
            client.command(f"TRUNCATE TABLE {table}")
        runs_of_the_ledger(store, client, options.gpus, options.runs)
        client.close()
        store.close()


if __name__ == "__main__":
    main()
