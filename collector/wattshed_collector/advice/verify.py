"""Whether advice that was followed saved what it promised, against a stated counterfactual."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .model import MONTH_S

LEAST_SECONDS = 24 * 3600
"""What is known for less than a day says nothing of a month."""
HELD_RATIO = 0.5
"""Of what was promised; from there on advice counts as verified."""


class Verdict(StrEnum):
    """What became of it."""

    VERIFIED = "verified"
    PARTLY = "partly"
    NOT_VERIFIED = "not_verified"
    TOO_EARLY = "too_early"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class After:
    """What was measured in ``seconds`` since: ``joules`` for ``units`` (hours or outcomes).

    None: the store cannot tell. Units are those that count for the baseline.
    """

    seconds: float
    units: float
    joules: float | None


@dataclass(frozen=True, slots=True)
class Verification:
    """``saved_joules`` since it was done; ``ratio`` of what was promised for that time."""

    verdict: Verdict
    seconds: float
    expected_joules: float
    saved_joules: float | None
    saved_joules_per_month: float | None
    ratio: float | None


def verify(joules_per_unit: float, joules_per_month: float, after: After) -> Verification:
    """Set what was measured against ``joules_per_unit`` for the same units, and the promise."""
    expected = joules_per_month * after.seconds / MONTH_S
    if after.joules is None or after.seconds <= 0:
        return Verification(Verdict.UNKNOWN, after.seconds, expected, None, None, None)
    saved = joules_per_unit * after.units - after.joules
    ratio = saved / expected if expected > 0 else None
    return Verification(
        _verdict(after, saved, ratio),
        after.seconds,
        expected,
        saved,
        saved * MONTH_S / after.seconds,
        ratio,
    )


def _verdict(after: After, saved: float, ratio: float | None) -> Verdict:
    if after.seconds < LEAST_SECONDS:
        return Verdict.TOO_EARLY
    if saved <= 0 or ratio is None:
        return Verdict.NOT_VERIFIED
    return Verdict.VERIFIED if ratio >= HELD_RATIO else Verdict.PARTLY
