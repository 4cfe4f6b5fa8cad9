"""Prices and PUEs told of hours whose readings are gone: what is charged then, and that no joule is
touched by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import factors, grid, ledger_state
from wattshed_collector.store.client import Client
from wattshed_collector.store.grid import Told
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR, DAY = 3600, 86_400
BASE = 1_768_514_400
"""2026-01-15T22:00:00Z"""
LATER = BASE + 60.0 * DAY
"""When readings of these days are gone for a month."""
READINGS = ("tick", "tick_hour", "tick_day", "sample", "detail", "activity_hour", "idle_hour")
JOULES = {
    "v_charge_1h": "t, device_id, workload_id, class",
    "v_charge_1m": "t, device_id, workload_id, class",
    "v_workload_1m": "t, workload_id, class, site",
    "v_measured_1m": "t, device, method, reason",
    "v_workload_1h": "t, workload_id, class, site",
    "v_workload_1d": "t, workload_id, class, site",
    "v_device_1d": "t, device_id, busy_seconds, celsius_seconds, xid_errors, failures",
}
"""Tables of joules, and what tells their rows apart."""


@pytest.fixture
def month_ago(bed: Bed) -> Bed:
    """Four hours, of two days, of a kilowatt held by a workload for the first three, and nothing
    to read any more."""
    ticks = tuple(
        Tick(
            "d", (BASE + at * 600) * 1000, 600_000, Method.COUNTER, energy_uj=at * 600 * 10**9,
            start_ms=BASE * 1000, utilization_ratio=0.5, temperature_celsius=50.0,
        )
        for at in range(4 * 6 + 1)
    )  # fmt: skip
    made = tuple(
        Outcome("w", "token", (BASE + n * HOUR) * 1000, 1e3 * n, BASE * 1000) for n in range(4)
    )
    xids = tuple(
        Detail("d", "wattshed_xid_errors_total", (BASE + at * 1800) * 1000, n, ("79",))
        for at, n in ((0, 0.0), (2, 2.0))
    )
    bed.write(
        Batch(
            devices=(Device("d", Kind.GPU, "n", "nvml", site="a"),),
            workloads=(Workload("w", "w"),),
            allocations=(Allocation("d", "w", BASE * 1000, (BASE + 3 * HOUR) * 1000),),
            ticks=ticks, outcomes=made, details=xids,
        )
    )  # fmt: skip
    ledger = bed.ledger(now=lambda: BASE + 2.0 * DAY)
    ledger.run()
    ledger.sum_up()
    for table in (*READINGS, "dirty"):
        bed.client.command(f"TRUNCATE TABLE {table}")
    return bed


def later(bed: Bed, client: Client | None = None, **policy: Any) -> Ledger:
    return Ledger(client or bed.client, Policy(raw_days=30, **policy), lambda: LATER)


def joules(bed: Bed) -> dict[str, list[tuple[Any, ...]]]:
    """Return what each table has, of each of its rows."""
    return {
        view: bed.client.rows(
            f"SELECT {keys}, sum(v.joules), sum(v.seconds) FROM {view} AS v "
            f"GROUP BY {keys} ORDER BY {keys}"
        )
        for view, keys in JOULES.items()
    }


def costs(bed: Bed) -> list[Any]:
    """What all of it costs, None where anything is not known, as each view has it."""
    found = []
    for view in ("v_charge_1h", "v_workload_1h", "v_workload_1d", "v_device_1d"):
        query = f"SELECT sum(v.cost), countIf(isNull(v.cost)), any(currency) FROM {view} AS v"
        ((cost, unknown, money),) = bed.client.rows(query)
        found.append((None if unknown else pytest.approx(cost), str(money)))
    return found


class Failing(Client):
    """A client on which everything fails that comes after some statements that write."""

    def __init__(self, client: Client, after: int) -> None:
        self._inner, self._left = client, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def command(self, sql: str, parameters: Any = None) -> None:
        self._left -= "INSERT INTO" in sql
        if self._left < 0:
            raise OSError("the power is gone")
        self._inner.command(sql, parameters)


def test_a_price_of_hours_that_cannot_be_read_any_more_is_charged(month_ago: Bed) -> None:
    before = joules(month_ago)
    assert all(rows for rows in before.values())
    said = [Factor("price", "a", BASE, 0.3, "EUR/kWh"), Factor("pue", "", BASE - DAY, 1.5)]
    assert factors.put(month_ago.client, said, LATER) == 4
    # Whatever was done when it broke off is done again, also where that was merged already.
    with pytest.raises(OSError, match="power"):
        later(month_ago, Failing(month_ago.client, 6)).run()
    for table in ledger_state.READ:
        month_ago.client.command(f"SYSTEM START MERGES {table}")
        month_ago.client.command(f"OPTIMIZE TABLE {table} FINAL")
    ledger = later(month_ago)
    assert ledger.run() == [BASE + n * HOUR for n in range(4)]
    assert ledger.skipped_hours == 0
    assert costs(month_ago) == [(1.2, "EUR")] * 4
    assert joules(month_ago) == before
    rows = month_ago.client.rows("SELECT DISTINCT facility_joules / joules FROM v_workload_1h")
    assert [pue for (pue,) in rows] == pytest.approx([1.5])
    for view in ("v_outcome_1h", "v_outcome_1d"):
        query = f"SELECT sum(o.cost), any(o.currency) FROM {view} AS o WHERE outcome = 'token'"
        assert month_ago.client.rows(query) == [(pytest.approx(0.9), "EUR")]
    # Days are not summed up out of readings that are gone.
    assert later(month_ago).sum_up() == 0
    # To say the same again is no news.
    assert factors.put(month_ago.client, said, LATER) == 0
    assert not later(month_ago).run()


def test_only_hours_that_cost_something_else_are_charged_again(month_ago: Bed) -> None:
    def tell(unit: str, steps: list[Step]) -> list[int]:
        month_ago.client.command("TRUNCATE TABLE dirty")
        grid.put(month_ago.client, [Told("price", "DE", unit, "t", BASE, steps)], LATER)
        return [(hour - BASE) // HOUR for hour in ledger.run()]

    ledger, before = later(month_ago), joules(month_ago)
    grid.put_zones(month_ago.client, {"a": ("DE", None, "")}, BASE)
    hours = [Step(BASE + h * HOUR, BASE + (h + 1) * HOUR, 0.1) for h in range(4)]
    assert tell("EUR/kWh", hours) == [0, 1, 2, 3]
    assert costs(month_ago) == [(0.4, "EUR")] * 4
    # An hour that a run has left half charged cannot be known without its readings.
    ledger_state.open_hours(month_ago.client, [BASE], 2**63)
    assert tell("CHF/kWh", [*hours[:2], Step(BASE + 2 * HOUR, BASE + 3 * HOUR, None)]) == [1, 2]
    assert ledger.skipped_hours == 1
    month_ago.client.command("TRUNCATE TABLE ledger_open")
    month_ago.client.insert("dirty", {"hour": [BASE]})
    assert ledger.run() == [BASE]
    # What is taken back is not known again, and of a currency that changes no row is left.
    assert joules(month_ago) == before
    rows = month_ago.client.rows(
        "SELECT toUnixTimestamp(t) AS at, toString(currency), sum(v.joules), sumOrNull(v.cost) "
        "FROM v_workload_1h AS v GROUP BY at, currency ORDER BY at"
    )
    told = [("CHF", 0.1), ("CHF", 0.1), ("", None), ("EUR", 0.1)]
    assert rows == [
        (BASE + n * HOUR, money, pytest.approx(3.6e6), cost and pytest.approx(cost))
        for n, (money, cost) in enumerate(told)
    ]


def test_a_long_past_is_charged_in_portions_and_new_readings_in_between(month_ago: Bed) -> None:
    marks = "SELECT toUnixTimestamp(hour) AS at, count() FROM dirty GROUP BY at ORDER BY at"
    assert factors.put(month_ago.client, [Factor("price", "", 0, 0.3, "EUR/kWh")], LATER) == 4
    young = int(LATER) // HOUR * HOUR - 2 * HOUR
    month_ago.write(
        Batch(
            ticks=tuple(
                Tick("d", (young + at) * 1000, 60_000, Method.INTEGRAL, 1e3) for at in (0, 60)
            )
        )
    )
    before = {"at": ledger_state.clock_us(month_ago.client)}
    hours = [BASE + n * HOUR for n in range(4)]
    done = later(month_ago, rate_rows=1).run()
    # The newest day comes first; what waits is marked for whoever computes next.
    assert set(hours).intersection(done) == set(hours[2:])
    assert young in done
    month_ago.client.command(
        "DELETE FROM dirty WHERE ingested_at < fromUnixTimestamp64Micro({at:Int64}, 'UTC')", before
    )
    assert month_ago.client.rows(marks) == [(hour, 1) for hour in hours[:2]]
    ledger = later(month_ago, rate_rows=1)
    assert ledger.run() == hours[:2]
    assert ledger.skipped_hours == 0
    unpaid = "SELECT countIf(isNull(cost)), sum(cost) FROM v_charge_1h"
    assert month_ago.client.rows(unpaid) == [(0, pytest.approx((4 + 1 / 60) * 0.3))]
