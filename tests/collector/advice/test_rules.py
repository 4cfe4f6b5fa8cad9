"""What is claimed of one workload is claimed once."""

from __future__ import annotations

from wattshed_collector.advice.model import Advice, Baseline, Effort, Kind, Measure
from wattshed_collector.advice.rules import alone


def advice(kind: Kind, subject: str, joules: float, grams: float | None = None) -> Advice:
    baseline = Baseline(measure=Measure.GRAMS_HELD, joules_per_unit=0.0, workload=subject)
    return Advice(
        kind=kind,
        subject=subject,
        title="",
        reason="",
        joules_per_month=joules,
        g_per_month=grams,
        confidence=0.5,
        effort=Effort.LOW,
        evidence="",
        baseline=baseline,
    )


def test_of_claims_on_the_same_joules_the_largest_is_given() -> None:
    cap, idle = advice(Kind.POWER_CAP, "a@x", 2e7), advice(Kind.RELEASE_IDLE, "a@x", 1e7)
    other = advice(Kind.BATCH, "a@y", 1e7)
    wait = advice(Kind.OTHER_HOUR, "a@x", 0.0, 5e3)
    there = advice(Kind.OTHER_ZONE, "a@x", 0.0, 4e3)
    assert alone([cap, idle, other, there, wait]) == [cap, other, wait]
    assert alone([idle, cap, wait, other, there]) == [cap, wait, other]
    assert alone([]) == []


def test_what_was_dismissed_holds_no_other_up() -> None:
    cap, idle = advice(Kind.POWER_CAP, "a@x", 2e7), advice(Kind.RELEASE_IDLE, "a@x", 1e7)
    batch = advice(Kind.BATCH, "a@x", 5e6)
    assert alone([batch, cap, idle], {cap.id}) == [idle, cap]
