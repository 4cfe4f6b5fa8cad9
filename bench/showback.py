"""How long a showback takes: the charged hours of a fleet are written, then a month is asked.

Every GPU of the fleet is held by a workload of its own in each hour (active for one half of it,
idle for the other), which is the most rows that the roll-up can have. CPU is that of this process,
in which the engine runs. Nothing here is a test; nothing fails.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from bench.exporter.usage import cpu_seconds
from wattshed_collector import period, showback
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout, migrate

MONTH = period.month("2026-10")
GRID = """
INSERT INTO grid
SELECT 'carbon', arrayElement(['IE', 'DE'], 1 + number % 2),
       fromUnixTimestamp({since:UInt32}) + 3600 * intDiv(number, 2) AS begin, begin + 3600,
       300, 'g/kWh', true, 'a service', now(), 1
FROM numbers({hours:UInt32} * 2)
"""
FILL = (
    """
INSERT INTO device (device_id, key, kind, node, source, site, overlap, version)
SELECT number + 1, concat('gpu-', toString(number)), 'gpu', '', 'nvml',
       arrayElement(['dub', 'fra', 'sgp'], 1 + number % 3), '', 1 FROM numbers({gpus:UInt32})
""",
    """
INSERT INTO workload (workload_id, key, name, kind, team, version)
SELECT number + 1, concat('w-', toString(number)), concat('job-', toString(number)), 'training',
       concat('team-', toString(number % 20)), 1 FROM numbers({gpus:UInt32})
""",
    """
INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, facility_joules, cost,
                       currency, version)
SELECT fromUnixTimestamp({since:UInt32}) + 3600 * intDiv(number, {gpus:UInt32} * 2),
       1 + intDiv(number, 2) % {gpus:UInt32}, 1 + intDiv(number, 2) % {gpus:UInt32},
       if(number % 2 = 0, 'active', 'idle_held'), 6e5, 1800, 7.8e5, 0.05, 'EUR', 1
FROM numbers({gpus:UInt32} * 2 * {hours:UInt32})
""",
    """
INSERT INTO workload_1h (t, workload_id, class, site, currency, joules, seconds, facility_joules,
                         cost, version)
SELECT c.t, workload_id, class, d.site, currency, c.joules, c.seconds, c.facility_joules, c.cost, 1
FROM charge_1h AS c INNER JOIN (SELECT device_id, site FROM device) AS d USING (device_id)
""",
    """
INSERT INTO ledger_hour (t, version)
SELECT fromUnixTimestamp({since:UInt32}) + 3600 * number, 1 FROM numbers({hours:UInt32})
""",
    "INSERT INTO ledger_state (name, settled) SELECT 'charges', fromUnixTimestamp({until:UInt32})",
    """
INSERT INTO site_zone (site, zone, yearly_g_per_kwh, yearly_source, version)
VALUES ('dub', 'IE', 300, 'a table', 1), ('fra', 'DE', 400, 'a table', 1),
       ('sgp', 'SG', 450, 'a table', 1)
""",
    GRID,
)


def main() -> None:
    """Print a line for each time that the month is asked."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--gpus", type=int, default=1000)
    command.add_argument("--repeats", type=int, default=3)
    told = command.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        client = store.client()
        migrate(client, Layout(raw_days=0, minute_days=0))
        fill(client, told.gpus)
        for _ in range(told.repeats):
            print(json.dumps(asked(client)), flush=True)
        client.close()
        store.close()


def fill(client: Client, gpus: int) -> None:
    """Write the month of so many GPUs."""
    hours = (MONTH.end_s - MONTH.start_s) // 3600
    span = {"gpus": gpus, "hours": hours, "since": MONTH.start_s, "until": MONTH.end_s + 86400}
    for statement in FILL:
        client.command(statement, span)


def asked(client: Client) -> dict[str, float]:
    """Ask all teams' month once; return rows of the roll-up, wall and CPU seconds."""
    ((rows,),) = client.rows("SELECT count() FROM workload_1h")
    cpu, began = cpu_seconds(os.getpid()), time.monotonic()
    document = showback.build(client, MONTH, None, MONTH.end_s + 86400)
    return {
        "rows": rows,
        "teams": len(document["teams"]),
        "wall_seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(cpu_seconds(os.getpid()) - cpu, 2),
    }


if __name__ == "__main__":
    main()
