"""tegrastats of NVIDIA Jetson: one line an instant, with the power of each rail in mW.

``VDD_IN 2532/2698`` and ``VDD_IN 5299mW/5299mW`` are what the rail draws now and its mean since the
start; only the first is read. Which rail is inside which, and what each is called, is as of
``normalise.jetson``, so that a log and a scrape of the same board are the same meters. Newer
releases begin a line with its local time, month first; a line may also begin with a time that
whoever logged it put there. Without one, ``beats`` says when a line was written.
Sources: NVIDIA Jetson Linux Developer Guide, "tegrastats Utility"; the recorded lines of boards
from TX1 to AGX Orin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import Scrape, Series
from wattshed_collector.normalise.jetson import JETSON, RAILS

from .reading import Line, Place, Reading, Tally
from .times import Clock

OWN_TIME = re.compile(r"(\d\d-\d\d)-(\d{4}) (\d\d:\d\d:\d\d)\s+")
OTHER_TIME = re.compile(r"\[?(\d{4}[-/]\d\d[-/]\d\d[T ][0-9:.,]+(?:Z|[-+]\d\d:?\d\d)?)\]?:?\s+")
RAIL = re.compile(r"(?<!\S)([A-Za-z][A-Za-z0-9_]*) (\d{1,9})(?:mW)?/\d{1,9}(?:mW)?(?!\S)")


def read(
    lines: Iterable[Line], place: Place, clock: Clock, beats: Iterator[int], tally: Tally
) -> Iterator[Reading]:
    """Yield the rails of each line; raises InvalidInput where no time is known."""
    if not place.node:
        raise InvalidInput("say which machine was measured with --node", "no_node")
    for number, text in lines:
        if not text.strip():
            continue
        try:
            ts_ms, rest = _time(text, clock)
        except InvalidInput as error:
            tally.add(error.reason, number)
            continue
        ts_ms = next(beats) if ts_ms is None else ts_ms
        rails = {name: float(milliwatts) for name, milliwatts in RAIL.findall(rest)}
        if not rails:
            tally.add("no_rail", number)
            continue
        yield from _readings(number, ts_ms, rails, place)


def _time(text: str, clock: Clock) -> tuple[int | None, str]:
    if found := OWN_TIME.match(text):
        said = f"{found[2]}-{found[1]} {found[3]}"
    elif found := OTHER_TIME.match(text):
        said = found[1].replace(",", ".")
    else:
        return None, text
    return clock.read(said), text[found.end() :]


@cache
def _series(rail: str) -> Series:
    return Series(RAILS, {"machine_part": rail, "statistic": "power"})


def _readings(number: int, ts_ms: int, rails: dict[str, float], place: Place) -> Iterator[Reading]:
    scrape = Scrape(place.node, place.cluster, ts_ms, interval_ms=1)
    for rail, milliwatts in rails.items():
        scrape.add(_series(rail), milliwatts)
    for point in JETSON.points(scrape):
        attributes = {**point.attributes, **place.where()}
        yield Reading(number, attributes, ts_ms, ((point.metric, point.unit, point.value),))
