"""Software Carbon Intensity (ISO/IEC 21031:2024): SCI = (O + M) per R.

O is the energy of the software times the location-based intensity of its grid, M what it took to
make the hardware, by the time for which the software had it (TE * TiR/EL * RR/ToR), R the
functional unit. Offsets and contracts for green power count for nothing in it.
Specification: Green-Software-Foundation/sci, SPEC.md.
"""

from __future__ import annotations

from dataclasses import dataclass

NO_OUTCOMES = "nothing was produced"
NO_PUE = "the site's PUE is not known, so nobody knows what it drew"
NO_INTENSITY = "nobody knows what a kilowatt hour of the site's grid emits"
NO_EMBODIED = "embodied carbon is not known"
NO_DEVICES = "no device that computes was charged"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a kind of outcome took, over the same hours and workloads.

    Grams are CO2 equivalent; None: not known. ``embodied_g`` lies between ``embodied_low_g`` and
    ``embodied_high_g``, where somebody says how far it may be off. ``reasons`` say why a part is
    missing.
    """

    outcomes: float
    operational_g: float | None
    embodied_g: float | None
    embodied_low_g: float | None = None
    embodied_high_g: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sci:
    """Grams per outcome: the score, its parts, and its bounds by what is said of M alone."""

    g_per_outcome: float | None
    operational_g_per_outcome: float | None
    embodied_g_per_outcome: float | None
    low_g_per_outcome: float | None
    high_g_per_outcome: float | None
    reasons: tuple[str, ...]


def sci(of: Footprint) -> Sci:
    """Return the score; None where a part is missing or nothing was produced, never 0 for that."""
    reasons = of.reasons if of.outcomes > 0 else (*of.reasons, NO_OUTCOMES)
    operational = _each(of.operational_g, of.outcomes)
    embodied = _each(of.embodied_g, of.outcomes)
    return Sci(
        _sum(operational, embodied),
        operational,
        embodied,
        _sum(operational, _each(of.embodied_low_g, of.outcomes)),
        _sum(operational, _each(of.embodied_high_g, of.outcomes)),
        reasons,
    )


def _each(grams: float | None, outcomes: float) -> float | None:
    return None if grams is None or outcomes <= 0 else grams / outcomes


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second
