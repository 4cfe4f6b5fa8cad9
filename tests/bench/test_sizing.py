"""The arithmetic of docs/SCALING.md: costs in, a layout out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.sizing import Costs, layout, table

COSTS = Costs(1.0, 2.0, 20.0, 10.0, 12.0, 2000.0, 10.0, 60.0, 0.5, 30, 180)


def test_a_fleet_of_a_thousand() -> None:
    found = layout(1000, COSTS, 2.0, 16.0)
    assert found.samples_per_s == pytest.approx(1500)
    assert found.ingest_cores == pytest.approx(0.0015)
    # 100 readings a second, half an hour of them computed each minute at 2 us.
    assert found.ledger_cores == pytest.approx(100 * 1800 * 2e-6 / 60)
    assert found.raw_gb == pytest.approx(100 * 86_400 * 30 * 20 / 1e9)
    assert found.network_mbit == pytest.approx(12.5 * 2000 * 8 / 1e6)
    assert (found.collectors, found.shards) == (1, 1)


def test_what_is_needed_grows_with_the_fleet_and_is_never_less_than_it() -> None:
    dear = replace(COSTS, ingest_us=20.0)
    for gpus in (1000, 100_000, 10_000_000):
        found = layout(gpus, dear, 2.0, 16.0)
        assert found.collectors * 2.0 * 0.5 >= found.ingest_cores - 0.01
        assert found.shards * 16.0 * 0.5 >= found.ledger_cores - 0.01
    assert table([layout(1000, COSTS, 2.0, 16.0)]).startswith("| GPUs | 1,000 |\n|---|---|\n")
