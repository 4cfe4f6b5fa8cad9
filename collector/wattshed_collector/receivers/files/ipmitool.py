"""ipmitool's power of a whole machine: ``dcmi power reading``, and rows of ``sdr`` or ``sensor``.

Of a DCMI block only the instantaneous power counts: the average covers a window that the controller
chooses, seconds or a month. 0 W, and a measurement that is not activated, say nothing. The time is
that of the controller, local and without a zone; a line with a time of its own before a block goes
before it, because clocks of controllers are often wrong. The meter is that of the exporter's
source ``ipmi``.

A table lists sensors of which some contain others, so only the machine's own is read: the one that
is named like a total, or the sensors that the operator names, which are added up (the supplies of a
machine) at instants at which each of them is there. Tables have no times: a line with a time before
them, a time in the first column, or ``beats``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import Attributes
from wattshed_collector.normalise.dialect import POWER

from .reading import Line, Place, Reading, Tally
from .times import Clock

SOURCE = "ipmi"
DCMI = "dcmi"
TOTAL = re.compile(
    r"(pwr?|power)[ _]?(consumption|meter|usage)|system level|node[ _]?power"
    r"|(sys(tem)?|total)[ _.]?(pwr|power)([ _]?\w+)?",
    re.IGNORECASE,
)
TIMES = ("%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p")
FIELD = re.compile(r"\s*(?P<name>[A-Za-z][A-Za-z ]*?)(?: is)?\s*:\s*(?P<said>.*?)\s*")
STAMP = re.compile(r"\d{9,19}(?:\.\d+)?|\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d.*")
WATTS = re.compile(r"(\d+(?:\.\d*)?)(?: *Watts)?")


class Log:
    """Reads one log; the machine is that of ``place``."""

    def __init__(
        self,
        place: Place,
        clock: Clock,
        beats: Iterator[int],
        tally: Tally,
        sensors: Sequence[str] = (),
        own_times: bool = True,
    ) -> None:
        """``own_times`` False: the controller's times are not believed, ``beats`` says them."""
        if not place.node:
            raise InvalidInput("say which machine was measured with --node", "no_node")
        self._clock, self._beats, self._tally = clock, beats, tally
        self._sensors, self._own_times = list(sensors), own_times
        self._place = place
        self._stamp: int | None = None
        self._block: dict[str, str] = {}
        self._begun = 0
        self._round: dict[str, float | None] = {}
        self._first = 0
        self._dcmi = self._meter(DCMI)

    def read(self, lines: Iterable[Line]) -> Iterator[Reading]:
        """Yield the machine's power; raises InvalidInput where no time is known."""
        for number, text in lines:
            if STAMP.fullmatch(text.strip()):
                yield from self._end()
                self._stamp = self._time(number, text)
            elif cells := _cells(text):
                yield from self._row(number, cells)
            elif found := FIELD.fullmatch(text):
                yield from self._field(number, found["name"].lower(), found["said"])
        yield from self._end()

    def _time(self, number: int, text: str) -> int | None:
        try:
            return self._clock.read(text)
        except InvalidInput as error:
            self._tally.add(error.reason, number)
            return None

    def _end(self) -> Iterator[Reading]:
        yield from self._end_block()
        yield from self._end_round()

    def _field(self, number: int, name: str, said: str) -> Iterator[Reading]:
        if name == "instantaneous power reading":
            yield from self._end_block()
            self._begun = number
        if self._begun:
            self._block[name] = said

    def _end_block(self) -> Iterator[Reading]:
        block, number = self._block, self._begun
        self._block, self._begun = {}, 0
        if not block:
            return
        try:
            at = self._instant(block.get("ipmi timestamp", ""))
        except InvalidInput as error:
            if error.reason == "no_times":
                raise
            self._tally.add(error.reason, number)
            return
        watts = _watts(block["instantaneous power reading"])
        if not watts or block.get("power reading state", "activated") != "activated":
            self._tally.add("no_value", number)
            return
        yield Reading(number, self._dcmi, at, ((POWER, "W", watts),))

    def _instant(self, said: str) -> int:
        """Return the time of what has just been read: the log's, the controller's, or the beat."""
        if self._stamp is not None:
            stamp, self._stamp = self._stamp, None
            return stamp
        if not (said and self._own_times):
            return next(self._beats)
        utc = said.endswith((" UTC", " GMT"))
        bare = re.sub(r" [A-Z]{3,4}$", "", said) if not said.endswith(("AM", "PM")) else said
        for form in TIMES:
            try:
                found = datetime.strptime(" ".join(bare.split()), form)
            except ValueError:
                continue
            return self._clock.read(found.isoformat() + ("Z" if utc else ""))
        raise InvalidInput(f"{said[:40]!r} is no time of a controller", "bad_time")

    def _row(self, number: int, cells: Sequence[str]) -> Iterator[Reading]:
        stamp: int | None = None
        if STAMP.fullmatch(cells[0]):
            stamp, cells = self._time(number, cells[0]), cells[1:]
            if stamp is None:
                return
        name, value, unit = [*cells, "", ""][:3]
        if not (unit == "Watts" or value.endswith("Watts")):
            self._tally.add("no_power", number)
            return
        if not self._chosen(name):
            self._tally.add("other_sensor", number)
            return
        if name in self._round or (stamp is not None and stamp != self._stamp):
            yield from self._end_round()
        self._stamp = self._stamp if stamp is None else stamp
        self._first = self._first if self._round else number
        self._round[name] = _watts(value)

    def _chosen(self, name: str) -> bool:
        if not self._sensors and TOTAL.fullmatch(name):
            self._sensors.append(name)
        return name in self._sensors

    def _end_round(self) -> Iterator[Reading]:
        values, number = self._round, self._first
        self._round = {}
        if not values:
            return
        at = self._instant("")
        parts = [values.get(name) for name in self._sensors]
        told = [watts for watts in parts if watts is not None]
        if len(told) < len(parts) or not sum(told):
            self._tally.add("no_value", number)
            return
        name = "+".join(self._sensors)
        yield Reading(number, self._meter(name), at, ((POWER, "W", sum(told)),))

    def _meter(self, name: str) -> Attributes:
        key = f"{self._place.node}/{SOURCE}/{name}"
        scope = DCMI if name == DCMI else "sensor"
        return self._place.meter(
            SOURCE, key, "host", name=name, scope=scope, method="integral", overlap="outer"
        )


def _cells(text: str) -> list[str]:
    """Return the cells of a row of a table: ``a | b | c`` or ``a,b,c``."""
    for mark in ("|", ","):
        if text.count(mark) >= 2:
            return [cell.strip() for cell in text.split(mark)]
    return []


def _watts(said: str) -> float | None:
    found = WATTS.fullmatch(said)
    return float(found[1]) if found else None
