"""GPUs that several exporters describe: who holds them, alone, as slices or by turns.

One holder alone has the whole GPU. Holders of MIG slices have their slices' part of it, whatever
they draw. Where several name one GPU (time slicing, MPS, several jobs) each has an equal part,
never all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import Attributes
from .dialect import Hold, Scrape

PROFILE = re.compile(r"(?:[0-9]{1,3}c\.)?([0-9]{1,3})g\.")
FOUR_SLICES = ("A30", "RTX PRO")
"""Models whose boards have four compute slices; all others have seven."""


@dataclass(slots=True)
class Part:
    """A GPU or a slice of it: its part of the whole, its holders by key, and what worked of it."""

    ratio: float = 1.0
    holders: dict[str, Attributes] = field(default_factory=dict)
    active: float | None = None
    by_holder: dict[str, float] = field(default_factory=dict)
    """Utilisation of the whole GPU by holder, where the exporter tells them apart."""


def slices_ratio(profile: str, model: str) -> float:
    """Return the part of the board's compute slices that a MIG profile such as 1g.6gb has."""
    match = PROFILE.match(profile)
    total = 4 if any(name in model for name in FOUR_SLICES) else 7
    return min(1.0, (int(match[1]) if match else 1) / total)


def holds(
    device: str,
    method: str,
    before: tuple[Scrape, Mapping[str, Part]],
    now: tuple[Scrape, Mapping[str, Part]],
) -> Iterator[Hold]:
    """Yield who held a GPU between two scrapes: who was named then, active as is told now."""
    (then, parts), (later, current) = before, now
    alone = len(parts) == 1 and all(len(part.holders) == 1 for part in parts.values())
    for name, part in sorted(parts.items()):
        active = current.get(name, Part())
        for key, workload in sorted(part.holders.items()):
            yield Hold(
                device,
                workload,
                then.ts_ms,
                later.ts_ms,
                part.ratio / len(part.holders),
                method,
                None if alone else _activity(active, key, part),
                alone and part.ratio == 1.0,
            )


def _activity(now: Part, key: str, then: Part) -> float | None:
    if now.active is not None:
        return min(1.0, now.active * then.ratio) / len(then.holders)
    if len(set(now.by_holder.values())) > 1 and then.holders.keys() <= now.by_holder.keys():
        return min(1.0, now.by_holder[key])
    return None
