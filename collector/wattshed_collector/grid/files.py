"""Series of the grid from files, CSV or JSON, for who has no provider or a tariff of their own.

A row is ``start`` (RFC 3339 or Unix seconds), ``value``, and where they are known ``end``,
``zone``, ``kind``, ``unit``, ``is_estimated``. Without an ``end`` a value holds until the next one
of its kind and zone, but not for longer than values usually do there (``series.usual_length``), and
so does the last one: a hole is not filled with what was before it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattshed_collector.errors import InvalidInput
from wattshed_collector.instant import LATEST_S, unix_seconds

from .series import Step, tidy, usual_length

FIELDS = frozenset({"start", "end", "value", "zone", "kind", "unit", "is_estimated"})
KINDS = ("carbon", "carbon_marginal", "carbon_market", "price")
DEFAULT_LENGTH_S = 3600
PROBLEMS_TOLD = 20
_LAST = LATEST_S + 1
"""2106-01-01, in Unix seconds: no value is of later."""


@dataclass(frozen=True, slots=True)
class Series:
    """Steps of one kind (of ``KINDS``) and zone."""

    kind: str
    zone: str
    unit: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    zone: str
    unit: str
    start_s: int
    end_s: int | None
    value: float | None
    is_estimated: bool | None


def load(file: Path, kind: str = "carbon", zone: str = "") -> list[Series]:
    """Read a file; ``kind`` and ``zone`` are those of rows that do not say.

    Raises InvalidInput with every problem, each with its line or entry.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}", "malformed") from error
    said = _json(file, text) if file.suffix == ".json" else _csv(file, text)
    return parse(said, kind, zone, str(file))


def parse(
    said: Iterable[tuple[str, Mapping[str, Any]]], kind: str, zone: str, name: str
) -> list[Series]:
    """Return series of rows, each with where it stands. Raises InvalidInput."""
    rows: list[_Row] = []
    problems: list[str] = []
    for where, row in said:
        try:
            rows.append(_row(row, kind, zone))
        except (ValueError, TypeError, OverflowError) as error:
            problems.append(f"{where}: {error}")
    if problems:
        more = len(problems) - PROBLEMS_TOLD
        told = problems[:PROBLEMS_TOLD] + ([f"and {more} more"] if more > 0 else [])
        raise InvalidInput(f"{name}: {'; '.join(told)}", "malformed")
    keys = sorted({(row.kind, row.zone, row.unit) for row in rows})
    return [
        Series(*key, tuple(_steps([r for r in rows if (r.kind, r.zone, r.unit) == key])))
        for key in keys
    ]


def _csv(file: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        yield from _lines(file, reader)
    except csv.Error as error:
        raise InvalidInput(f"{file}: line {reader.line_num}: {error}", "malformed") from error


def _lines(file: Path, reader: csv.DictReader[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    missing = {"start", "value"} - set(reader.fieldnames or ())
    if missing:
        raise InvalidInput(
            f"{file}: the header lacks {', '.join(sorted(missing))}; known are "
            f"{', '.join(sorted(FIELDS))}",
            "malformed",
        )
    for row in reader:
        yield f"line {reader.line_num}", row


def _json(file: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file} is not JSON: {error}", "malformed") from error
    if not isinstance(said, list) or not all(isinstance(row, dict) for row in said):
        raise InvalidInput(f"{file}: must be a list of objects with start and value", "malformed")
    for number, row in enumerate(said, 1):
        yield f"entry {number}", row


def _row(said: Mapping[Any, Any], kind: str, zone: str) -> _Row:
    if unknown := {str(key) for key in said} - FIELDS:
        raise ValueError(f"{', '.join(sorted(unknown))} is not known")
    kind, zone = said.get("kind") or kind, said.get("zone") or zone
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    if not zone:
        raise ValueError("no zone is named")
    start, end = _instant(said.get("start")), said.get("end")
    end_s = None if end in (None, "") else _instant(end)
    if end_s is not None and end_s <= start:
        raise ValueError("ends before it begins")
    unit = _unit(said.get("unit"), kind)
    return _Row(
        kind,
        str(zone),
        unit,
        start,
        end_s,
        _value(said.get("value"), kind),
        _flag(said.get("is_estimated")),
    )


def _steps(rows: list[_Row]) -> list[Step]:
    rows = sorted(rows, key=lambda row: row.start_s)
    usual = usual_length([row.start_s for row in rows], DEFAULT_LENGTH_S)
    ends = [row.start_s for row in rows[1:]] + [_LAST]
    return tidy(
        Step(
            row.start_s,
            min(coming, row.start_s + usual) if row.end_s is None else row.end_s,
            row.value,
            row.is_estimated,
        )
        for row, coming in zip(rows, ends, strict=True)
    )


def _instant(said: Any) -> int:
    if isinstance(said, bool) or said in (None, ""):
        raise ValueError("start is missing")
    try:
        number = float(said)  # a cell of a table is a text, also of a number
    except (ValueError, TypeError):
        return int(unix_seconds(said))
    return int(unix_seconds(number))


def _unit(said: Any, kind: str) -> str:
    """Return the unit; values are multiplied by kilowatt hours, so that none other will do."""
    unit = str(said or ("" if kind == "price" else "g/kWh"))
    if kind == "price" and not (unit.endswith("/kWh") and unit.partition("/")[0].strip()):
        raise ValueError(f"unit {unit!r}: a price needs one such as EUR/kWh")
    if kind != "price" and unit != "g/kWh":
        raise ValueError(f"unit {unit!r} of {kind} is not g/kWh")
    return unit


def _value(said: Any, kind: str) -> float | None:
    if said in (None, ""):
        return None
    found = float(said)
    if not math.isfinite(found) or (found < 0 and kind != "price"):
        raise ValueError(f"value {said!r} is not a number that can be")
    return found


def _flag(said: Any) -> bool | None:
    if said in (None, ""):
        return None
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(said).lower() not in known:
        raise ValueError(f"is_estimated {said!r} is neither true nor false")
    return known[str(said).lower()]
