"""Gzipped requests, and several of them as one without unpacking any.

Requests of OTLP concatenate, as messages of protobuf do, and so do streams of deflate whose last
block is empty and begins with a byte. A file of gzip may also have several members, but receivers
that read only the first would lose the rest and say nothing. Sources: RFC 1951 and 1952; the
checksum of a whole is made of those of its parts as in zlib's ``crc32_combine``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from itertools import takewhile

from wattshed_exporter.spool import Record

MOST_BYTES = 1_000_000
"""Of several requests as one: nginx refuses more than 1 MiB unless it is told otherwise."""
MOST_UNPACKED_BYTES = 1 << 24
"""An OpenTelemetry Collector takes 20 MiB unless it is told otherwise."""

HEAD = 10
"""Bytes before the stream: neither a name nor a comment is in ours."""
START = b"\x1f\x8b\x08\x00"
FLUSHED, LAST = b"\x00\x00\xff\xff", b"\x03\x00"
"""The end of an empty stored block, which ends with a byte, and the empty last block."""
TAIL = struct.Struct("<II")
"""CRC-32 and length, in bytes, of what was compressed."""
POLYNOMIAL = 0xEDB88320
ONE = 1 << 31
"""The polynomial 1; x is the bit below it, and so on."""


def gzipped(parts: Iterable[bytes]) -> bytes:
    """Compress at the cheapest level, so that ``joined`` can put another behind it."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    packed = [packer.compress(part) for part in parts]
    return b"".join((*packed, packer.flush(zlib.Z_SYNC_FLUSH), packer.flush()))


def fitting(records: Sequence[Record]) -> Sequence[Record]:
    """Return the first of some requests, with those that follow it and can be sent with it."""
    if not records or not _is_open(records[0].body):
        return records[:1]
    found, size, unpacked = 0, 0, 0
    for record in takewhile(lambda other: _is_open(other.body), records):
        size += len(record.body)
        unpacked += TAIL.unpack_from(record.body, len(record.body) - TAIL.size)[1]
        if found and (size > MOST_BYTES or unpacked > MOST_UNPACKED_BYTES):
            break
        found += 1
    return records[:found]


def joined(bodies: Sequence[bytes]) -> bytes:
    """Return requests that are ``fitting`` as one; a single one is what it is."""
    if len(bodies) == 1:
        return bodies[0]
    checksum, length, shifts = 0, 0, dict[int, int]()
    parts = [bodies[0][:HEAD]]
    for body in bodies:
        its, size = TAIL.unpack_from(body, len(body) - TAIL.size)
        if size not in shifts:  # requests of one layout have one length
            shifts[size] = _shift(size)
        checksum = _times(shifts[size], checksum) ^ its
        length += size
        parts.append(body[HEAD : -TAIL.size - len(LAST)])
    return b"".join((*parts, LAST, TAIL.pack(checksum, length & 0xFFFFFFFF)))


def _is_open(body: bytes) -> bool:
    """Return whether ``gzipped`` made a body, as what some other program kept is not."""
    return body.startswith(START) and body[: -TAIL.size].endswith(FLUSHED + LAST)


def _times(a: int, b: int) -> int:
    """Return the product of two polynomials modulo that of CRC-32."""
    product = 0
    while a:
        if a & ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ POLYNOMIAL if b & 1 else b >> 1
    return product


def _shift(size: int) -> int:
    """Return x to the power of the bits in ``size`` bytes: what as many zeros do to a checksum."""
    found, square = ONE, ONE >> 8
    while size:
        if size & 1:
            found = _times(square, found)
        square = _times(square, square)
        size >>= 1
    return found
