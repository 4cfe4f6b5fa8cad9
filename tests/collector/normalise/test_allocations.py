"""Allocations that cannot be true are kept aside with the reason; nothing that is said is lost."""

from __future__ import annotations

import math

import pytest

from wattshed_collector.normalise import Point
from wattshed_collector.normalise.allocations import REASONS, doubt
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_exporter import semconv
from wattshed_exporter.model import Allocation

AT = 1_768_471_200_000
HOUR, DAY = 3_600_000, 86_400_000
NAN = float("nan")


def held(
    lasts_ms: int = 1000, share: float = 1.0, activity: float | None = None, revision: int = 0
) -> Allocation:
    return Allocation("d", "w", AT - lasts_ms, AT, share, "", activity, revision)


CASES = [
    (held(), ""),
    (held(share=0.0, activity=0.0), ""),
    (held(HOUR, activity=1.0), ""),
    (held(366 * DAY), ""),
    (held(0, revision=1), ""),
    (held(0, share=0.0, revision=1), ""),
    (held(share=1.0 + 1e-9), "share_out_of_range"),
    (held(share=-0.1), "share_out_of_range"),
    (held(share=NAN), "share_out_of_range"),
    (held(share=math.inf, activity=0.5), "share_out_of_range"),
    (held(activity=1.5), "activity_out_of_range"),
    (held(activity=-0.5), "activity_out_of_range"),
    (held(activity=NAN), "activity_out_of_range"),
    (held(share=0.0), "no_share"),
    (held(-1), "end_before_start"),
    (held(-1, share=0.0), "end_before_start"),
    (held(HOUR + 1, activity=0.5), "window_too_long"),
    (held(366 * DAY + 1), "too_long"),
]


@pytest.mark.parametrize(("allocation", "reason"), CASES)
def test_doubt(allocation: Allocation, reason: str) -> None:
    assert doubt(allocation) == reason


def test_every_reason_has_a_case() -> None:
    assert {reason for _, reason in CASES} == {"", *REASONS}


@pytest.mark.parametrize(("allocation", "reason"), [case for case in CASES if case[1]])
def test_a_point_in_doubt_is_kept_as_it_was_said(allocation: Allocation, reason: str) -> None:
    attributes: dict[str, str | float | int | bool] = {
        "hw.id": "d",
        "wattshed.workload.id": "w",
        semconv.ALLOCATION_REVISION_ATTRIBUTE: allocation.revision,
    }
    if allocation.activity is not None:
        attributes[semconv.ALLOCATION_ACTIVITY_ATTRIBUTE] = allocation.activity
    point = Point(
        semconv.ALLOCATION.otel, "1", allocation.share, AT, attributes, allocation.start_ms
    )
    batch = Normaliser(Limits(oldest_seconds=0), lambda: AT / 1000).batch([point])
    (kept,) = batch.quarantine
    assert kept.reason == reason
    assert repr(kept.allocation) == repr(allocation)  # NaN is not equal to itself
    assert bool(batch)
    assert not batch.allocations
    assert not batch.workloads
    assert batch.rejected == {}


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("hw.id", "no_device"), ("wattshed.workload.id", "no_workload"), ("", "no_start")],
)
def test_what_does_not_say_what_it_belongs_to_is_refused(missing: str, reason: str) -> None:
    said = {"hw.id": "d", "wattshed.workload.id": "w"}
    said.pop(missing, None)
    start = AT - 1000 if missing else 0
    point = Point(semconv.ALLOCATION.otel, "1", 7.0, AT, said, start)
    batch = Normaliser(Limits(), lambda: AT / 1000).batch([point])
    assert batch.rejected == {reason: 1}
    assert not batch
