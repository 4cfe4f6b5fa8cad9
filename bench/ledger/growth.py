"""What a recomputation and a month's question cost, and what history adds to them."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.ledger.ours import Ours, measured
from wattshed_collector.ledger import HOUR_S
from wattshed_collector.store import ledger_state, queries
from wattshed_collector.store.ledger_sql import RECOMPUTE
from wattshed_collector.store.policies import Rule
from wattshed_exporter.model import Batch, Device, Kind, Workload

DAY_S = 86_400
COPIED = (
    "allocation",
    "measured_1m",
    "charge_1m",
    "charge_1h",
    "workload_1m",
    "workload_1h",
    "workload_1d",
    "ledger_hour",
)
TIMES = {"allocation": ("start_ts", "end_ts")}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Timed:
    """Milliseconds of the clock and of CPU: the first time, and the median of more."""

    what: str
    cold_ms: float
    warm_ms: float
    warm_cpu_ms: float


def filled(statement: str) -> str:
    """Return the table that a statement inserts into."""
    found = re.search(r"INSERT\s+INTO\s+(\w+)", statement)
    return found[1] if found else "?"


def recompute(ours: Ours, hour: int, repeats: int) -> list[Timed]:
    """Compute one hour again: with nothing in memory, then warm, per statement and in sum."""
    ours.evict()
    cold = _statements(ours, hour)
    warm = [_statements(ours, hour) for _ in range(repeats)]
    statements = ours.ledger().statements(hour, hour + HOUR_S)
    rows = [
        Timed(
            f"{number} {filled(statement)}",
            cold[number][0],
            statistics.median(run[number][0] for run in warm),
            statistics.median(run[number][1] for run in warm),
        )
        for number, statement in enumerate(statements)
    ]
    sums = [[sum(part[i] for part in run) for i in (0, 1)] for run in warm]
    total = Timed(
        "all statements",
        sum(part[0] for part in cold),
        statistics.median(wall for wall, _ in sums),
        statistics.median(cpu for _, cpu in sums),
    )
    return [*rows, total]


def _statements(ours: Ours, hour: int) -> list[tuple[float, float]]:
    ledger, version = ours.ledger(), time.time_ns() // 1000
    costs = []
    for statement in ledger.statements(hour, hour + HOUR_S):
        _, cost = measured(
            lambda text=statement: ledger.compute([text], hour, hour + HOUR_S, Rule(), version)  # type: ignore[misc]
        )
        costs.append((cost.wall * 1e3, cost.cpu * 1e3))
    return costs


def run_of_one_hour(ours: Ours, hour: int, repeats: int) -> Timed:
    """The same as the ledger does it: with its policy, the lead, and the marks it leaves."""
    costs = []
    for _ in range(repeats):
        ledger = ours.ledger()
        _, cost = measured(lambda ledger=ledger: ledger.recompute([hour]))  # type: ignore[misc]
        costs.append((cost.wall * 1e3, cost.cpu * 1e3))
    wall = [c[0] for c in costs]
    return Timed(
        "the same through the ledger",
        wall[0],
        statistics.median(wall),
        statistics.median(c[1] for c in costs),
    )


def add_history(ours: Ours, day: int, days: int, every: int, say: Say) -> None:
    """Copy the day that begins at ``day`` to each of the ``days`` before it, inside the engine.

    Of the ticks only each ``every``-th of a device is copied.
    """
    present = {str(name) for (name,) in ours.client.rows("SHOW TABLES")}
    for back in range(1, days + 1):
        say(f"history, day {back} of {days}")
        _copy(
            ours, "tick", ("ts",), day, back, f"AND intDiv(toUnixTimestamp(ts), 10) % {every} = 0"
        )
        for table in COPIED:
            if table in present:
                _copy(ours, table, TIMES.get(table, ("t",)), day, back, "")


def _copy(ours: Ours, table: str, times: tuple[str, ...], day: int, back: int, more: str) -> None:
    moved = ", ".join(f"{c} - INTERVAL {back} DAY AS {c}" for c in times)
    columns = ours.client.rows(
        "SELECT name FROM system.columns WHERE database = currentDatabase() "
        "AND table = {table:String} AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') "
        "ORDER BY position",
        {"table": table},
    )
    names = ", ".join(str(name) for (name,) in columns)
    key = times[0]
    ours.client.command(
        f"INSERT INTO {table} ({names}) SELECT * REPLACE ({moved}) FROM ("
        f"SELECT {names} FROM {table} FINAL WHERE {key} >= toDateTime({day}, 'UTC') "
        f"AND {key} < toDateTime({day + DAY_S}, 'UTC') {more})"
    )


def month(ours: Ours, until: int, repeats: int) -> list[Timed]:
    """Energy of each workload, and by team, over 30 days: as the product asks."""
    since = until - 30 * DAY_S
    client = ours.client
    questions: dict[str, Callable[[], object]] = {
        "by workload name": lambda: queries.energy(client, "workload", since, until),
        "by job, with who it is": lambda: queries.workload_energy(client, since, until),
        "by team": lambda: queries.energy(client, "team", since, until),
    }
    return [_asked(ours, what, repeats, question) for what, question in questions.items()]


def _asked(ours: Ours, what: str, repeats: int, question: Callable[[], object]) -> Timed:
    ours.evict()
    _, cold = measured(question)
    warm = [measured(question)[1] for _ in range(repeats)]
    return Timed(
        what,
        cold.wall * 1e3,
        statistics.median(c.wall for c in warm) * 1e3,
        statistics.median(c.cpu for c in warm) * 1e3,
    )


@dataclass(frozen=True)
class Synthetic:
    """A fleet that exists only as charges by the hour: each GPU is held by one job at a time."""

    gpus: int
    workloads: int
    until: int
    days: int = 30

    def fill(self, folder: Path, say: Say) -> Ours:
        """Write charges by the hour, synthetic, and what the ledger rolls up from them."""
        ours = Ours(folder)
        ours.write(Batch(devices=tuple(self._devices()), workloads=tuple(self._workloads())))
        for back in range(self.days, 0, -1):
            say(f"{self.gpus} GPUs, day {self.days - back + 1} of {self.days}")
            self._day(ours, self.until - back * DAY_S)
        return ours

    def _devices(self) -> Iterable[Device]:
        return (Device(f"g{n}", Kind.GPU, f"n{n // 8}", "nvml") for n in range(self.gpus))

    def _workloads(self) -> Iterable[Workload]:
        return (
            Workload(f"j{n}", f"train-{n % 500}", "training", team=f"team-{n % 40}")
            for n in range(self.workloads)
        )

    def _day(self, ours: Ours, day: int) -> None:
        ours.client.command(
            f"""
            INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, version)
            WITH devices AS (SELECT groupArray(device_id) FROM device),
                 workloads AS (SELECT groupArray(workload_id) FROM workload)
            SELECT toDateTime({day} + hour * 3600, 'UTC') AS t,
                   (SELECT * FROM devices)[n + 1] AS device_id,
                   if(cityHash64(intDiv(n, 8), intDiv(hour, 6), {day}) % 10 = 0, 0,
                      (SELECT * FROM workloads)[1 + cityHash64(intDiv(n, 8), intDiv(hour, 6), {day})
                                                    % {self.workloads}]) AS workload_id,
                   if(workload_id = 0, 'idle_unallocated', 'active') AS class,
                   1e6 + n % 1000 AS joules, 3600 AS seconds, 1 AS version
            FROM (SELECT number % {self.gpus} AS n, intDiv(number, {self.gpus}) AS hour
                  FROM numbers({24 * self.gpus}))
            """
        )
        targets = [filled(statement) for statement in RECOMPUTE]
        after = (*RECOMPUTE[targets.index("charge_1h") + 1 :], ledger_state.FINISH)
        ours.ledger().compute(after, day, day + DAY_S, Rule(), version=1)
