"""Whether advice that was followed saved what it promised, against a stated counterfactual."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .model import MONTH_S

LEAST_SECONDS = 24 * 3600
"""What is known for less than a day says nothing of a month."""
HELD_RATIO = 0.5
"""Of what was promised; from there on advice counts as verified."""
LEAST_RATIO = 0.05
"""Of what was promised; less is what two weeks differ by when nothing is done."""


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

    None: the store cannot tell. Units are those that count for the baseline; ``other_units`` of
    them are such as were made in other ways before. ``saved_g`` stands alone where what is promised
    are grams.
    """

    seconds: float
    units: float = 0.0
    joules: float | None = None
    other_units: float = 0.0
    saved_g: float | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What was saved within ``seconds``, in joules or in grams alone; ``ratio`` of what was
    promised for that time. Amounts of times that follow each other sum to those of the whole."""

    verdict: Verdict
    seconds: float
    expected_joules: float
    saved_joules: float | None
    saved_joules_per_month: float | None
    ratio: float | None
    expected_g: float | None = None
    saved_g: float | None = None
    saved_g_per_month: float | None = None


def verify(
    joules_per_unit: float,
    joules_per_month: float,
    after: After,
    other_joules_per_unit: float = 0.0,
) -> Verification:
    """Set what was measured against ``joules_per_unit`` for the same units, of which the other
    ones took ``other_joules_per_unit``, and against the promise."""
    expected = joules_per_month * after.seconds / MONTH_S
    if after.joules is None or after.seconds <= 0:
        return Verification(Verdict.UNKNOWN, after.seconds, expected, None, None, None)
    without = joules_per_unit * (after.units - after.other_units)
    saved = without + other_joules_per_unit * after.other_units - after.joules
    ratio = saved / expected if expected > 0 else None
    return Verification(
        _verdict(after, saved, ratio),
        after.seconds,
        expected,
        saved,
        saved * MONTH_S / after.seconds,
        ratio,
    )


def verify_grams(g_per_month: float, after: After) -> Verification:
    """Set the grams that were saved, of no joules, against the promise."""
    expected, saved = g_per_month * after.seconds / MONTH_S, after.saved_g
    if saved is None or after.seconds <= 0:
        return Verification(Verdict.UNKNOWN, after.seconds, 0.0, None, None, None, expected)
    ratio = saved / expected if expected > 0 else None
    return Verification(
        _verdict(after, saved, ratio),
        after.seconds,
        0.0,
        None,
        None,
        ratio,
        expected,
        saved,
        saved * MONTH_S / after.seconds,
    )


def _verdict(after: After, saved: float, ratio: float | None) -> Verdict:
    if after.seconds < LEAST_SECONDS:
        return Verdict.TOO_EARLY
    if saved <= 0 or ratio is None or ratio < LEAST_RATIO:
        return Verdict.NOT_VERIFIED
    return Verdict.VERIFIED if ratio >= HELD_RATIO else Verdict.PARTLY
