"""The best power limit, held against the traces that Zeus published."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.advice.curves import Point, best

GPUS = ("a40", "p100", "v100")
POINTS = st.builds(Point, st.floats(50, 700), st.floats(1, 1e6), st.floats(1, 1e4))
Job = tuple[str, str, str]


def jobs(data: Path, gpu: str) -> dict[Job, list[Point]]:
    """Return points of each dataset, network and optimizer; an outcome is an epoch."""
    found: dict[Job, list[Point]] = defaultdict(list)
    with (data / "zeus" / f"summary_power_{gpu}.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            seconds, watts = float(row["time_per_epoch"]), float(row["average_power"])
            point = Point(float(row["power_limit"]), seconds * watts, seconds, row["batch_size"])
            found[row["dataset"], row["network"], row["optimizer"]].append(point)
    return found


@pytest.mark.parametrize(
    ("gpu", "most", "limit", "joules"),
    [
        ("a40", 0.05, 200, 1599.5),
        ("a40", 0.10, 175, 1474.5),
        ("p100", 0.05, 150, 2123.8),
        ("p100", 0.10, 125, 1899.2),
        ("v100", 0.05, 200, 1249.1),
        ("v100", 0.10, 175, 1132.9),
    ],
)
def test_one_curve_read_by_hand(
    data: Path, gpu: str, most: float, limit: float, joules: float
) -> None:
    points = jobs(data, gpu)["cifar100", "shufflenetv2", "adadelta"]
    curve = [point for point in points if point.batch == "1024"]
    found = best(curve, max(curve, key=lambda point: point.limit_watts), most)
    assert found.limit_watts == limit
    assert found.joules == pytest.approx(joules, abs=0.1)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("most", [0.0, 0.05, 0.1])
def test_no_published_point_within_the_slowdown_takes_less(
    data: Path, gpu: str, most: float
) -> None:
    looked = 0
    for points in jobs(data, gpu).values():
        for now in points:
            found = best(points, now, most)
            assert found.seconds <= now.seconds * (1 + most)
            assert not any(
                p.joules < found.joules and p.seconds <= now.seconds * (1 + most) for p in points
            )
            looked += 1
    assert looked > 100


@given(st.lists(POINTS, max_size=8), POINTS, st.floats(0, 1))
def test_it_never_takes_more_than_now(points: list[Point], now: Point, most: float) -> None:
    found = best(points, now, most)
    assert found == now or found.joules < now.joules
    assert best([], now, most) == now
