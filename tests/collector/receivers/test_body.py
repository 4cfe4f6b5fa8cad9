"""Compressed bodies of several parts, however they are cut, within limits."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers import body

ENCODINGS = pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
Pack = Callable[[bytes], bytes]
LARGE = bytes(range(256)) * 150


@ENCODINGS
@settings(max_examples=20)
@given(st.lists(st.sampled_from([b"", b"x", LARGE]), min_size=1, max_size=8))
def test_parts_are_one_body(encoding: str, pack: Pack, parts: list[bytes]) -> None:
    whole, packed = b"".join(parts), b"".join(map(pack, parts))
    assert body.decode(packed, encoding, len(whole)) == whole
    with pytest.raises(InvalidInput):
        body.decode(packed[:-1], encoding, len(whole))
    if whole:
        with pytest.raises(body.TooLarge):
            body.decode(packed, encoding, len(whole) - 1)


@ENCODINGS
def test_many_empty_parts_are_no_bomb(encoding: str, pack: Pack) -> None:
    """What comes after a part is not copied again for each of them."""
    packed = pack(b"") * 20_000 + pack(b"x")
    assert body.decode(packed, encoding, 1) == b"x"
