"""kill -9 in the middle of ingest, again and again: what was acknowledged is there, once.

``python -m bench.faults --only kill`` is the same a hundred times.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from bench.faults import kill
from bench.faults.machines import Machine
from bench.faults.senders import Sender, sending
from bench.faults.trial import Trial, hours_ago, until
from tests.fixtures.stores import Stores

from wattshed_collector.store.client import Store
from wattshed_collector.store.migrate import Layout

pytestmark = pytest.mark.e2e

ROUNDS = 5
SENDERS = 4


def test_kill_in_the_middle_of_ingest(tmp_path: Path) -> None:
    (row,) = kill.run(tmp_path / "kill", rounds=ROUNDS)
    print(row)
    assert row.problems == []
    counts = row.found.counts
    assert counts.acknowledged == counts.stored > ROUNDS * kill.SENDERS
    assert (counts.lost, counts.doubled, counts.altered, counts.unasked) == (0, 0, 0, 0)
    assert row.found.balance.joules > 0
    assert row.found.balance.off <= 1e-9
    assert row.repeated > 0
    assert row.outcomes is not None
    made = row.outcomes.counts
    assert made.acknowledged == made.stored > ROUNDS * kill.PROGRAMS
    assert (made.lost, made.doubled, made.altered, made.unasked) == (0, 0, 0, 0)
    assert row.outcomes.counted > 0
    assert row.outcomes.off <= 1e-9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_five_seconds_while_it_is_busy(
    tmp_path: Path, stores: Stores, number: signal.Signals
) -> None:
    trial = Trial("stop", tmp_path / "stop")
    stores.prepare(trial.store, Layout())
    collector = trial.start()
    machines = [Machine(f"stop-{n}", start_ms=hours_ago(6)) for n in range(SENDERS)]
    with sending([Sender(machine, trial.book) for machine in machines], trial.port):
        assert until(lambda: trial.book.acknowledged_bodies() >= 20, 30)
        started = time.monotonic()
        assert collector.end(number) == 0
        assert time.monotonic() - started < 5
    assert not (trial.store / "collector.json").exists()
    store = Store(trial.store)
    client = store.client()
    ((stored,),) = client.rows("SELECT count() FROM tick FINAL")
    client.close()
    store.close()
    assert stored >= len(trial.book.acknowledged()) > 0
