"""``nvidia-smi --query-gpu=... --format=csv[,noheader][,nounits]`` and ``nvidia-smi dmon``.

A unit stands in the header, in each value, or nowhere; then it is the field's own. ``[N/A]`` and
all else in brackets is no value. Of several powers the plain one counts, else the mean, else the
instant one, as of ``normalise.nvidia_smi``. A GPU is its UUID; where a log has only an index,
``names`` may map it to one. Loggers that were started anew repeat the header. Times are local.
Source: ``nvidia-smi --help-query-gpu`` and recorded logs.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import Attributes
from wattshed_collector.normalise.dialect import LIMIT, MEMORY, POWER, TEMPERATURE, UTILISATION

from .reading import Line, Place, Reading, Tally, Value
from .times import Clock

SOURCE = "nvidia-smi"
TIME = "timestamp"
FIELDS: dict[str, tuple[tuple[str, ...], str]] = {
    POWER: (("power.draw", "power.draw.average", "power.draw.instant", "pwr"), "W"),
    UTILISATION: (("utilization.gpu", "sm"), "%"),
    MEMORY: (("memory.used", "fb"), "MiBy"),
    TEMPERATURE: (("temperature.gpu", "gtemp", "temp"), "Cel"),
    LIMIT: (("enforced.power.limit", "power.limit"), "W"),
}
"""Names of the columns in the order of belief, and the unit where none is said."""
UNITS = {"W": "W", "mW": "mW", "%": "%", "MiB": "MiBy", "GiB": "GiBy", "KiB": "KiBy", "C": "Cel"}
NAMES = ("uuid", "gpu_uuid", "serial", "pci.bus_id", "index", "gpu")
"""What names a GPU, the best first; only a UUID does so in the whole fleet."""
VALUE = re.compile(r"([-+]?\d+(?:\.\d*)?) *([A-Za-z%]*)")
HEADER = re.compile(r"(?P<name>[^\[]*?)\s*(?:\[(?P<unit>.*)\])?")
MISSING = re.compile(
    r"\[.*\]|-|N/?A|ERR!|Not Supported|Unknown Error|Requested functionality.*|", re.IGNORECASE
)
DMON_TIMES = ("date", "time")


@dataclass(frozen=True, slots=True)
class Gpus:
    """What the operator says of the GPUs: ``device`` of all rows, ``names`` by what names them."""

    device: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


AS_LOGGED = Gpus()


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns and the unit that the header gives each, "" for none."""

    names: tuple[str, ...]
    units: tuple[str, ...]


class Log:
    """Reads one log."""

    def __init__(
        self,
        place: Place,
        clock: Clock,
        beats: Iterator[int],
        tally: Tally,
        gpus: Gpus = AS_LOGGED,
        columns: Sequence[str] = (),
    ) -> None:
        """``columns`` are the fields that were asked for, for a log without a header."""
        self._place, self._clock, self._beats, self._tally = place, clock, beats, tally
        self._gpus = gpus
        self._columns = header(columns) if columns else None
        self._known: dict[tuple[str, ...], Attributes] = {}
        self._at, self._seen = 0, set[str]()

    def read(self, lines: Iterable[Line]) -> Iterator[Reading]:
        """Yield one reading a row; raises InvalidInput where it is no such log."""
        for number, text in lines:
            if not text.strip():
                continue
            cells = _cells(text)
            if is_header(cells):
                self._columns = header(cells)
            elif text.startswith("#"):
                continue
            elif self._columns is None:
                raise InvalidInput(
                    "the first line is no header of nvidia-smi; for a log made with noheader say "
                    "the fields in their order with --columns timestamp,uuid,power.draw,...",
                    "no_header",
                )
            elif len(cells) != len(self._columns.names):
                self._tally.add("malformed", number)
            else:
                yield from self._reading(number, cells, self._columns)

    def _reading(self, number: int, cells: Sequence[str], columns: Columns) -> Iterator[Reading]:
        row = dict(zip(columns.names, cells, strict=True))
        attributes = self._device(row)
        try:
            ts_ms = self._time(row, str(attributes["hw.id"]))
            values = tuple(self._values(cells, columns))
        except InvalidInput as error:
            if error.reason == "no_times":
                raise
            self._tally.add(error.reason, number)
            return
        if not values:
            self._tally.add("no_value", number)
            return
        yield Reading(number, attributes, ts_ms, values)

    def _time(self, row: Mapping[str, str], key: str) -> int:
        if TIME in row:
            return self._clock.read(row[TIME], key)
        if all(name in row for name in DMON_TIMES):
            date = row["date"]
            return self._clock.read(f"{date[:4]}-{date[4:6]}-{date[6:]} {row['time']}", key)
        # Without times each GPU is listed once at each instant.
        if not self._seen or key in self._seen:
            self._at, self._seen = next(self._beats), set()
        self._seen.add(key)
        return self._at

    def _device(self, row: Mapping[str, str]) -> Attributes:
        said = tuple(row.get(name, "") for name in (*NAMES, "name", "driver_version", "hostname"))
        known = self._known.get(said)
        if known is None:
            known = self._known[said] = self._attributes(row)
        return known

    def _attributes(self, row: Mapping[str, str]) -> Attributes:
        row = {name: said for name, said in row.items() if not MISSING.fullmatch(said)}
        place = self._place if self._place.node else replaced(self._place, row.get("hostname", ""))
        named = [row[name] for name in NAMES if name in row]
        name = self._gpus.device or next(
            (self._gpus.names[text] for text in named if text in self._gpus.names),
            named[0] if named else "",
        )
        if not name:
            raise InvalidInput(
                "no column names the GPU (uuid, serial, pci.bus_id or index): name it with "
                "--device",
                "no_device",
            )
        if not place.node:
            raise InvalidInput("say which machine the GPUs are in with --node", "no_node")
        index = row.get("index", row.get("gpu", ""))
        return place.meter(
            SOURCE,
            place.key(SOURCE, name),
            "gpu",
            name=f"gpu{index}" if index else "",
            vendor="NVIDIA",
            model=row.get("name", ""),
            serial=row.get("serial", ""),
            driver=row.get("driver_version", ""),
            firmware=row.get("vbios_version", ""),
            scope="gpu",
            method="integral",
        )

    def _values(self, cells: Sequence[str], columns: Columns) -> Iterator[Value]:
        for metric, (names, usual) in FIELDS.items():
            for name in names:
                if name not in columns.names:
                    continue
                at = columns.names.index(name)
                value = _value(cells[at], columns.units[at] or usual)
                if value is not None:
                    yield metric, *value
                    break


def header(cells: Sequence[str]) -> Columns:
    """Return the columns of ``power.draw [W]``, ``index``, ..."""
    found = [HEADER.fullmatch(cell.strip().lstrip("#")) for cell in cells]
    parts = [(match["name"].strip().lower(), match["unit"] or "") for match in found if match]
    return Columns(
        tuple(name for name, _ in parts), tuple(UNITS.get(unit, "") for _, unit in parts)
    )


def is_header(cells: Sequence[str]) -> bool:
    """Tell whether a row names columns that are read."""
    names = header(cells).names
    return any(name in names for fields, _ in FIELDS.values() for name in fields)


def replaced(place: Place, node: str) -> Place:
    return Place(node, place.cluster, place.site, place.tier)


def _cells(text: str) -> list[str]:
    """Return the cells of a CSV row, or of a row of dmon, which has blanks between them."""
    if "," in text:
        return [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True))]
    return text.replace("#", " ").split()


def _value(text: str, unit: str) -> tuple[str, float] | None:
    if MISSING.fullmatch(text):
        return None
    found = VALUE.fullmatch(text)
    if not found or found[2] not in ("", *UNITS):
        raise InvalidInput(f"{text[:40]!r} is no value", "not_a_number")
    return UNITS.get(found[2], unit), float(found[1])
