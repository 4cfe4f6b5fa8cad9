"""What it costs to look for advice in a large store: seconds of clock and CPU, by rule.

``python -m bench.advice`` fills a temporary embedded store through the migrations with hourly
roll-ups of ``--devices`` over ``--days``; they are synthetic, nothing was measured or charged. Two
of five nodes of eight GPUs hold a service that says what it made; the others run one training of
half a day after another, each a workload of its own. Asked is as a collector does, over the last
week of the store, and with ``--all-days`` by rule over all of it at once. Exits 1 where a look of a
collector takes longer than five seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from wattshed_collector import advice_book
from wattshed_collector.advice.look import Look
from wattshed_collector.advice.rates import Span
from wattshed_collector.advice.rules import RULES, Rule
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout, migrate

HOUR_S, DAY_S = 3600, 86_400
MOST_S = 5.0
CHUNK_DAYS = 30

_NODE = "intDiv(number % {devices:UInt64}, 8)"
_RUN = "1000000 + slot * intDiv({devices:UInt64}, 8) + node"
DEVICES = f"""
INSERT INTO device (device_id, key, kind, node, source, model, site, tier, power_limit_watts)
SELECT number + 1, concat('gpu', toString(number)), 'gpu', concat('n', toString({_NODE})), 'nvml',
       multiIf({_NODE} % 20 = 5, 'Orin', {_NODE} % 3 = 0, 'A100', 'H100'),
       concat('site-', toString({_NODE} % 4)), if({_NODE} % 20 = 5, 'edge', 'datacenter'),
       if({_NODE} % 3 = 0, 400, 600)
FROM numbers({{devices:UInt64}})
"""
SERVICES = """
INSERT INTO workload (workload_id, key, name, kind, team, owner, model, precision, batch_class)
SELECT number + 1, concat('serve/', toString(number)), concat('serve-', toString(number)),
       'inference', concat('team-', toString(number % 8)), 'ada',
       concat('m', toString(number % 37)), if(number % 7 < 5, 'bf16', 'fp8'),
       if(number % 11 = 0, '1', '8')
FROM numbers(intDiv({devices:UInt64}, 8)) WHERE number % 5 < 2
"""
RUNS = f"""
INSERT INTO workload (workload_id, key, name, kind, team, owner, model)
WITH intDiv(number, intDiv({{devices:UInt64}}, 8)) AS slot,
     number % intDiv({{devices:UInt64}}, 8) AS node
SELECT {_RUN}, concat('run/', toString(number)), concat('train-', toString(node % 199)),
       'training', concat('team-', toString(number % 8)), 'ivo', concat('m', toString(node % 37))
FROM numbers(intDiv({{devices:UInt64}}, 8) * {{days:UInt64}} * 2) WHERE node % 5 >= 2
"""
CHARGED = f"""
INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, facility_joules, version)
WITH intDiv(number, {{devices:UInt64}}) AS h, {_NODE} AS node,
     intDiv({{begun:UInt32}} + h, 12) AS slot
SELECT toDateTime({{lo:UInt32}} + h * 3600, 'UTC'), number % {{devices:UInt64}} + 1,
       if(node % 5 < 2, node + 1, {_RUN}), part.1, part.2 * (1.8e6 + number % 1000),
       part.2 * 3600, part.2 * 2e6, 1
FROM numbers({{devices:UInt64}} * {{hours:UInt64}})
ARRAY JOIN if(cityHash64(node, h) % 10 < 3 + node % 2, [('active', 0.4), ('idle_held', 0.6)],
              [('active', 1.)]) AS part
"""
ROLLED_UP = """
INSERT INTO workload_1h (t, workload_id, class, site, joules, seconds, facility_joules, version)
SELECT c.t, workload_id, class, site, sum(c.joules), sum(c.seconds), sum(c.facility_joules), 1
FROM charge_1h AS c INNER JOIN (SELECT device_id, site FROM device FINAL) AS d USING (device_id)
WHERE t >= toDateTime({lo:UInt32}, 'UTC') AND t < toDateTime({hi:UInt32}, 'UTC')
GROUP BY c.t, workload_id, class, site
"""
MADE = """
INSERT INTO outcome_1h (t, workload_id, kind, model, count, active_joules, loaded_joules,
                        before_joules, uncertainty_joules, facility_joules, hardware, site, version)
WITH intDiv({devices:UInt64}, 8) AS nodes, number % nodes AS node
SELECT toDateTime({lo:UInt32} + intDiv(number, nodes) * 3600, 'UTC'), node + 1, kind, '',
       if(kind = '', 0, 1000 + node % 997), if(kind = '', 1.4e7, NULL), if(kind = '', 1.5e7, NULL),
       if(kind = '', 0, NULL), if(kind = '', 1e5, NULL), if(kind = '', 1.6e7, NULL),
       multiIf(node % 20 = 5, 'Orin', node % 3 = 0, 'A100', 'H100'),
       concat('site-', toString(node % 4)), 1
FROM numbers(intDiv({devices:UInt64}, 8) * {hours:UInt64})
ARRAY JOIN ['', 'token_out', 'request'] AS kind
WHERE node % 5 < 2
"""
FINISHED = """
INSERT INTO ledger_hour (t, version)
SELECT toDateTime({lo:UInt32} + number * 3600, 'UTC'), 1 FROM numbers({hours:UInt64})
"""
ONCE = (
    """INSERT INTO device_limit (device_id, bound, since_ts, limit_uw)
SELECT number + 1, 'requested', toDateTime64({since:UInt32}, 3, 'UTC'), 400e6
FROM numbers({devices:UInt64})
""",
    """INSERT INTO outcome_kind (workload_id, kind, model, is_made, version)
SELECT number + 1, arrayJoin(['token_out', 'request']), '', 1, 1
FROM numbers(intDiv({devices:UInt64}, 8)) WHERE number % 5 < 2""",
    """INSERT INTO idle_hour (hour, device_id, watts, bare_watts)
SELECT toDateTime({until:UInt32} - 3600, 'UTC'), number + 1, 70, 50 FROM numbers({devices:UInt64})
""",
    """INSERT INTO ledger_state (name, watermark, settled, version)
SELECT 'charges', toDateTime64({until:UInt32}, 6, 'UTC'), toDateTime64({until:UInt32}, 3, 'UTC'), 1
""",
    """INSERT INTO factor (kind, site, start_ts, value, unit, source, version)
SELECT f.1, '', toDateTime({since:UInt32}, 'UTC'), f.2, f.3, 'bench', 1
FROM (SELECT arrayJoin([('pue', 1.2, '1'), ('price', 0.2, 'EUR/kWh')]) AS f)
""",
    """INSERT INTO factor (kind, site, start_ts, value, unit, source, version)
SELECT 'carbon_g_per_kwh', concat('site-', toString(number % 4)),
       toDateTime({since:UInt32} + intDiv(number, 4) * 3600, 'UTC'),
       300 + 100 * sin(intDiv(number, 4) / 4 + number % 4), 'g/kWh', 'bench', 1
FROM numbers(4 * 24 * {days:UInt64})
""",
    """INSERT INTO quality (at, kind, ai_model, precision, metric, score, better, version)
SELECT toDateTime64({since:UInt32}, 3, 'UTC'), 'score', concat('m', toString(number % 37)),
       if(number < 37, 'bf16', 'fp8'), 'mmlu', 0.8, 'higher', 1 FROM numbers(74)
""",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.advice", description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000, help="in nodes of 8 (10,000)")
    parser.add_argument("--days", type=int, default=365, help="of history by the hour (365)")
    parser.add_argument("--all-days", action="store_true", help="ask each rule of all days too")
    parser.add_argument("--runs", type=int, default=2, help="after one that warms up (2)")
    parser.add_argument("--folder", type=Path, help="keep the store there, and ask it again")
    options = parser.parse_args()
    if options.folder:
        return asked(options.folder, options)
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-") as folder:
        return asked(Path(folder), options)


def asked(folder: Path, options: argparse.Namespace) -> int:
    """Fill the store in ``folder`` unless it is filled, measure, and return the exit code."""
    store = Store(folder)
    client = store.client()
    migrate(client, Layout(raw_days=0, minute_days=0))
    if not client.rows("SELECT count() FROM device")[0][0]:
        until = int(time.time()) // HOUR_S * HOUR_S
        fill(client, options.devices, options.days, until)
    seconds = measured(client, options)
    client.close()
    store.close()
    return 1 if seconds > MOST_S else 0


def fill(client: Client, devices: int, days: int, until: int) -> None:
    since = until - days * DAY_S
    given = {"devices": devices, "days": days, "since": since, "until": until}
    for statement in (DEVICES, SERVICES, RUNS, *ONCE):
        client.command(statement, given)
    for lo in range(since, until, CHUNK_DAYS * DAY_S):
        hi = min(until, lo + CHUNK_DAYS * DAY_S)
        begun, hours = (lo - since) // HOUR_S, (hi - lo) // HOUR_S
        chunk = {**given, "lo": lo, "hi": hi, "begun": begun, "hours": hours}
        for statement in (CHARGED, ROLLED_UP, MADE, FINISHED):
            client.command(statement, chunk)
    counted = (
        f"{client.rows(f'SELECT count() FROM {table}')[0][0]} of {table}"
        for table in ("device", "workload", "charge_1h", "workload_1h", "outcome_1h")
    )
    print("rows (synthetic):", ", ".join(counted), flush=True)


def measured(client: Client, options: argparse.Namespace) -> float:
    """Print what each rule and a whole look take; return a look's seconds, the quickest."""
    week = advice_book.last_week(client)
    assert week is not None
    spans = {"a week": week}
    if options.all_days:
        spans["all days"] = Span(week.until_s - (options.days - 1) * DAY_S, week.until_s)
    print(f"{'seconds':40} {'wall':>7} {'CPU':>7} {'found':>6}")
    for what, span in spans.items():
        for rule in RULES:
            name = f"{rule.__module__.rpartition('.')[2]}, {what}"
            timed(name, partial(count, rule, client, span), 1)
    look = partial(advice_book.look, client, int(time.time()))
    return timed("advice_book.look", look, options.runs)


def count(rule: Rule, client: Client, span: Span) -> int:
    return len(list(rule(Look(client, span))))


def timed(name: str, ask: Callable[[], int], runs: int) -> float:
    """Ask once to warm up, if there is more than one run, then ``runs`` times; take the least."""
    took, found = [], 0
    for _ in range(runs + (runs > 1)):
        began, spent = time.perf_counter(), time.process_time()
        found = ask()
        took.append((time.perf_counter() - began, time.process_time() - spent))
    wall, cpu = min(took)
    print(f"{name:40} {wall:7.2f} {cpu:7.2f} {found:6d}", flush=True)
    return wall


if __name__ == "__main__":
    sys.exit(main())
