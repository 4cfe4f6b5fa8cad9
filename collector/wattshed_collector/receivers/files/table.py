"""A table of readings, CSV or alike, by a mapping of its columns.

The delimiter is found in the first lines unless it is told. A row with a missing value lacks that
value alone; one with a text where a number should be lacks it too, and is counted. Missing is never
0.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import Attributes
from wattshed_collector.normalise.dialect import ENERGY

from .mapping import DEVICE, MISSING, QUANTITIES, TIMES, Meaning
from .reading import Line, Place, Reading, Tally, Value
from .times import Clock

SOURCE = "csv"
DELIMITERS = (",", ";", "\t", "|")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
NO_NUMBER = "not_a_number"
SNIFFED = 20
"""Lines by which the delimiter is found."""


class Quantity(NamedTuple):
    """A column of numbers: its place, metric and unit."""

    at: int
    metric: str
    unit: str


class Table:
    """Reads one table; raises InvalidInput where the mapping does not fit it."""

    def __init__(self, meaning: Meaning, place: Place, tally: Tally) -> None:
        if problems := meaning.problems():
            raise InvalidInput("; ".join(problems), "mapping")
        self._meaning, self._place, self._tally = meaning, place, tally
        self._clock = Clock(meaning.zone, meaning.time_format, TIMES[meaning.time])
        self._missing = MISSING | {text.lower() for text in meaning.missing}
        self._known: dict[tuple[str, ...], Attributes] = {}
        self._texts: dict[str, int] = {}
        self._numbers: dict[str, list[Quantity]] = {}
        self._time = 0
        self._width = 0

    def read(self, lines: Iterable[Line]) -> Iterator[Reading]:
        """Yield the readings of each row, one for each device that it speaks of."""
        rest = iter(lines)
        head = list(itertools.islice(rest, SNIFFED))
        if not any(text.strip() for _, text in head):
            raise InvalidInput("the input is empty", "empty")
        delimiter = self._meaning.delimiter or sniffed([text for _, text in head])
        for number, cells in self._rows(itertools.chain(head, rest), delimiter):
            if not self._width:
                self._lay_out(cells)
                if self._meaning.header:
                    continue
            if len(cells) != self._width:
                self._tally.add("malformed", number)
                continue
            yield from self._row(number, cells)

    def _rows(self, lines: Iterable[Line], delimiter: str) -> Iterator[tuple[int, list[str]]]:
        at = 0

        def texts() -> Iterator[str]:
            nonlocal at
            for number, text in lines:
                at = at or number
                yield f"{text}\n"

        rows = csv.reader(texts(), delimiter=delimiter, skipinitialspace=True)
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error:
                self._tally.add("malformed", at)
                at = 0
                continue
            number, at = at, 0
            if cells and cells != [""]:
                yield number, cells

    def _lay_out(self, first: Sequence[str]) -> None:
        names = [cell.strip() for cell in first] if self._meaning.header else []
        self._width = len(first)

        def place(column: str) -> int:
            if column in names:
                return names.index(column)
            if column.isdecimal() and 1 <= int(column) <= self._width:
                return int(column) - 1
            has = ", ".join(names) or f"{self._width} columns without names"
            raise InvalidInput(
                f"the table has no column {column!r}; it has: {has[:500]}", "mapping"
            )

        self._time = place(self._meaning.map[self._meaning.time])
        self._texts = {name: place(column) for name, column in self._meaning.texts().items()}
        for device, columns in self._meaning.numbers().items():
            self._numbers[device] = [
                Quantity(place(column), *QUANTITIES[name]) for name, column in columns.items()
            ]

    def _row(self, number: int, cells: Sequence[str]) -> Iterator[Reading]:
        empty, bad = True, self._tally.counts[NO_NUMBER]
        for device, quantities in self._numbers.items():
            values = tuple(self._values(number, cells, quantities))
            if not values:
                continue
            empty = False
            try:
                attributes = self._device(device, cells)
                ts_ms = self._clock.read(cells[self._time], str(attributes["hw.id"]))
            except InvalidInput as error:
                if error.reason == "no_node" and "node" not in self._texts:
                    raise
                self._tally.add(error.reason, number)
                return
            yield Reading(number, attributes, ts_ms, values)
        if empty and self._tally.counts[NO_NUMBER] == bad:
            self._tally.add("no_value", number)

    def _values(
        self, number: int, cells: Sequence[str], quantities: Sequence[Quantity]
    ) -> Iterator[Value]:
        for at, metric, unit in quantities:
            text = cells[at].strip()
            if text.lower() in self._missing:
                continue
            text = text.replace(",", ".") if self._meaning.decimal == "," else text
            if NUMBER.fullmatch(text):
                yield metric, unit, float(text)
            else:
                self._tally.add(NO_NUMBER, number)

    def _device(self, device: str, cells: Sequence[str]) -> Attributes:
        said = (device, *(cells[at].strip() for at in self._texts.values()))
        known = self._known.get(said)
        if known is None:
            known = self._known[said] = self._attributes(device, said[1:])
        return known

    def _attributes(self, device: str, said: Sequence[str]) -> Attributes:
        texts: dict[str, str] = {
            name: text
            for name, text in zip(self._texts, said, strict=True)
            if text.lower() not in self._missing
        }
        texts = {**self._meaning.set, **texts}
        place = _placed(self._place, texts)
        key, name = texts.pop("key", ""), device or texts.pop(DEVICE, "")
        if not key and not name:
            raise InvalidInput("the row names no device", "no_device")
        counts = any(one.metric == ENERGY for one in self._numbers[device])
        usual = {"kind": "gpu", "method": "counter" if counts else "integral", "name": name}
        more = {**usual, **texts}
        kind, source = more.pop("kind"), more.pop("source", SOURCE)
        return place.meter(source, key or place.key(SOURCE, name), kind, **more)


def _placed(place: Place, texts: dict[str, str]) -> Place:
    """Return the place that a row names; its fields are taken out of ``texts``."""
    said = {name: texts.pop(name, "") for name in ("node", "cluster", "site", "tier")}
    return Place(
        said["node"] or place.node,
        said["cluster"] or place.cluster,
        said["site"] or place.site,
        said["tier"] or place.tier,
    )


def sniffed(head: Sequence[str]) -> str:
    """Return the delimiter that cuts the first lines into the most columns, the same in each."""
    lines = [text for text in head if text.strip()]

    def rating(mark: str) -> tuple[bool, bool, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=mark)]
        return widths[0] > 1, widths.count(widths[0]) * 2 > len(widths), widths[0]

    return max(DELIMITERS, key=rating)
