"""The report and the questions behind it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from wattshed_collector import report
from wattshed_collector.report import CLASSES, STEPS_S
from wattshed_collector.store import queries
from wattshed_collector.store.frames import frame
from wattshed_collector.store.pulse import Pulse
from wattshed_collector.store.rows import Ids, tick_columns
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Overlap,
    Tick,
    Workload,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
HOUR = 3600


def steady(device: str, hours: int, watts: float = 100.0, start: int = BASE) -> Batch:
    """One reading a minute."""
    return Batch(
        devices=(Device(device, Kind.GPU, "n", "s"),),
        ticks=tuple(
            Tick(device, (start + m * 60) * 1000, 60_000, Method.COUNTER, watts)
            for m in range(hours * 60 + 1)
        ),
    )


def test_an_empty_store_has_a_report(bed: Bed) -> None:
    for length in (60, HOUR, 24 * HOUR, 90 * 24 * HOUR):
        found = report.build(bed.client, BASE - length, BASE)
        assert found["total_joules"] == 0
        assert found["mean_power_watts"] == 0
        assert found["live_power_watts"] is None
        assert found["classes"] == dict.fromkeys(CLASSES, 0.0)
        assert (found["times"], found["power"]) == ([], {})
        assert found["workloads"] == found["nodes"] == found["live"] == []
        assert found["quality"] == {
            "by_method": {},
            "known_seconds": 0.0,
            "unknown_seconds": {},
            "quarantined": {},
            "residual_worst_ratio": 0.0,
        }
        json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("days", [1, 2, 3, 5, 8, 30])
def test_steady_power_is_steady_in_a_window_of_any_length(bed: Bed, days: int) -> None:
    bed.write(steady("d", 6))
    bed.ledger().run()
    until = BASE + 12 * HOUR
    found = report.build(bed.client, until - days * 24 * HOUR, until)
    assert found["total_joules"] == pytest.approx(6 * HOUR * 100.0, rel=1e-9)
    assert found["window"]["step"] in STEPS_S
    watts = found["power"]["unattributed"]
    if found["window"]["step"] <= HOUR:
        assert watts == pytest.approx([100.0] * len(watts), rel=1e-9)
    assert max(watts) <= 100.0 * (1 + 1e-9)
    assert len(found["times"]) == len(watts) <= 300


def test_power_adds_up_to_the_energy(bed: Bed) -> None:
    bed.write(steady("a", 3), steady("b", 2, 50.0, BASE + HOUR))
    bed.ledger().run()
    found = report.build(bed.client, BASE, BASE + 24 * HOUR)
    step = found["window"]["step"]
    watts = found["power"]["unattributed"]
    assert sum(watts) * step == pytest.approx(found["total_joules"], rel=1e-9)
    assert watts[0] == pytest.approx(100.0)
    assert watts[-1] == pytest.approx(150.0)


def test_a_workload_says_what_its_outcomes_cost(bed: Bed) -> None:
    workload = Workload("w", "llama", "inference", team="blue")
    outcomes = tuple(
        Outcome("w", "token", (BASE + at) * 1000, total, BASE * 1000 if total < 900 else None)
        for at, total in ((0, 0.0), (600, 500.0), (1200, 1000.0), (1800, 200.0))
    )
    bed.write(
        steady("d", 1),
        Batch(
            workloads=(workload,),
            allocations=(Allocation("d", "w", BASE * 1000, (BASE + 1800) * 1000),),
            outcomes=outcomes,
        ),
    )
    bed.ledger().run()
    (row,) = report.build(bed.client, BASE, BASE + HOUR)["workloads"]
    # 500, then 1000, then the counter fell to 200: it began again.
    assert row["outcomes"] == {"token": pytest.approx(1200.0)}
    assert row["joules"] == pytest.approx(180_000.0)
    assert row["joules_per_outcome"] == {
        "token": {
            "active": pytest.approx(150.0),
            "loaded": pytest.approx(150.0),
            "low": None,
            "high": None,
        }
    }


@pytest.mark.parametrize(("started", "counted"), [(-90 * 86400, 10.0), (0, 1010.0)])
def test_what_was_produced_before_anybody_looked_costs_no_joule(
    bed: Bed, started: int, counted: float
) -> None:
    start_ms = (BASE + started) * 1000
    bed.write(
        steady("d", 1),
        Batch(
            workloads=(Workload("w", "w"),),
            allocations=(Allocation("d", "w", BASE * 1000, (BASE + HOUR) * 1000),),
            outcomes=tuple(
                Outcome("w", "token", (BASE + at) * 1000, total, start_ms)
                for at, total in ((600, 1000.0), (1200, 1010.0))
            ),
        ),
    )
    bed.ledger().run()
    (row,) = report.build(bed.client, BASE, BASE + HOUR)["workloads"]
    assert row["outcomes"] == {"token": pytest.approx(counted)}


def test_outcomes_count_only_as_far_as_joules_were_charged(bed: Bed) -> None:
    bed.write(
        steady("d", 1),
        Batch(
            workloads=(Workload("w", "w"),),
            allocations=(Allocation("d", "w", BASE * 1000, (BASE + HOUR) * 1000),),
            outcomes=(Outcome("w", "token", (BASE + 1800) * 1000, 500.0, BASE * 1000),),
        ),
    )
    bed.ledger().run()
    bed.write(Batch(outcomes=(Outcome("w", "token", (BASE + 9000) * 1000, 900.0, BASE * 1000),)))
    for counted in (500.0, 500.0 + 400.0 * 1800 / 7200):
        (row,) = report.build(bed.client, BASE, BASE + 3 * HOUR)["workloads"]
        assert row["outcomes"] == {"token": pytest.approx(counted)}
        bed.ledger().run()


def test_next_to_no_outcome_makes_no_infinite_cost(bed: Bed) -> None:
    bed.write(
        steady("d", 1),
        Batch(
            workloads=(Workload("w", "w"),),
            allocations=(Allocation("d", "w", BASE * 1000, (BASE + HOUR) * 1000),),
            outcomes=(Outcome("w", "token", (BASE + 60) * 1000, 5e-324, BASE * 1000),),
        ),
    )
    bed.ledger().run()
    found = report.build(bed.client, BASE, BASE + HOUR)
    assert found["workloads"][0]["outcomes"] == {}
    json.dumps(found, allow_nan=False)


def test_what_is_unknown_is_counted_by_its_reason(bed: Bed) -> None:
    gap = Tick("d", (BASE + 30) * 1000, 60_000, Method.COUNTER, gap="deadline")
    batch = steady("d", 1)
    late = tuple(t for t in batch.ticks if not 1000 <= t.ts_ms // 1000 - BASE < 2000)
    bed.write(Batch(devices=batch.devices, ticks=(*late, gap)))
    bed.ledger().run()
    quality = report.build(bed.client, BASE, BASE + HOUR)["quality"]
    assert quality["unknown_seconds"] == {
        "deadline": pytest.approx(60.0),
        "no_data": pytest.approx(1080.0),
    }
    assert quality["known_seconds"] == pytest.approx(HOUR - 1140.0)
    assert quality["by_method"] == {"integral": pytest.approx((HOUR - 1140.0) * 100)}


class TestLive:
    def test_the_newest_tick_of_each_device(self, bed: Bed) -> None:
        now = int(time.time() * 1000)
        bed.write(
            Batch(
                devices=tuple(
                    Device(key, Kind.GPU, "n", "s", overlap=overlap)
                    for key, overlap in (
                        ("a", Overlap.NONE),
                        ("b", Overlap.NONE),
                        ("c", Overlap.INNER),
                    )
                ),
                ticks=(
                    Tick("a", now - 5000, 1000, Method.COUNTER, 1.0),
                    Tick("a", now - 4000, 1000, Method.COUNTER, 2.0, utilization_ratio=0.5),
                    Tick("b", now - 3000, 1000, Method.COUNTER, gap="deadline"),
                    Tick("c", now - 3000, 1000, Method.COUNTER, 500.0),
                    Tick("old", now - 3_600_000, 1000, Method.COUNTER, 9.0),
                ),
            )
        )
        found = {row["device"]: row for row in queries.live(bed.client)}
        assert set(found) == {"a", "b", "c"}
        assert (found["a"]["power_watts"], found["a"]["utilization_ratio"]) == (2.0, 0.5)
        assert (found["b"]["power_watts"], found["b"]["gap"]) == (None, "deadline")
        built = report.build(bed.client, now // 1000 - 60, now // 1000)
        assert built["live_power_watts"] == 2.0

    def test_the_newest_time_does_not_depend_on_the_time_zone(
        self, bed: Bed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert queries.newest(bed.client) is None
        bed.write(steady("d", 1))
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        try:
            assert queries.newest(bed.client) == BASE + HOUR
        finally:
            monkeypatch.undo()
            time.tzset()


def live(**watts: float | None) -> list[dict[str, object]]:
    overlaps = {"plug": "outer", "chassis": "outer", "core": "inner", "lonely": "outer"}
    return [
        {"device": key, "overlap": overlaps.get(key, ""), "power_watts": power}
        for key, power in watts.items()
    ]


PLACES = {
    "gpu": ("counted", 1, [10, 20]),
    "core": ("inner", 1, []),
    "plug": ("outer", 10, [20]),
    "chassis": ("outer", 20, []),
    "stray": ("aside", 30, [20]),
}


@pytest.mark.parametrize(
    ("now", "watts"),
    [
        ({"gpu": 300.0, "core": 90.0, "plug": 500.0, "chassis": 900.0}, 300.0),
        ({"gpu": None, "core": 90.0, "plug": 500.0, "chassis": 900.0}, 500.0),
        ({"chassis": 900.0, "stray": 7.0}, 900.0),
        ({"gpu": 300.0, "lonely": 40.0}, 340.0),  # nobody knows of anything inside of it
        ({"core": 90.0, "gpu": None}, None),
    ],
)
def test_live_power_counts_the_innermost_meters_that_say_it(
    now: dict[str, float | None], watts: float | None
) -> None:
    assert report.live_power(live(**now), PLACES) == watts


def test_the_status_line_counts_a_wall_meter_while_nothing_inside_says_its_power() -> None:
    ids = Ids()
    pulse = Pulse(ids, lambda: BASE + 1.0)
    wall = Device("w", Kind.GPU, "n", "s", overlap=Overlap.OUTER)
    other = Device("w2", Kind.GPU, "m", "s", overlap=Overlap.OUTER)
    pulse.know((wall, other, Device("g", Kind.GPU, "n", "s")))
    said = [
        Tick(key, BASE * 1000, 1000, Method.COUNTER, power)
        for key, power in (("w", 500.0), ("w2", 70.0), ("g", 300.0))
    ]
    pulse.observe(frame("tick", tick_columns(said, ids)))
    assert pulse.power_watts() == 370.0
    gap = Tick("g", BASE * 1000 + 500, 1000, Method.COUNTER, gap="deadline")
    pulse.observe(frame("tick", tick_columns([gap], ids)))
    assert pulse.power_watts() == 570.0


def test_what_is_in_quarantine_is_counted(bed: Bed) -> None:
    now = int(time.time())
    bed.client.insert(
        "quarantine",
        {
            "start_ms": [1, 2, 3],
            "end_ms": [0, 0, 9],
            "device": ["d"] * 3,
            "workload": ["w"] * 3,
            "share": [1.0] * 3,
            "activity": [None] * 3,
            "method": ["job"] * 3,
            "revision": [0] * 3,
            "reason": ["end_before_start", "end_before_start", "share_out_of_range"],
            "ingested_at": [now * 10**6, now * 10**6, (now - 9 * HOUR) * 10**6],
        },
    )
    found = report.build(bed.client, now - HOUR, now + HOUR)["quality"]["quarantined"]
    assert found == {"end_before_start": 2}


def test_every_view_answers(bed: Bed) -> None:
    rows = bed.client.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'v\\_%'"
    )
    names = sorted(str(name) for (name,) in rows)
    assert len(names) >= 9
    bed.write(steady("d", 1))
    bed.ledger().run()
    for name in names:
        bed.client.records(f"SELECT * FROM {name} LIMIT 1")
    ((worst,),) = bed.client.rows("SELECT max(abs(residual_joules)) FROM v_conservation_1h")
    assert worst <= 1e-6
