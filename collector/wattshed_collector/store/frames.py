"""Rows as arrays: from lists, and several frames of one table as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.errors import Permanent

from .insert import Column, Frame
from .schema import KINDS, TABLES, Kind
from .texts import encoded


def frame(table: str, columns: Mapping[str, Sequence[Any]]) -> Frame:
    """Return lists as arrays; None is NULL. Raises Permanent where a value is not of the type."""
    types = TABLES[table]
    return Frame(
        table, {name: _column(name, KINDS[types[name]], said) for name, said in columns.items()}
    )


def joined(frames: Sequence[Frame]) -> Frame:
    """Return the rows of some frames of one table, in their order, as one frame.

    A Nullable column that only some of them have is NULL in the others. Raises Permanent where a
    column is unknown, or lacking and never NULL.
    """
    if len(frames) == 1:
        return frames[0]
    table = frames[0].table
    types = TABLES[table]
    given = {name for member in frames for name in member.columns}
    if unknown := given - set(types):
        raise Permanent(f"{table} has no column {', '.join(sorted(unknown))}")
    return Frame(
        table,
        {
            name: _joined(f"{table}.{name}", KINDS[types[name]], name, frames)
            for name in types
            if name in given
        },
    )


def cast(name: str, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers as another type. Raises Permanent where it does not hold one of them."""
    if np.can_cast(values.dtype, dtype, "safe"):
        return values.astype(dtype, copy=False)
    with np.errstate(invalid="ignore", over="ignore"):
        cast = values.astype(dtype)
        # A value out of range wraps around, and may even compare equal again as a float.
        fits = (cast == values) & ((cast < 0) == (values < 0))
    if not fits.all():
        raise Permanent(f"{name}: {values[~fits][0]} is no {dtype.name}")
    return cast


def _column(name: str, kind: Kind, said: Sequence[Any]) -> Column:
    missing = None in said
    present = np.fromiter((v is not None for v in said), bool, len(said)) if missing else None
    if missing and not kind.nullable:
        raise Permanent(f"{name}: a value is missing")
    if kind.dtype is None:
        return Column(np.array([v or "" for v in said] if missing else said, object), present)
    try:
        filled = [0 if v is None else v for v in said] if missing else said
        return Column(np.array(filled, kind.dtype), present)
    except (OverflowError, ValueError, TypeError) as error:
        raise Permanent(f"{name}: {error}") from error


def _joined(place: str, kind: Kind, name: str, frames: Sequence[Frame]) -> Column:
    given = [member.columns.get(name) for member in frames]
    parts = [
        _part(place, kind, column, len(member)) if column is None else column
        for column, member in zip(given, frames, strict=True)
    ]
    present = None
    if any(part.present is not None for part in parts):
        present = np.concatenate(
            [
                np.ones(len(part.values), bool) if part.present is None else part.present
                for part in parts
            ]
        )
    if any(part.texts is not None for part in parts):
        return _coded(parts, present)
    values = [part.values for part in parts]
    if kind.dtype is not None and len({array.dtype for array in values}) > 1:
        # Integers among floats would become floats, which do not hold all of them.
        values = [cast(place, array, kind.dtype) for array in values]
    return Column(np.concatenate(values), present)


def _coded(parts: Sequence[Column], present: NDArray[np.bool_] | None) -> Column:
    """Return parts some of which say places in texts as one that does."""
    (texts, *others) = {id(part.texts): part.texts for part in parts}.values()
    if texts is not None and not others:
        return Column(np.concatenate([part.values for part in parts]), present, texts)
    known: dict[bytes, int] = {}
    places = [_places(part, known) for part in parts]
    return Column(np.concatenate(places), present, list(known))


def _places(part: Column, known: dict[bytes, int]) -> NDArray[np.int64]:
    """Return where the texts of a part stand in ``known``, which takes in new ones."""
    if part.texts is None:
        told = map(encoded, part.values.tolist())
        return np.array([known.setdefault(text, len(known)) for text in told], np.int64)
    used, back = np.unique(part.values, return_inverse=True)
    said = [known.setdefault(part.texts[at], len(known)) for at in used.tolist()]
    return np.array(said, np.int64)[back]


def _part(place: str, kind: Kind, column: None, rows: int) -> Column:
    if not kind.nullable:
        raise Permanent(f"{place} is lacking in some of the rows")
    empty = np.full(rows, "", object) if kind.dtype is None else np.zeros(rows, kind.dtype)
    return Column(empty, np.zeros(rows, bool))
