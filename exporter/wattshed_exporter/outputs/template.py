"""Data points of a fixed layout as one ``struct``: only times and values change from read to read.

All numbers of a data point are eight bytes wide, so as long as devices, labels and what is None
stay the same, so do all lengths. The bytes between the numbers are made once and shared.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from .wire import POINT, POINT_FROM, POINT_START, POINT_TIME, POINT_VALUE, head, point

Numbers = Sequence[Any]
"""What a layout picks from: times in nanoseconds (int), values (int or float), None if unknown."""
Pack = Callable[..., bytes]
Pick = Callable[[Numbers], tuple[Any, ...]]
TIME, VALUE = bytes((POINT_TIME,)), bytes((POINT_VALUE,))


@dataclass(frozen=True, slots=True)
class Spot:
    """One data point: its metric's OTLP name, its attributes, and where its numbers stand."""

    metric: str
    attributes: bytes
    time: int
    value: int
    start: int | None = None


def write(spots: Iterable[Spot], numbers: Numbers) -> dict[str, bytes]:
    """Return the points of each metric, written one by one; what a ``Template`` does at once."""
    points: dict[str, list[bytes]] = {}
    for spot in spots:
        start_ns = None if spot.start is None else numbers[spot.start]
        made = point(spot.attributes, numbers[spot.time], numbers[spot.value], start_ns)
        points.setdefault(spot.metric, []).append(made)
    return {metric: b"".join(made) for metric, made in points.items()}


class Part:
    """Points of one metric whose length is known before they are made, so that one part at a time
    is in memory.
    """

    __slots__ = ("_pack", "_pick", "_pool", "_size")

    def __init__(self, pack: Pack, pick: Pick, size: int, pool: Numbers) -> None:
        self._pack, self._pick, self._size, self._pool = pack, pick, size, pool

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        """Make the points; raises ``struct.error`` as ``wire.point`` does."""
        return self._pack(*self._pick(self._pool))


class Template:
    """The points of one layout; ``fill`` writes them with other numbers.

    Args:
        spots: the points, in any order; those of one metric come out together, in that order.
        width: how many numbers there are to pick from.
    """

    def __init__(self, spots: Iterable[Spot], width: int) -> None:
        self._width = width
        self._constants: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._metrics = []
        for metric, found in _by_metric(spots).items():
            layout, picks = ["<"], list[int]()
            for spot in found:
                self._lay(spot, layout, picks)
            made = struct.Struct("".join(layout))
            self._metrics.append((metric, made.pack, itemgetter(*picks), made.size))

    def fill(self, numbers: Numbers) -> dict[str, Part]:
        """Return the points of each metric."""
        pool = [*numbers, *self._constants]
        return {name: Part(pack, pick, size, pool) for name, pack, pick, size in self._metrics}

    def _lay(self, spot: Spot, layout: list[str], picks: list[int]) -> None:
        """Append one point to the layout."""
        front = (POINT if spot.start is None else POINT_FROM).size
        before = head(1, front + len(spot.attributes))
        if spot.start is not None:
            before += bytes((POINT_START,))
            layout.append(f"{len(before)}sQ1sQ1sd{len(spot.attributes)}s")
            picks += (self._constant(before), spot.start, self._constant(TIME), spot.time)
        else:
            before += TIME
            layout.append(f"{len(before)}sQ1sd{len(spot.attributes)}s")
            picks += (self._constant(before), spot.time)
        picks += (self._constant(VALUE), spot.value, self._constant(spot.attributes))

    def _constant(self, content: bytes) -> int:
        """Return where a constant stands among what is picked from."""
        place = self._places.get(content)
        if place is None:
            place = self._places[content] = self._width + len(self._constants)
            self._constants.append(content)
        return place


def _by_metric(spots: Iterable[Spot]) -> Mapping[str, Sequence[Spot]]:
    found: dict[str, list[Spot]] = {}
    for spot in spots:
        found.setdefault(spot.metric, []).append(spot)
    return found
