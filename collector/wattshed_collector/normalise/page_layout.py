"""The series of a page of our own exporter, and which of its numbers are the times of the others.

What a page means is asked of the dialect once, with a page whose values are the numbers of its
lines, counted from 1: a point with the value 17 that was read at 4 s has its value in line 17 and
its time in line 4, on every page with the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import Attributes, Point
from .dialect import MOST_ROWS, Origin, Scrape, Series
from .foreign import NAMED, Foreign, Thing
from .precedence import claim_of
from .prometheus import ACTIVITY_STARTED_AT, LATEST_S, OURS, READ_AT, STARTED_AT
from .slots import Odd, Slot, Slots

TIMES = frozenset((READ_AT, STARTED_AT, ACTIVITY_STARTED_AT))
UNSAID, SCRAPED = -1, -2
"""In place of the line of a time: there is none, it is that of the scrape."""


@dataclass(slots=True)
class OwnPage:
    """Points by the line of their number among the numbers of a page, and what else there is.

    ``reads`` and ``starts`` are the lines of the times of each point.
    ``claims`` are what is measured (``precedence.claim_of``), each with the line of its time.
    """

    slots: list[Slot] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    claims: set[tuple[str, int]] = field(default_factory=set)


def own_page(
    series: Sequence[Series], origin: Origin, foreign: Foreign, slots: Slots
) -> OwnPage | None:
    """Return the page, or None where others speak on it.

    Raises Odd where it says a thing twice, or something that arrays cannot hold.
    """
    page = OwnPage()
    things: dict[Thing, dict[Series, int]] = {}
    for line, one in enumerate(series):
        place = foreign.place(one, origin)
        if place.counts:
            return None
        if place.thing is None:
            continue
        if place.thing[0] != OURS.name:
            return None
        if things.setdefault(place.thing, {}).setdefault(one, line) != line:
            raise Odd("a series is said twice")
    shared: dict[frozenset[tuple[str, object]], Attributes] = {}
    for rows in things.values():
        _add(page, rows, origin, slots, shared)
    return page if page.slots else None


def _add(
    page: OwnPage,
    rows: dict[Series, int],
    origin: Origin,
    slots: Slots,
    shared: dict[frozenset[tuple[str, object]], Attributes],
) -> None:
    """Add what is said of one device; equal attributes become the same ones."""
    if len(rows) > MOST_ROWS:
        raise Odd("more rows than are taken")
    times = [one.name for one in rows if one.name in TIMES]
    if len(times) != len(set(times)):
        raise Odd("a time is said twice")
    scrape = Scrape("", "", 0, origin.interval_ms)
    for one, line in rows.items():
        scrape.add(one, float(line + 1))
    for point in OURS.points(scrape):
        told = shared.setdefault(frozenset(point.attributes.items()), point.attributes)
        page.slots.append(slots.of(point.metric, point.unit, told))
        page.lines.append(int(point.value) - 1)
        read = point.ts_ms // 1000 - 1 if point.ts_ms else SCRAPED
        page.reads.append(read)
        page.starts.append(point.start_ms // 1000 - 1 if point.start_ms else UNSAID)
        page.claims.add((_claim(point), read))


def _claim(point: Point) -> str:
    source, node, key = (str(point.attributes.get(name, "")) for name in NAMED)
    return claim_of(source, node, key)


def is_time(seconds: float) -> bool:
    """Return whether a number is a Unix time, as ``prometheus`` has it."""
    return 0 <= seconds < LATEST_S
