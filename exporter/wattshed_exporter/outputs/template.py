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


class Template:
    """The points of one layout; ``fill`` writes them with other numbers.

    Args:
        spots: the points, in any order; those of one metric come out together, in that order.
        width: how many numbers there are to pick from.
    """

    def __init__(self, spots: Sequence[Spot], width: int) -> None:
        self._width = width
        self._constants: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._cuts: list[tuple[str, int, int]] = []
        layout, picks, at = ["<"], list[int](), 0
        for metric, found in _by_metric(spots).items():
            begin = at
            for spot in found:
                at += self._lay(spot, layout, picks)
            self._cuts.append((metric, begin, at))
        self._pack = struct.Struct("".join(layout)).pack
        self._pick: Callable[[Sequence[object]], tuple[object, ...]] = itemgetter(*picks)

    def fill(self, numbers: Numbers) -> dict[str, memoryview]:
        """Return the points of each metric; raises ``struct.error`` as ``wire.point`` does."""
        packed = memoryview(self._pack(*self._pick([*numbers, *self._constants])))
        return {metric: packed[begin:end] for metric, begin, end in self._cuts}

    def _lay(self, spot: Spot, layout: list[str], picks: list[int]) -> int:
        """Append one point to the layout; return its length."""
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
        return struct.calcsize("<" + layout[-1])

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
