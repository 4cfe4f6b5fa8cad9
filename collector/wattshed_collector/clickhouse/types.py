"""Types that may be written in a query: those of values, none that carries a state or code."""

from __future__ import annotations

import re

from .errors import ACCESS_DENIED, Problem

_WORDS = """
int8 int16 int32 int64 int128 int256 uint8 uint16 uint32 uint64 uint128 uint256 float32 float64
bfloat16 decimal decimal32 decimal64 decimal128 decimal256 bool boolean string fixedstring uuid
date date32 datetime datetime32 datetime64 time time64 ipv4 ipv6 enum enum8 enum16 array tuple
map nullable lowcardinality nothing intervalnanosecond intervalmicrosecond intervalmillisecond
intervalsecond intervalminute intervalhour intervalday intervalweek intervalmonth intervalquarter
intervalyear int integer bigint smallint tinyint unsigned signed float double precision real
numeric dec varchar char text timestamp
"""
TYPES = frozenset(_WORDS.split())
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'")
WORD = re.compile(r"[A-Za-z_]\w*")
SHAPE = re.compile(r"[A-Za-z0-9_ ,()=\-]*")
LONGEST = 1000


def check(said: str) -> None:
    """Raise Problem where ``said`` is no type of values; names of a tuple's elements are none."""
    bare = QUOTED.sub("", said)
    words = WORD.findall(bare)
    if len(said) > LONGEST or not words or not SHAPE.fullmatch(bare):
        raise Problem(ACCESS_DENIED, f"the type {said[:80]!r} is not taken here")
    for word in words:
        if word.lower() not in TYPES:
            raise Problem(ACCESS_DENIED, f"the type {word[:80]} is not taken here")
