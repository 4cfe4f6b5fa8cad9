"""Rows of one table to FORMAT Native: the only place that knows the bytes.

Per block: number of columns and of rows, then per column its name, its type and its values; a
Nullable column has a byte per row before them, and a LowCardinality one a dictionary and indexes.
Source: https://clickhouse.com/docs/interfaces/specs/NativeFormat, revision 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattshed_collector.errors import Permanent

from . import texts
from .frames import cast
from .insert import Column, Frame, Insert
from .schema import KINDS, TABLES, Kind

Array = NDArray[Any]

ADDITIONAL_KEYS = 1 << 9
"""Of a dictionary: its keys come with the block (SerializationLowCardinality.cpp)."""
INDEXES: tuple[np.dtype[Any], ...] = tuple(map(np.dtype, ("<u1", "<u2", "<u4", "<u8")))


def encode(frame: Frame) -> Insert:
    """Return the rows as one block.

    Raises Permanent where a column is unknown, or a value does not go into its type without loss.
    """
    types = TABLES[frame.table]
    if unknown := set(frame.columns) - set(types):
        raise Permanent(f"{frame.table} has no column {', '.join(sorted(unknown))}")
    body = bytearray(texts.varint(len(frame.columns)) + texts.varint(len(frame)))
    for name, column in frame.columns.items():
        body += texts.encoded(name) + texts.encoded(types[name])
        body += _bytes(f"{frame.table}.{name}", KINDS[types[name]], column)
    return Insert(frame.table, tuple(frame.columns), len(frame), bytes(body))


def _bytes(name: str, kind: Kind, column: Column) -> bytes:
    if column.present is not None and not kind.nullable:
        raise Permanent(f"{name} is never NULL")
    if kind.dtype is None:
        return _texts(name, kind, column)
    values = column.values
    if kind.parts:
        told = zip(kind.parts, values.dtype.names or (), strict=True)
        return b"".join(_bytes(name, part, Column(values[field])) for part, field in told)
    if column.present is not None:
        values = np.where(column.present, values, values.dtype.type(0))
    absent = _absent(column) if kind.nullable else b""
    return absent + cast(name, values, kind.dtype).tobytes()


def _absent(column: Column) -> bytes:
    if column.present is None:
        return bytes(len(column.values))
    return (~column.present).astype(np.uint8).tobytes()


def _texts(name: str, kind: Kind, column: Column) -> bytes:
    try:
        if column.texts is not None and kind.dictionary and column.present is None:
            return _used(kind, column.texts, column.values)
        said = column.said()
        if column.present is not None:
            is_said = column.present.tolist()
            said = [text if known else "" for text, known in zip(said, is_said, strict=True)]
        if kind.dictionary:
            return _dictionary(kind, said, column.present)
        return (_absent(column) if kind.nullable else b"") + b"".join(map(texts.encoded, said))
    except (AttributeError, UnicodeEncodeError) as error:
        raise Permanent(f"{name}: {error}") from error


def _dictionary(kind: Kind, said: Sequence[str], present: Array | None) -> bytes:
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(text, len(places)) for text in said], np.int64)
    return _coded(kind, list(map(texts.encoded, places)), codes, present)


def _used(kind: Kind, known: Sequence[bytes], said: Array) -> bytes:
    """Return a dictionary of those of the texts that are said; ``said`` are places in them."""
    if not len(said):
        return _coded(kind, [], said, None)
    is_used = np.zeros(int(said.max()) + 1, np.bool_)
    is_used[said] = True
    codes = (np.cumsum(is_used) - 1)[said]
    return _coded(kind, [known[at] for at in np.flatnonzero(is_used).tolist()], codes, None)


def _coded(kind: Kind, keys: list[bytes], codes: Array, present: Array | None) -> bytes:
    if kind.nullable:  # the first key stands for NULL
        keys.insert(0, texts.encoded(""))
        codes = codes + 1
        if present is not None:
            codes[~present] = 0
    width = next(n for n, dtype in enumerate(INDEXES) if len(keys) <= 256**dtype.itemsize)
    return b"".join(
        (
            struct.pack("<QQQ", 1, width | ADDITIONAL_KEYS, len(keys)),
            *keys,
            struct.pack("<Q", len(codes)),
            codes.astype(INDEXES[width]).tobytes(),
        )
    )
