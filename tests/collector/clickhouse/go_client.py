"""What clickhouse-go does with an answer over HTTP, written down once more: a stand-in.

There is no Go driver here. This reads blocks as its lib/proto/block.go and lib/column do, for the
types that our views have, and says hello as its conn_http.go does (v2.48).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PROTOCOL = 54460
HELLO = "SELECT displayName(), version(), revision(), timezone()"
FIXED = {
    "UInt8": "B", "Int8": "b", "Bool": "?", "UInt16": "H", "Int16": "h", "UInt32": "I",
    "Int32": "i", "UInt64": "Q", "Int64": "q", "Float32": "f", "Float64": "d", "DateTime": "I",
    "Date": "H", "DateTime64": "q", "Enum8": "b",
}  # fmt: skip
KEYS = "BHIQ"


@dataclass(slots=True)
class Block:
    names: list[str]
    types: list[str]
    columns: list[list[Any]]
    rows: int


class Reader:
    """Takes bytes apart; reading beyond their end is EOFError, as io.EOF in Go."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_done(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise EOFError("unexpected EOF")
        self._at += size
        return self._data[self._at - size : self._at]

    def uvarint(self) -> int:
        number = shift = 0
        while True:
            (byte,) = self.take(1)
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def string(self) -> str:
        return self.take(self.uvarint()).decode()

    def fixed(self, letter: str, count: int) -> list[Any]:
        found = f"<{count}{letter}"
        return list(struct.unpack(found, self.take(struct.calcsize(found))))


def blocks(data: bytes, revision: int) -> Iterator[Block]:
    """Yield the blocks of an answer."""
    reader = Reader(data)
    while not reader.is_done:
        yield _block(reader, revision)


def _block(reader: Reader, revision: int) -> Block:
    if revision > 0:
        info = reader.uvarint(), reader.take(1), reader.uvarint(), reader.take(4), reader.uvarint()
        assert info == (1, b"\0", 2, b"\xff\xff\xff\xff", 0)
    columns, rows = reader.uvarint(), reader.uvarint()
    block = Block([], [], [], rows)
    for _ in range(columns):
        block.names.append(reader.string())
        block.types.append(reader.string())
        if revision >= 54454:
            assert reader.take(1) == b"\0", "custom serialization"
        kind = block.types[-1]
        if rows:
            _prefix(reader, kind)
        block.columns.append(_values(reader, kind, rows) if rows else [])
    return block


def _prefix(reader: Reader, kind: str) -> None:
    """Read the version of the keys of a LowCardinality, wherever in the type it stands."""
    name, inner = _split(kind)
    if name == "LowCardinality":
        assert reader.fixed("q", 1) == [1]
    elif name in ("Array", "Map", "Tuple", "SimpleAggregateFunction"):
        for one in inner[1:] if name == "SimpleAggregateFunction" else inner:
            _prefix(reader, one)


def _values(reader: Reader, kind: str, rows: int) -> list[Any]:
    name, inner = _split(kind)
    if name in FIXED:
        return reader.fixed(FIXED[name], rows)
    match name:
        case "String":
            return [reader.string() for _ in range(rows)]
        case "SimpleAggregateFunction":
            return _values(reader, inner[1], rows)
        case "Nullable":
            absent = reader.fixed("B", rows)
            values = _values(reader, inner[0], rows)
            return [None if no else v for no, v in zip(absent, values, strict=True)]
        case "Array":
            return _parts(reader, inner[0], rows)
        case "Map":
            pairs = _parts(reader, f"Tuple({inner[0]}, {inner[1]})", rows)
            return [dict(one) for one in pairs]
        case "Tuple":
            columns = [_values(reader, one.split(" ")[-1], rows) for one in inner]
            return list(zip(*columns, strict=True))
        case "LowCardinality":
            return _keyed(reader, inner[0])
        case _:
            raise AssertionError(f"unsupported column type {kind}")


def _parts(reader: Reader, kind: str, rows: int) -> list[list[Any]]:
    ends = reader.fixed("Q", rows)
    values = _values(reader, kind, ends[-1] if ends else 0)
    return [values[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _keyed(reader: Reader, kind: str) -> list[Any]:
    (meta,) = reader.fixed("q", 1)
    assert meta & 0x600 == 0x600, "additional keys, new dictionary"
    name, inner = _split(kind)
    (size,) = reader.fixed("q", 1)
    index = _values(reader, inner[0] if name == "Nullable" else kind, size)
    (rows,) = reader.fixed("q", 1)
    keys = reader.fixed(KEYS[meta & 3], rows)
    return [None if name == "Nullable" and key == 0 else index[key] for key in keys]


def _split(kind: str) -> tuple[str, list[str]]:
    """Return a type's name and what stands between its parentheses."""
    name, _, rest = kind.partition("(")
    inner: list[str] = []
    depth, begin = 0, 0
    for at, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if (letter == "," and not depth) or depth < 0:
            inner.append(rest[begin:at].strip())
            begin = at + 1
    return name, inner
