"""The SCI score of what a fleet produced, each part with its factor, age, scope and method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .lifecycle.sci import (
    NO_DEVICES,
    NO_EMBODIED,
    NO_INTENSITY,
    NO_PUE,
    Footprint,
    sci,
)
from .store import ledger_state
from .store import sci as kept
from .store.client import Client
from .store.sci import BY

__all__ = ["BY", "MOST", "answer"]

HOUR_S = 3600
MOST = 1000
STANDARD = "ISO/IEC 21031:2024"
BOUNDARY = (
    "O: all joules charged to the workloads while they produced, held idle ones included, with the "
    "site's PUE, times the average, location-based intensity of each hour. M: devices that compute "
    "(GPUs, modules, boards) and others whose figure was told, by device time charged to the "
    "workloads. Offsets and contracts for green power count for nothing."
)
SEVERAL = "several"
SLACK = 1e-9


def answer(
    client: Client, outcome: str, by: str, since: int, until: int, now: int
) -> dict[str, Any]:
    """Return the document of ``GET /v1/sci`` for the full, charged hours of the window."""
    settled = int(ledger_state.read(client)["settled"] or 0)
    first = -(-since // HOUR_S) * HOUR_S
    last = max(first, min(until, settled) // HOUR_S * HOUR_S)
    rows = kept.parts(client, outcome, by, first, last, MOST) if last > first else []
    return {
        "standard": STANDARD,
        "boundary": BOUNDARY,
        "outcome": outcome,
        "by": by,
        "window": {"start": first, "end": last},
        "rows": [_row(client, row, first, last, now) for row in rows],
    }


def footprint(row: Mapping[str, Any]) -> Footprint:
    """Return the parts of a row of the store; a part of which any is missing is missing."""
    reasons = []
    if row["joules_without_pue"] > SLACK:
        reasons.append(NO_PUE)
    if row["joules_without_intensity"] > SLACK:
        reasons.append(_no_intensity(row))
    is_operational = not reasons and row["operational_g"] is not None
    missing = _no_embodied(row)
    if not is_operational and not reasons:
        reasons.append(NO_PUE)
    return Footprint(
        row["outcomes"] - row["unmeasured_outcomes"],
        row["operational_g"] if is_operational else None,
        None if missing else row["embodied_g"],
        None if missing else row["embodied_low_g"],
        None if missing else row["embodied_high_g"],
        (*reasons, *([missing] if missing else [])),
    )


def _no_intensity(row: Mapping[str, Any]) -> str:
    if SEVERAL in row["sites"]:
        return "a workload ran at several sites in one hour"
    return NO_INTENSITY


def _no_embodied(row: Mapping[str, Any]) -> str:
    if row["unknown_seconds"] > SLACK or row["embodied_g"] is None:
        why = ", ".join(row["embodied_reasons"])
        return f"{NO_EMBODIED}: {why}" if why else NO_DEVICES
    return ""


def _row(
    client: Client, row: Mapping[str, Any], since: int, until: int, now: int
) -> dict[str, Any]:
    of = footprint(row)
    score = sci(of)
    said = kept.said_at(client, row["zones"], since, until) if row["zones"] else None
    return {
        "name": row["name"],
        "outcomes": of.outcomes,
        "unmeasured_outcomes": row["unmeasured_outcomes"],
        "g_per_outcome": score.g_per_outcome,
        "low_g_per_outcome": score.low_g_per_outcome,
        "high_g_per_outcome": score.high_g_per_outcome,
        "operational": {
            "g_per_outcome": score.operational_g_per_outcome,
            "g": of.operational_g,
            "joules": row["joules"],
            "facility_joules": row["facility_joules"] if not row["joules_without_pue"] else None,
            "g_per_kwh": row["g_per_kwh"],
            "scope": "location-based, average",
            "methods": row["intensity_methods"],
            "sources": row["intensity_sources"],
            "estimated_ratio": row["estimated_ratio"],
            "age_seconds": None if said is None else max(0, now - said),
        },
        "embodied": {
            "g_per_outcome": score.embodied_g_per_outcome,
            "g": of.embodied_g,
            "device_seconds": row["device_seconds"],
            "unknown_device_seconds": row["unknown_seconds"],
            "methods": row["embodied_methods"],
            "sources": row["embodied_sources"],
        },
        "reasons": list(score.reasons),
    }
