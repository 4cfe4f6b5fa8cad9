"""What an operator tells of a device or of a model, read from a document or a table.

What is told later of the same device changes what it names and leaves the rest; null takes a fact
back. An empty cell of a table says nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wattshed_collector.errors import InvalidInput
from wattshed_collector.instant import unix_seconds
from wattshed_collector.spreadsheet import plain

WHEN = ("commissioned", "warranty_end")
NUMBERS = (
    *("purchase_price", "embodied_kg", "embodied_low_kg", "embodied_high_kg"),
    "lifetime_years",
)
TEXTS = ("currency", "embodied_source")
WHO = ("device", "model")
FIELDS = (*WHEN, *NUMBERS, *TEXTS)
LONGEST_YEARS = 100.0
MOST = 1e12
"""Of money and kilograms, as in questions."""

Value = float | int | str | None


@dataclass(frozen=True, slots=True)
class Told:
    """Facts by name, of the ``device`` of that key or of every device of ``model``.

    Dates are Unix seconds, masses kilograms, lifetimes years; None takes a fact back.
    """

    device: str
    model: str
    facts: Mapping[str, Value]


def from_documents(documents: Iterable[Any]) -> list[Told]:
    """Read objects with the names of ``WHO`` and ``FIELDS``. Raises InvalidInput with all wrong."""
    found, problems = [], []
    for at, document in enumerate(documents, 1):
        try:
            found.append(_read(document))
        except InvalidInput as error:
            problems.append(f"entry {at}: {error}")
    if problems:
        raise InvalidInput("; ".join(problems[:20]), "malformed")
    return found


def from_csv(text: str) -> list[dict[str, Any]]:
    """Read a table with a header into documents. Raises InvalidInput where a column is unknown."""
    try:
        return list(_rows(csv.DictReader(io.StringIO(text, newline=""))))
    except csv.Error as error:
        raise InvalidInput(f"the table cannot be read: {error}", "malformed") from None


def _rows(rows: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    unknown = sorted({*(rows.fieldnames or ())} - {*WHO, *FIELDS})
    if unknown or not rows.fieldnames:
        said = f"{', '.join(unknown)} is not known" if unknown else "the table is empty"
        raise InvalidInput(f"{said}: the columns are {', '.join((*WHO, *FIELDS))}", "malformed")
    for row in rows:
        if None in row or None in row.values():
            raise InvalidInput(f"line {rows.line_num}: has not as many cells as the header", "line")
        told = ((name, plain(cell.strip())) for name, cell in row.items())
        cells = {name: cell for name, cell in told if cell}
        yield {name: _number(name, cell) for name, cell in cells.items()}


def from_cell(name: str, cell: str) -> Any:
    """Read one value as a cell of such a table. Raises InvalidInput where it must be a number."""
    return _number(name, cell.strip())


def merged(before: Mapping[str, Value], told: Told) -> dict[str, Value]:
    """Return all facts after ``told``. Raises InvalidInput where they do not fit together."""
    facts = {name: before.get(name) for name in FIELDS} | dict(told.facts)
    kg, low, high = (facts[name] for name in ("embodied_kg", "embodied_low_kg", "embodied_high_kg"))
    who = told.device or told.model
    if kg is None and (low is not None or high is not None):
        raise InvalidInput(f"{who}: bounds of embodied_kg are of no use without it", "embodied")
    if kg is not None and not (low if low is not None else kg) <= kg <= (  # type: ignore[operator]
        high if high is not None else kg
    ):
        raise InvalidInput(f"{who}: embodied_kg lies outside of its bounds", "embodied")
    if facts["purchase_price"] is not None and not facts["currency"]:
        raise InvalidInput(f"{who}: purchase_price needs a currency", "currency")
    return facts


def _read(document: Any) -> Told:
    if not isinstance(document, Mapping):
        raise InvalidInput("write an object", "malformed")
    if unknown := sorted({*document} - {*WHO, *FIELDS}):
        raise InvalidInput(f"{', '.join(unknown)} is not known", "malformed")
    device, model = (_text(name, document.get(name, "")) for name in WHO)
    if bool(device) is bool(model):
        raise InvalidInput("name either device (its key) or model", "malformed")
    facts = {name: _fact(name, document[name]) for name in FIELDS if name in document}
    if not facts:
        raise InvalidInput("says nothing", "malformed")
    return Told(device, model, facts)


def _fact(name: str, said: Any) -> Value:
    if said is None:
        return "" if name in TEXTS else None
    if name in TEXTS:
        return _text(name, said)
    return _instant(name, said) if name in WHEN else _quantity(name, said)


def _text(name: str, said: Any) -> str:
    if not isinstance(said, str) or len(said) > 1000:
        raise InvalidInput(f"{name} must be a text of at most 1000 characters", "malformed")
    return said.strip()


def _quantity(name: str, said: Any) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) <= MOST:
        raise InvalidInput(f"{name} must be a number of at most {MOST:g}", "malformed")
    if said < 0 or (name == "lifetime_years" and not 0 < said <= LONGEST_YEARS):
        raise InvalidInput(f"{name} cannot be {said:g}", "malformed")
    return float(said)


def _instant(name: str, said: Any) -> int:
    try:
        return int(unix_seconds(said))
    except ValueError as error:
        raise InvalidInput(f"{name}: {error}", name) from None


def _number(name: str, cell: str) -> Any:
    if name not in NUMBERS:
        return cell
    try:
        return float(cell)
    except ValueError:
        raise InvalidInput(f"{name}: {cell!r} is not a number", name) from None
