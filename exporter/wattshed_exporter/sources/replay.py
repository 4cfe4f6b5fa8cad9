"""A recorded log, sent again with its original time stamps.

Two formats are read: CSV with a header (``ts`` and ``power_watts`` or ``energy_joules``, and
optionally ``device``, ``kind``, ``model``, ``utilization_ratio``, ``memory_used_bytes``,
``temperature_celsius``, ``gap``; the column names of nvidia-smi are understood too) and JSON Lines
as the exporter's stdout output writes them. A bad row is skipped and counted by reason; a local
time without a zone stops the replay, because every row would land in the wrong hour.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any

from wattshed_exporter.errors import ConfigError, SourceError
from wattshed_exporter.model import MICRO, Device, Kind, Method, Reading

from . import Sample

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)

CHUNK = 2000
"""Readings per read at most."""
LATEST_MS = 4_102_444_800_000
"""Year 2100: a larger time is in another unit."""
COUNTER_MAX = 2**63 - 1
"""Largest number that the store can hold."""
SHORTEST_INTERVAL = 0.1
"""Seconds: a meter polled faster than it updates says the same again."""
DELTAS = 1000
"""How many steps per device are looked at to learn the interval."""

ALIASES: Mapping[str, tuple[str, float]] = {
    "timestamp": ("ts", 1.0),
    "uuid": ("device", 1.0),
    "name": ("model", 1.0),
    "power.draw [w]": ("power_watts", 1.0),
    "utilization.gpu [%]": ("utilization_ratio", 0.01),
    "memory.used [mib]": ("memory_used_bytes", 1048576.0),
    "temperature.gpu": ("temperature_celsius", 1.0),
}
"""Columns of nvidia-smi: our name and the factor to our unit."""

WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What a reason looks like; it becomes a label, so free text does not pass."""
Row = Mapping[str, Any]


class _Bad(Exception):
    """The row is of no use; the message is the reason, in one word."""


class _Local(Exception):
    """The time has no zone."""


def _number(
    row: Row, name: str, low: float = 0.0, high: float = COUNTER_MAX, factor: int = 1
) -> Decimal | None:
    """Return a column as an exact number; None where the meter did not say."""
    text = str(row.get(name, "")).strip()
    if text in ("", "None", "N/A", "[N/A]", "[Not Supported]"):
        return None
    try:
        value = Decimal(text) * factor
    except ArithmeticError:
        raise _Bad("unparsable") from None
    if not value.is_finite():
        raise _Bad("not_finite")
    if not low <= value <= high:
        raise _Bad("negative" if low == 0 and value < 0 else "out_of_range")
    return value


def _whole(row: Row, name: str, factor: int = 1) -> int | None:
    value = _number(row, name, factor=factor)
    return None if value is None else round(value)


def _float(row: Row, name: str, low: float = 0.0, high: float = COUNTER_MAX) -> float | None:
    value = _number(row, name, low, high)
    return None if value is None else float(value)


def _time_ms(row: Row) -> int:
    """Return the time of a row: ``ts_ms``, or ``ts`` as Unix seconds or ISO 8601 with a zone."""
    try:
        ms = _whole(row, "ts", factor=1000)
        ms = _whole(row, "ts_ms") if ms is None else ms
    except _Bad:
        ms = _iso_ms(str(row.get("ts", "")).strip())
    if ms is None or not 0 <= ms <= LATEST_MS:
        raise _Bad("bad_time")
    return ms


def _iso_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        raise _Local(text)
    return round(moment.timestamp() * 1000)


def _reading(row: Row, device: str) -> Reading:
    """Turn a row into a reading of ``device``, or of the device that it names."""
    energy = _whole(row, "energy_uj")
    if energy is None:
        energy = _whole(row, "energy_joules", factor=MICRO)
    power, gap = _float(row, "power_watts"), str(row.get("gap") or "")
    if gap and power is not None:
        gap, energy = "", None  # a reason beside power is why the energy was taken back
    reading = Reading(
        device=str(row.get("device") or device),
        ts_ms=_time_ms(row),
        power_watts=power,
        energy_uj=energy,
        start_ms=_whole(row, "start_ms"),
        utilization_ratio=_float(row, "utilization_ratio", high=1.0),
        memory_used_bytes=_whole(row, "memory_used_bytes"),
        temperature_celsius=_float(row, "temperature_celsius", low=-273.15),
        gap=gap if not gap or WORD.fullmatch(gap) else "recorded",
    )
    if reading.power_watts is None and reading.energy_uj is None and not reading.gap:
        raise _Bad("no_value")
    return reading


def _kind(row: Row) -> Kind:
    """Return the kind; a plain power log without one is taken for a wall meter."""
    try:
        return Kind(str(row.get("kind") or Kind.HOST).strip().lower())
    except ValueError:
        raise _Bad("bad_kind") from None


def _json_rows(lines: Iterator[str]) -> Iterator[tuple[int, Row | None]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            row = None
        yield number, row if isinstance(row, dict) else None


def _csv_rows(lines: Iterator[str], file: Path) -> Iterator[tuple[int, Row | None]]:
    """Yield the line number and the row, or None for a row with another number of cells."""
    table = csv.reader(lines, skipinitialspace=True)
    try:
        columns = _columns(next(table, []), file)
        for cells in table:
            if len(cells) == len(columns):
                pairs = zip(columns, cells, strict=True)
                yield table.line_num, {name: _scaled(cell, by) for (name, by), cell in pairs}
            elif cells:
                yield table.line_num, None
    except csv.Error as error:
        raise SourceError(f"{file}, line {table.line_num}: {error}", "format") from None


def _columns(header: Sequence[str], file: Path) -> list[tuple[str, float]]:
    """Return our name and the factor of each column, or say what is missing."""
    names = [cell.strip().lower() for cell in header]
    columns = [ALIASES.get(name, (name, 1.0)) for name in names]
    known = {name for name, _ in columns}
    needs = []
    if "ts" not in known:
        needs.append("a column ts")
    if not known & {"power_watts", "energy_joules"}:
        needs.append("a column power_watts or energy_joules")
    if needs:
        have = repr(", ".join(names)[:200]) if names else "nothing"
        raise SourceError(f"{file}, line 1: needs {' and '.join(needs)}; has {have}", "format")
    return columns


def _scaled(cell: str, factor: float) -> Any:
    try:
        return cell if factor == 1.0 else float(cell) * factor
    except ValueError:
        return cell


def _open(file: Path) -> IO[str]:
    try:
        return file.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise SourceError(f"{file}: cannot be read: {reason}", "file") from None


def _records(file: Path, skipped: Counter[str]) -> Iterator[tuple[Reading, Row]]:
    """Yield each good row of the file; the bad ones are counted in ``skipped``."""
    with _open(file) as handle:
        first = handle.readline()
        lines = chain([first], handle)
        as_json = first.lstrip().startswith("{")
        for number, row in _json_rows(lines) if as_json else _csv_rows(lines, file):
            try:
                if row is None:
                    raise _Bad("malformed")
                _kind(row)
                yield _reading(row, file.stem), row
            except _Bad as bad:
                skipped[str(bad)] += 1
            except _Local as local:
                raise SourceError(
                    f"{file}, line {number}: {str(local)!r} is a local time without a zone; "
                    f"add its offset from UTC, such as '{local}+02:00'",
                    "local_time",
                ) from None


@dataclass(slots=True)
class _Seen:
    """What the first pass learns of one device."""

    kind: Kind
    model: str
    method: str
    energy: bool = False
    last_ms: int | None = None
    late: int = 0
    deltas: list[int] = field(default_factory=list)

    def add(self, reading: Reading) -> None:
        self.energy = self.energy or reading.energy_uj is not None
        if self.last_ms is not None and reading.ts_ms <= self.last_ms:
            self.late += 1
            return
        if self.last_ms is not None and len(self.deltas) < DELTAS:
            self.deltas.append(reading.ts_ms - self.last_ms)
        if not reading.gap:  # a gap may be told before a reading that was late
            self.last_ms = reading.ts_ms


def _method(seen: _Seen) -> Method:
    """Keep a recorded pedigree that is weaker than a meter's; otherwise go by what there is."""
    if seen.method in (Method.ESTIMATED, Method.SIMULATED):
        return Method(seen.method)
    return Method.COUNTER if seen.energy else Method.INTEGRAL


@dataclass(frozen=True, slots=True)
class Place:
    """Where the recording is said to come from."""

    node: str = "replay"
    site: str = ""
    tier: str = ""
    cluster: str = ""


class ReplaySource:
    """Reads the file twice: once to know the devices and their interval, once to send it.

    ``speed`` is how many recorded seconds pass in one of ``clock``; 0 does not wait at all.
    ``skipped`` counts the bad rows by reason.
    """

    name = "replay"

    def __init__(
        self,
        file: Path | None,
        speed: float = 0.0,
        place: Place | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval_seconds = 1.0
        self.skipped: Counter[str] = Counter()
        self._file = file
        self._speed = speed
        self._place = place or Place()
        self._clock = clock
        self._rows: Iterator[Reading] | None = None
        self._ahead: Reading | None = None
        self._origin: tuple[float, int] | None = None
        self._sent = 0
        self._finished = False

    def peek(self) -> None:
        """Read up to the first good row; ``SourceError`` where there is none."""
        skipped = Counter[str]()
        if next(_records(self._path(), skipped), None) is None:
            raise _useless(self._path(), skipped)

    def discover(self) -> Sequence[Device]:
        file, skipped = self._path(), Counter[str]()
        devices: dict[str, _Seen] = {}
        for reading, row in _records(file, skipped):
            seen = devices.get(reading.device)
            if seen is None:
                model, method = str(row.get("model") or ""), str(row.get("method") or "")
                seen = devices[reading.device] = _Seen(_kind(row), model, method)
            seen.add(reading)
        if not devices:
            raise _useless(file, skipped)
        if late := sum(seen.late for seen in devices.values()):
            log.warning("%s: %d rows repeat or precede the one before; not used", file, late)
        steps = [median(seen.deltas) / 1000 for seen in devices.values() if seen.deltas]
        self.interval_seconds = max(SHORTEST_INTERVAL, *steps) if steps else 1.0
        return [self._device(key, seen) for key, seen in devices.items()]

    def read(self) -> Sample:
        if self._finished:
            return Sample(finished=True)
        if self._rows is None:
            self._rows = (reading for reading, _ in _records(self._path(), self.skipped))
            self._ahead = next(self._rows, None)
        batch = list(islice(self._due(self._rows), CHUNK))
        self._sent += len(batch)
        if self._ahead is None:
            self._finish()
        return Sample(
            batch, more=len(batch) == CHUNK and not self._finished, finished=self._finished
        )

    def close(self) -> None:
        self._rows = None
        self._finished = True

    def _due(self, rows: Iterator[Reading]) -> Iterator[Reading]:
        """Yield the readings whose time has come; the one after them waits in ``_ahead``."""
        until = self._until_ms()
        while self._ahead is not None and self._ahead.ts_ms <= until:
            reading, self._ahead = self._ahead, next(rows, None)
            yield reading

    def _until_ms(self) -> float:
        if self._speed <= 0 or self._ahead is None:
            return math.inf
        if self._origin is None:
            self._origin = (self._clock(), self._ahead.ts_ms)
        began, first_ms = self._origin
        return first_ms + (self._clock() - began) * self._speed * 1000

    def _finish(self) -> None:
        self._finished = True
        if self.skipped:
            log.warning(
                "%s: skipped %d of %d rows: %s",
                self._file,
                self.skipped.total(),
                self.skipped.total() + self._sent,
                _counts(self.skipped),
            )

    def _path(self) -> Path:
        if self._file is None:
            raise SourceError("replay.file is not set: name the recording to replay", "config")
        return self._file

    def _device(self, key: str, seen: _Seen) -> Device:
        place = self._place
        return Device(
            key=key,
            kind=seen.kind,
            node=place.node,
            source=self.name,
            name=key,
            model=seen.model,
            site=place.site,
            tier=place.tier,
            cluster=place.cluster,
            method=_method(seen),
        )


def _useless(file: Path, skipped: Counter[str]) -> SourceError:
    return SourceError(f"{file}: no usable row ({_counts(skipped)})", "format")


def _counts(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "empty"


def create(config: Config) -> ReplaySource:
    """Build the replay of the configuration.

    Raises:
        ConfigError: the file cannot be read, or holds no good row.
    """
    place = Place(config.node, config.site, config.tier, config.cluster)
    source = ReplaySource(config.replay.file, config.replay.speed, place)
    try:
        source.peek()
    except SourceError as error:
        raise ConfigError([f"replay.file: {error}"]) from error
    return source
