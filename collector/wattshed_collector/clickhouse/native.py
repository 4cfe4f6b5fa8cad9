"""Blocks of FORMAT Native that the engine does not write: the hello, and one without rows.

clickhouse-go says hello with one query and reads the answer as of the protocol it asked for; all
that follows it reads as of the revision that the answer names. With revision 0 that is what the
engine writes (lib/proto/block.go: no block info below 1, no byte per column below 54454).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

CUSTOM_SERIALIZATION = 54454
"""Revision from which on each column says whether it is written in a way of its own."""
NAME = "wattshed"
TIMEZONE = "UTC"
HELLO = ("displayName()", "version()", "revision()", "timezone()")
HELLO_SQL = "SELECT displayName(), version(), revision(), timezone()"


def is_hello(sql: str) -> bool:
    """Return whether a statement is the question with which clickhouse-go begins."""
    return " ".join(sql.split()).rstrip("; ").lower() == HELLO_SQL.lower()


def hello(version: str, protocol: int) -> bytes:
    """Return the answer to the hello as a client reads it that asked with ``protocol``."""
    values = text(NAME), text(version), struct.pack("<I", 0), text(TIMEZONE)
    types = "String", "String", "UInt32", "String"
    columns = zip(HELLO, types, values, strict=True)
    return block([(name, kind, data) for name, kind, data in columns], 1, protocol)


def empty(columns: Iterable[tuple[str, str]]) -> bytes:
    """Return a block with the names and types of ``columns`` and no rows, at revision 0."""
    return block([(name, kind, b"") for name, kind in columns], 0, 0)


def block(columns: Sequence[tuple[str, str, bytes]], rows: int, revision: int) -> bytes:
    """Return one block; a column is its name, type and values as they are written."""
    out = bytearray()
    if revision > 0:  # block info: field 1 is_overflows, field 2 bucket_num, and the end
        out += varint(1) + b"\0" + varint(2) + struct.pack("<i", -1) + varint(0)
    out += varint(len(columns)) + varint(rows)
    for name, kind, data in columns:
        out += text(name) + text(kind)
        if revision >= CUSTOM_SERIALIZATION:
            out += b"\0"
        out += data
    return bytes(out)


def text(said: str) -> bytes:
    encoded = said.encode()
    return varint(len(encoded)) + encoded


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
