"""The ledger's thread: what it is asked while it is at work, and what it counts afterwards."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.errors import Retryable
from wattshed_collector.ledger import Policy
from wattshed_collector.ledger_job import LedgerJob
from wattshed_collector.store import ledger_state
from wattshed_collector.store.shards import Shards
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

DAY_MS = 86_400_000


def old_tick(days: int) -> Batch:
    at = int(time.time() * 1000) - days * DAY_MS
    return Batch(ticks=(Tick("d", at, 1000, Method.COUNTER, 1.0),))


def test_a_day_is_not_dropped_once_for_each_time_that_the_ledger_was_too_busy(bed: Bed) -> None:
    bed.write(old_tick(5), old_tick(6), old_tick(7))
    bed.client.command("TRUNCATE TABLE dirty")  # nothing is to be computed here
    at_work = threading.Event()

    def open_shards() -> Shards:
        at_work.wait(20)
        return Shards(bed.store.client())

    job = LedgerJob(open_shards, Policy(raw_days=0), Telemetry(), 60.0)
    for _ in range(2):
        with pytest.raises(Retryable, match="the ledger is at work"):
            job.drop_oldest(2, 0.01)
    at_work.set()
    assert job.drop_oldest(2, 20.0).endswith("of tick")
    job.close()
    assert bed.client.rows("SELECT count() FROM tick") == [(2,)]


class Replicas(Shards):
    """Says that other nodes hold the same, and waits for none."""

    @property
    def are_replicated(self) -> bool:
        return True


def test_it_counts_on_after_it_had_to_connect_anew(bed: Bed) -> None:
    """An hour that is too old is skipped, then a statement fails, then all is well again."""
    bed.write(old_tick(9))
    ledger_state.keep_raw_since(bed.client, int(time.time()) - 2 * 86_400)
    registry = (telemetry := Telemetry()).registry

    def runs(result: str) -> float:
        name = "wattshed_collector_ledger_runs_total"
        return registry.get_sample_value(name, {"result": result}) or 0.0

    def until(result: str) -> None:
        before, end = runs(result), time.monotonic() + 120
        while runs(result) == before:
            assert time.monotonic() < end, result
            time.sleep(0.01)

    job = LedgerJob(
        lambda: Replicas(bed.store.client()), Policy(raw_days=0), telemetry, interval_seconds=0.05
    )
    try:
        until("ok")
        bed.client.command("RENAME TABLE dirty TO away")
        try:
            until("failed")
        finally:
            bed.client.command("RENAME TABLE away TO dirty")
        until("ok")
    finally:
        job.close()
    assert registry.get_sample_value("wattshed_collector_ledger_skipped_hours_total") == 2
