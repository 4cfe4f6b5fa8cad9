"""The gpu_metrics table, packed here after the kernel's structs."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.amdgpu import (
    ENERGY_ID,
    POWER_ID,
    U16,
    U32,
    U64,
    listed,
    table,
)

from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.gpu_metrics import NOTHING, Metrics, parse

RANGE_UJ = 65_712_999_628


@pytest.mark.parametrize("content", range(10))
def test_table_of_each_revision(content: int) -> None:
    units = 3_000_000_000
    if content < 4:
        assert parse(table(content, 87, units)) == Metrics(87.0, 45_900_000_000, RANGE_UJ)
    else:
        assert parse(table(content, 87, units)) == Metrics(87.0, 45_776_367_187)


@pytest.mark.parametrize("content", range(10))
def test_what_a_table_does_not_fill_is_none(content: int) -> None:
    assert parse(table(content)) == NOTHING
    assert parse(table(content, 5)) == Metrics(5.0)


@pytest.mark.parametrize("content", range(10))
def test_table_cut_short_is_malformed(content: int) -> None:
    whole = table(content, 5, 6)
    for length in range(len(whole)):
        with pytest.raises(SourceError) as caught:
            parse(whole[:length])
        assert caught.value.reason == "malformed"
    claims_less = struct.pack("=H", 12) + whole[2:]
    with pytest.raises(SourceError):
        parse(claims_less)


def test_attributes_that_are_not_wanted_are_passed_over() -> None:
    gpu_clocks, temperature = (33, U16, [2100] * 8), (0, U16, [42])
    power, energy = (POWER_ID, U16, [194]), (ENERGY_ID, U64, [65536])
    said = listed(temperature, gpu_clocks, power, (60, U32, [1]), (61, 0, []), energy)
    assert parse(said) == Metrics(194.0, 1_000_000)
    assert parse(listed((POWER_ID, 3, [-1]), (ENERGY_ID, 7, [-5]))) == NOTHING
    with pytest.raises(SourceError):
        parse(listed(power, count=2))
    with pytest.raises(SourceError, match="unknown type"):
        parse(struct.pack("=HBBiQ", 16, 1, 9, 1, 0xF << 20))


@pytest.mark.parametrize(("form", "content"), [(2, 3), (3, 0), (1, 10), (0, 0)])
def test_tables_without_a_counter(form: int, content: int) -> None:
    assert parse(struct.pack("=HBB", 120, form, content) + bytes(116)) == NOTHING


@pytest.mark.parametrize("blob", [b"", b"\x04\x00\x01", b"\xff" * 64, bytes(3)])
def test_garbage_is_no_table(blob: bytes) -> None:
    with pytest.raises(SourceError):
        parse(blob)


@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(
            lambda content, form, body: struct.pack("=HBB", 4 + len(body), form, content) + body,
            st.integers(0, 12),
            st.integers(0, 3),
            st.binary(max_size=200),
        ),
        st.builds(
            lambda count, body: struct.pack("=HBBi", 8 + len(body), 1, 9, count) + body,
            st.integers(-(2**31), 2**31 - 1),
            st.binary(max_size=200),
        ),
    )
)
def test_any_table_is_read_or_malformed(blob: bytes) -> None:
    try:
        found = parse(blob)
    except SourceError:
        return
    for said in (found.power_watts, found.energy_uj):
        assert said is None or (math.isfinite(said) and said >= 0)
