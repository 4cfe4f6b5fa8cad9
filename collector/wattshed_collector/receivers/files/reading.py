"""What every format yields, and how it becomes points: the pace of a file is found in its head."""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import Attributes, Point
from wattshed_collector.normalise.dialect import LIMIT, NAMES
from wattshed_exporter import semconv

HEAD = 2000
"""Readings by which the pace of a file is judged."""
SHORTEST_INTERVAL_MS = 1000
"""A logger that polls faster than that jitters by more than three of its own intervals."""
UNIQUE = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z-]+|.*/.*")
"""A device that is named alike nowhere else: a UUID, or a name with the machine in it."""

Line = tuple[int, str]
"""Number from 1, and text without its end."""
Value = tuple[str, str, float]
"""OpenTelemetry name, UCUM unit, number."""


class Reading(NamedTuple):
    """What one line says of one device at one instant (Unix milliseconds)."""

    line: int
    attributes: Attributes
    ts_ms: int
    values: tuple[Value, ...]


class Told(NamedTuple):
    """Points of one line, in the order of the file."""

    line: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The machine that a file speaks of, as far as the operator said."""

    node: str = ""
    cluster: str = ""
    site: str = ""
    tier: str = ""

    def meter(self, source: str, key: str, kind: str, **more: str) -> dict[str, str]:
        """Return a meter's attributes; names of ``more`` are fields of ``Device``."""
        said = {"key": key, "kind": kind, "source": source, **more}
        return {**self.where(), **{NAMES[name]: text for name, text in said.items() if text}}

    def where(self) -> dict[str, str]:
        """Return the attributes that say where the machine is."""
        said = {"node": self.node, "cluster": self.cluster, "site": self.site, "tier": self.tier}
        return {NAMES[name]: text for name, text in said.items() if text}

    def key(self, source: str, name: str) -> str:
        """Return a key that is unique in the fleet; raises InvalidInput where no machine is known.

        A UUID, or a name with a slash in it, is one already.
        """
        if UNIQUE.fullmatch(name):
            return name
        if not self.node:
            raise InvalidInput(
                f"{name!r} is the name of a device on some machine: say which with --node",
                "no_node",
            )
        return f"{self.node}/{source}/{name}"


class Tally:
    """Counts what was left out, by reason, with where each was first seen.

    ``file`` is the one that is read at present.
    """

    def __init__(self) -> None:
        self.file = ""
        self.counts: Counter[str] = Counter()
        self.first: dict[str, tuple[str, int]] = {}

    def add(self, reason: str, line: int | None, count: int = 1) -> None:
        """Count; ``line`` None: nobody knows which, or it is known already."""
        self.counts[reason] += count
        if line is not None:
            self.first.setdefault(reason, (self.file, line))

    def document(self) -> dict[str, dict[str, int | str | None]]:
        """Return count, file and line by reason; both None where nobody knows."""
        return {
            reason: dict(
                zip(
                    ("count", "file", "line"),
                    (count, *self.first.get(reason, (None, None))),
                    strict=True,
                )
            )
            for reason, count in sorted(self.counts.items())
        }


def paced(readings: Iterable[Reading], interval_ms: int | None = None) -> Iterator[Told]:
    """Yield the points of each reading, with the nominal interval of its device.

    Without ``interval_ms`` it is the median spacing of the device in the head of the file, at least
    a second. It decides how long a silence may be and still be integrated over.
    """
    rest = iter(readings)
    head = [] if interval_ms else list(itertools.islice(rest, HEAD))
    paces = spacings(head)
    usual = interval_ms or round(statistics.median(paces.values() or (SHORTEST_INTERVAL_MS,)))
    known: dict[str, tuple[Attributes, Attributes]] = {}
    limits: dict[str, float] = {}
    for reading in itertools.chain(head, rest):
        key = str(reading.attributes["hw.id"])
        told, full = known.get(key, (None, {}))
        if told is not reading.attributes and told != reading.attributes:
            full = {**reading.attributes, semconv.INTERVAL_ATTRIBUTE: paces.get(key, usual)}
            known[key] = reading.attributes, full
        yield Told(reading.line, tuple(_points(reading, key, full, limits)))


def _points(
    reading: Reading, key: str, full: Attributes, limits: dict[str, float]
) -> Iterator[Point]:
    for metric, unit, value in reading.values:
        # A limit stands on every line of a log and is said once.
        if metric != LIMIT or limits.get(key) != value:
            yield Point(metric, unit, value, reading.ts_ms, full)
        if metric == LIMIT:
            limits[key] = value


def spacings(readings: Sequence[Reading]) -> Mapping[str, int]:
    """Return the median spacing in milliseconds of each device that was read at three times."""
    times: defaultdict[str, set[int]] = defaultdict(set)
    for reading in readings:
        times[str(reading.attributes["hw.id"])].add(reading.ts_ms)
    return {
        key: max(SHORTEST_INTERVAL_MS, round(statistics.median(_gaps(sorted(stamps)))))
        for key, stamps in times.items()
        if len(stamps) >= 3
    }


def _gaps(stamps: Sequence[int]) -> list[int]:
    return [later - earlier for earlier, later in itertools.pairwise(stamps)]
