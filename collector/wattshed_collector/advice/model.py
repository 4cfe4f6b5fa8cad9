"""Advice: what to do, for whom, what it would save a month, how sure that is, how it is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MONTH_S = 30 * 86400
"""A month, for everything that is said by the month."""
LEAST_JOULES_PER_MONTH = 3.6e6
"""A kilowatt hour: less is not worth a word."""


class Kind(StrEnum):
    """What is advised."""

    RELEASE_IDLE = "release_idle"
    UNLOAD_MODEL = "unload_model"
    SMALLER_DEVICE = "smaller_device"
    BATCH = "batch"
    POWER_CAP = "power_cap"
    PRECISION = "precision"
    CACHE = "cache"
    PLACEMENT = "placement"
    OTHER_HOUR = "other_hour"
    OTHER_ZONE = "other_zone"


class Effort(StrEnum):
    """What it takes."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class State(StrEnum):
    """Where it stands. What was found and is not found again expires by itself."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"
    DONE = "done"


class Measure(StrEnum):
    """What is measured again after it is done, and per what: an hour, or an outcome."""

    IDLE_ABOVE_BARE = "idle_above_bare"
    """Joules above bare idle of the workload's held and unused devices, per hour."""
    JOULES_PER_OUTCOME = "joules_per_outcome"
    """Loaded joules of the workloads, per outcome."""
    GRAMS_HELD = "grams_held"
    """Grams that jobs of the workload saved which a policy held, against running at once."""
    GRAMS_ELSEWHERE = "grams_elsewhere"
    """Grams of what the workload draws at other sites, against the same joules at its old one."""


RAN_AT_ONCE = (
    "each job could have run when it first asked, for as long and with the same joules; one that "
    "would have been stopped, or not been run at all, saved less"
)
ASSUMED: Mapping[Measure, str] = {
    Measure.IDLE_ABOVE_BARE: (
        "the workload would have gone on holding its devices idle as in the week before; one that "
        "would have ended anyway saved less"
    ),
    Measure.JOULES_PER_OUTCOME: "the same would have been made, in the way of before",
    Measure.GRAMS_HELD: RAN_AT_ONCE,
    Measure.GRAMS_ELSEWHERE: "the same work would have been done at the old site",
}
"""What a saving takes for granted, because nobody can measure what did not happen."""


@dataclass(frozen=True, slots=True)
class Known:
    """How a factor is known: its ``method``, who said it, and when the oldest part of it was said
    (Unix seconds; None: not known)."""

    method: str = ""
    source: str = ""
    said_s: int | None = None


UNKNOWN = Known()


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The counterfactual: without the change each unit would still have cost ``joules_per_unit``.

    ``workload`` is a workload's name (its runs have keys of their own); where the unit is an
    outcome it may be several, a line each, among which work may move. ``outcome`` is the kind that
    is counted. ``others`` are those of these outcomes that were made in other ways before.
    """

    measure: Measure
    joules_per_unit: float
    workload: str
    site: str = ""
    outcome: str = ""
    others: Others | None = None


@dataclass(frozen=True, slots=True)
class Others:
    """Outcomes that are to be left (``units_per_hour``) are among others that are not, of which
    ``other_units_per_hour`` took ``other_joules_per_unit`` each.

    So that work that went away is no saving, and neither is more of what was cheap before: of what
    is made, what the others made before costs what it cost them, and from there on as much as was
    to be left costs ``joules_per_unit``.
    """

    units_per_hour: float
    other_units_per_hour: float
    other_joules_per_unit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """``subject`` names whom it is about and, with ``kind``, which advice it is for ever.

    Joules are those of the facility where ``are_facility_joules``, else of the devices. Money and
    grams (location-based) are None where no price or intensity is known; ``price`` and ``carbon``
    say how those were. ``evidence`` is a statement over the public
    views that shows it; ``numbers`` are what the size was computed from. Where several teams have
    workloads of the name there is no ``team``, and ``teams`` has each one's part, which sum to 1.
    """

    kind: Kind
    subject: str
    title: str
    reason: str
    joules_per_month: float
    confidence: float
    effort: Effort
    evidence: str
    baseline: Baseline
    site: str = ""
    team: str = ""
    owner: str = ""
    teams: Mapping[str, float] = field(default_factory=dict)
    are_facility_joules: bool = False
    cost_per_month: float | None = None
    currency: str = ""
    price: Known = UNKNOWN
    g_per_month: float | None = None
    carbon: Known = UNKNOWN
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Eight bytes in hex that belong to kind and subject."""
        return hashlib.blake2b(f"{self.kind}\n{self.subject}".encode(), digest_size=8).hexdigest()
