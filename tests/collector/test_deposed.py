"""What a leader leaves that is none any more, and how it stays one while a statement takes long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from tests.collector.conftest import Bed
from tests.fixtures.clients import Through

from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import ledger_state
from wattshed_collector.store.lease import Lease, Timing, newest
from wattshed_collector.store.rows import Ids, tick_columns
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

BASE = 1_767_225_600
LATE_SECONDS = 3600.0


class Failing(Through):
    """A client on which the last statement of an hour fails."""

    fails = False

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        if self.fails and "INSERT INTO workload_1d" in sql:
            raise OSError("the power is gone")
        self._client.command(sql, parameters)


def energy(second: int, joules: int) -> Tick:
    start_ms = BASE * 1000
    at = start_ms + second * 1000
    return Tick("d", at, 10_000, Method.COUNTER, energy_uj=joules * 10**6, start_ms=start_ms)


def test_rows_that_come_after_the_leader_went_do_not_stay(bed: Bed) -> None:
    """The server finishes a statement of a leader that was cut off: its keys are no longer made."""
    device = Device("d", Kind.GPU, "n", "nvml")
    bed.write(Batch(devices=(device,), ticks=(energy(0, 0), energy(10, 10))))
    ledger_state.begin(bed.client, 5)
    ledger_state.open_hours(bed.client, [BASE], 5)
    now = [time.time()]
    lease = Lease(bed.client, "ledger", "second", Timing(settle_seconds=60), sleep=lambda _: None)
    ledger = Ledger(
        bed.client, Policy(raw_days=0), lambda: now[0], lease=lease, late_seconds=LATE_SECONDS
    )
    assert ledger.run() == [BASE]
    for table in ("charge_1m", "charge_1h", "workload_1h", "workload_1d"):
        row: dict[str, list[object]] = {
            "t": [BASE],
            "workload_id": [99],
            "class": ["active"],
            "version": [5],
        }
        if table.startswith("charge"):
            row["device_id"] = [device.id]
        bed.client.insert(table, {**row, "joules": [7.0], "seconds": [7.0]})
    left = "SELECT count() FROM workload_1d FINAL WHERE workload_id = 99 AND seconds != 0"
    bed.client.command("TRUNCATE TABLE dirty")
    now[0] += LATE_SECONDS + 60
    assert ledger.run() == [BASE]
    assert bed.client.rows(left) == [(0,)]
    assert bed.client.rows("SELECT sum(joules) FROM v_workload_1d") == [(10.0,)]
    bed.client.command("TRUNCATE TABLE dirty")
    assert ledger.run() == (), "it is seen to once"


def test_hours_that_were_asked_for_and_left_half_done_are_done_again(bed: Bed) -> None:
    """Nothing marks them: by the time that they fail everything that was told is charged."""
    device = Device("d", Kind.GPU, "n", "nvml")
    bed.write(Batch(devices=(device,), ticks=(energy(0, 0), energy(10, 10))))
    failing = Failing(bed.client)
    ledger = Ledger(failing, Policy(raw_days=0))
    assert ledger.run() == [BASE]
    for computing in (ledger, Ledger(bed.client, Policy(raw_days=0))):
        failing.fails = True
        with pytest.raises(OSError, match="power"):
            ledger.recompute([BASE])
        failing.fails = False
        for table in ledger_state.READ:
            bed.client.command(f"OPTIMIZE TABLE {table} FINAL")
        bed.client.command("TRUNCATE TABLE dirty")
        assert bed.client.rows("SELECT sum(joules) FROM v_energy_1h") == [(0.0,)]
        assert computing.run() == [BASE]
        assert bed.client.rows("SELECT sum(joules) FROM v_energy_1h") == [(10.0,)]


def test_a_server_whose_clock_is_behind_ours_hides_nothing(bed: Bed) -> None:
    """Rows may come after their mark: the run that saw the mark alone is not the last one."""
    ahead = Ledger(
        bed.client, Policy(raw_days=0), lambda: time.time() + 600, late_seconds=LATE_SECONDS
    )
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml"),), ticks=(energy(0, 0),)))
    assert ahead.run() == [BASE]
    bed.client.insert("tick", tick_columns([energy(10, 10)], Ids()))
    assert ahead.run() == [BASE]
    assert bed.client.rows("SELECT sum(joules) FROM v_workload_1d") == [(10.0,)]


def test_a_lease_is_renewed_while_its_holder_waits(bed: Bed) -> None:
    at = [0.0]
    timing = Timing(length_seconds=0.3, settle_seconds=0.1, drift_seconds=0.0)
    client = bed.store.client()
    lease = Lease(client, "long", "us", timing, monotonic=lambda: at[0], sleep=lambda _: None)
    assert lease.hold()
    taken = newest(bed.client, "long")
    at[0] = 0.25
    with lease.kept():
        deadline = time.monotonic() + 120
        while newest(bed.client, "long") == taken and time.monotonic() < deadline:
            time.sleep(0.02)
    at[0] = 0.5
    assert lease.is_held
    assert newest(bed.client, "long") != taken
    client.close()
