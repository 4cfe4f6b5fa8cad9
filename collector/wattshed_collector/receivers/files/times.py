"""Times as tools write them, to Unix milliseconds.

ISO 8601 with or without a zone, with ``-`` or ``/``; a number of seconds, milliseconds,
microseconds or nanoseconds since 1970, told apart by its size; or a format that the operator gives.
A time without a zone is local: of an hour that a clock shows twice the second one is meant where
time would otherwise go back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from wattshed_collector.errors import InvalidInput

EPOCHS = {"s": 0, "ms": 1, "us": 1000, "ns": 1_000_000}
"""How many of a unit are a millisecond; 0: a second is more than one."""
NUMBER = re.compile(r"\d+(?:\.\d*)?")
SIZES = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (float("inf"), "ns"))
"""Below which a number is of the unit: 1e11 s is the year 5138, 1e11 ms is 1973."""
LATEST_MS = 4_000_000_000_000


class Clock:
    """Reads the times of one file."""

    def __init__(self, zone: tzinfo | None = None, form: str = "", unit: str = "") -> None:
        """``zone`` None is the machine's own; ``form`` is strptime's, ``unit`` one of EPOCHS."""
        self._zone, self._form, self._unit = zone, form, unit
        self._last: dict[str, int] = {}

    def read(self, text: str, thing: str = "") -> int:
        """Return Unix milliseconds; raises InvalidInput, reason ``bad_time``.

        ``thing`` is whose times are in order: those of several devices may stand one after another.
        """
        text = text.strip()
        try:
            ms = self._epoch(text) if NUMBER.fullmatch(text) and not self._form else None
            ms = self._calendar(text, thing) if ms is None else ms
        except (ValueError, OverflowError, OSError):
            raise InvalidInput(f"{text[:40]!r} is no time", "bad_time") from None
        if not 0 < ms < LATEST_MS:
            raise InvalidInput(f"{text[:40]!r} is no time of a reading", "bad_time")
        return ms

    def _epoch(self, text: str) -> int:
        whole, _, part = text.partition(".")
        unit = self._unit or next(unit for most, unit in SIZES if int(whole) < most)
        # In integers: nanoseconds of today have more digits than a float.
        if unit == "s":
            return int(whole) * 1000 + int(f"{part}000"[:3])
        return int(whole) // EPOCHS[unit]

    def _calendar(self, text: str, thing: str) -> int:
        if self._form:
            said = datetime.strptime(text, self._form)
        else:
            said = datetime.fromisoformat(text.replace("/", "-"))
        if said.tzinfo is not None:
            return _ms(said)
        ms, last = _ms(said.replace(tzinfo=self._zone)), self._last.get(thing, 0)
        if ms < last:
            again = _ms(said.replace(tzinfo=self._zone, fold=1))
            ms = again if again >= last else ms
        self._last[thing] = ms
        return ms


def _ms(said: datetime) -> int:
    return round(said.timestamp() * 1000)


def zone(name: str | None) -> tzinfo | None:
    """Return a zone by its name, None for none; raises InvalidInput."""
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError, LookupError):
        raise InvalidInput(f"{name!r} is no time zone such as Europe/Berlin", "timezone") from None


def beats(start_ms: int | None, interval_ms: int | None) -> Iterator[int]:
    """Yield the instants of a log without times; raises InvalidInput where they are not told."""
    if start_ms is None or interval_ms is None:
        raise InvalidInput(
            "the file has no times: say when it begins with --start and how long after one "
            "another its readings are with --interval",
            "no_times",
        )
    at = start_ms
    while True:
        yield at
        at += interval_ms
