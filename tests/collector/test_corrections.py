"""Whatever is said of allocations, resent and corrected: the ledger is as if computed afresh."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from wattshed_collector.ledger import OVERLAP_US
from wattshed_collector.store import quarantine
from wattshed_exporter.model import Allocation, Batch, Device, Doubtful, Kind, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
HOUR, MINUTE = 3_600_000, 60_000
TICKS = tuple(
    Tick(key, BASE + m * MINUTE, 10 * MINUTE, Method.INTEGRAL, 60.0, utilization_ratio=m // 50 % 2)
    for key in ("d", "e")
    for m in range(0, 191, 10)
)
DEVICES = tuple(Device(key, Kind.GPU, "n", "nvml") for key in ("d", "e"))


@st.composite
def said(draw: st.DrawFn) -> Allocation:
    """One of few keys, so that most are said again, longer, shorter, otherwise or taken back."""
    activity = draw(st.sampled_from([None, None, None, 0.0, 0.5]))
    start = BASE + draw(st.sampled_from([0, 20, 70])) * MINUTE
    longest = 60 if activity is not None else 120
    return Allocation(
        draw(st.sampled_from("de")),
        draw(st.sampled_from("vw")),
        start,
        start + draw(st.integers(0, longest)) * MINUTE,
        draw(st.sampled_from([0.3, 0.5, 1.0])),
        "",
        activity,
        draw(st.sampled_from([0, 0, 1, 2])),
    )


@settings(
    max_examples=3,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each try runs the ledger
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.lists(said(), min_size=1, max_size=4), min_size=2, max_size=3), st.data())
def test_incremental_runs_equal_one_from_scratch(
    shared_bed: Bed, groups: list[list[Allocation]], data: st.DataObject
) -> None:
    shared_bed.clean()
    shared_bed.write(Batch(devices=DEVICES, ticks=TICKS))
    # A clock with which a run reads only the marks that are newer than the run before it.
    ledger = shared_bed.ledger(now=lambda: time.time() + OVERLAP_US / 1e6)
    ledger.run()
    writer = shared_bed.writer()
    for group in groups:
        if data.draw(st.booleans()):
            writer.close()
            writer = shared_bed.writer()
        writer.submit(Batch(allocations=tuple(group))).result(120)
        ledger.run()
    writer.close()
    found = paid(shared_bed)
    for table in ("measured_1m", "charge_1m", "charge_1h"):
        shared_bed.client.command(f"TRUNCATE TABLE {table}")
    shared_bed.ledger().recompute(BASE // 1000 + h * 3600 for h in range(4))
    expected = paid(shared_bed)
    assert found.keys() == expected.keys()
    for key, (joules, seconds) in found.items():
        assert (joules, seconds) == pytest.approx(expected[key], rel=1e-9, abs=1e-9), key


def paid(bed: Bed) -> dict[tuple[object, ...], tuple[float, float]]:
    tables = "charge_1m", "charge_1h"
    return {(table, *key): told for table in tables for key, told in bed.charged(table).items()}


class TestQuarantine:
    def test_what_does_not_fit_is_named_and_the_ledger_balances(self, bed: Bed) -> None:
        held = (
            Allocation("d", "v", BASE, BASE + 4 * HOUR, 0.75),
            Allocation("d", "w", BASE + HOUR, BASE + 2 * HOUR, 0.5),
            Allocation("d", "w", BASE + 2 * HOUR, BASE + 3 * HOUR, 0.25),
            Allocation("d", "x", BASE + HOUR, BASE + 2 * HOUR, 1.0, "", 0.5),
            Allocation("nobody", "v", BASE, BASE + HOUR),
            Allocation("e", "v", BASE, BASE, 1.0, "", None, 1),
        )
        odd = Doubtful(Allocation("d", "v", BASE, BASE - 1, 7.0), "share_out_of_range")
        bed.write(
            Batch(devices=DEVICES, ticks=TICKS, allocations=held, quarantine=(odd,)),
            Batch(quarantine=(odd,)),
        )
        bed.ledger().run()
        rows = quarantine.listed(bed.client, 0, 2**32 - 2)
        told = {(r["reason"], r["device"], r["workload"], tuple(r["others"])) for r in rows}
        assert told == {
            ("share_out_of_range", "d", "v", ()),
            ("unknown_device", "nobody", "v", ()),
            ("overlap", "d", "w", ("v",)),
        }
        assert len(rows) == len(told)
        residual = bed.client.rows("SELECT max(abs(residual_joules)) FROM v_conservation_1h")
        assert residual[0][0] == pytest.approx(0.0, abs=1e-6)

    def test_three_that_are_too_much_together(self, bed: Bed) -> None:
        held = tuple(Allocation("d", w, BASE, BASE + HOUR, 0.4) for w in "abc")
        bed.write(Batch(devices=DEVICES, allocations=held))
        rows = quarantine.listed(bed.client, 0, 2**32 - 2)
        assert {(r["workload"], tuple(r["others"])) for r in rows} == {
            ("a", ("b", "c")),
            ("b", ("a", "c")),
            ("c", ("a", "b")),
        }
