"""Records in files: whatever happens to the bytes, only what was put comes out again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.segments import (
    HEADER,
    MAGIC,
    Found,
    Segment,
    frame,
    mark_sent,
    next_sound,
    parse,
    read_one,
    records,
    segments,
    survey,
)

BODIES = st.lists(st.binary(max_size=60) | st.just(MAGIC * 3), min_size=1, max_size=12)


def file_of(bodies: list[bytes]) -> tuple[bytes, list[int]]:
    """Return the bytes of a file and where each record ends."""
    data, ends = b"", []
    for at, body in enumerate(bodies):
        data += frame(body, at, 1000 + at)
        ends.append(len(data))
    return data, ends


def sound(data: bytes) -> list[Found]:
    return [found for found in records(data) if isinstance(found, Found)]


@given(BODIES)
def test_what_was_put_comes_out_in_order(bodies: list[bytes]) -> None:
    data, ends = file_of(bodies)
    found = list(records(data))
    assert [f.body for f in found if isinstance(f, Found)] == bodies
    assert [(f.ticks, f.newest_ms, f.sent) for f in found if isinstance(f, Found)] == [
        (at, 1000 + at, False) for at in range(len(bodies))
    ]
    assert [f.offset + f.size for f in found if isinstance(f, Found)] == ends


@given(BODIES, st.data())
def test_a_cut_costs_only_what_was_cut(bodies: list[bytes], data: st.DataObject) -> None:
    whole, ends = file_of(bodies)
    at = data.draw(st.integers(0, len(whole)))
    kept = [body for body, end in zip(bodies, ends, strict=True) if end <= at]
    found = list(records(whole[:at]))
    assert [f.body for f in found if isinstance(f, Found)] == kept
    torn = [f for f in found if isinstance(f, int)]
    assert torn == ([] if at in (0, *ends) else [ends[len(kept) - 1] if kept else 0])


@given(BODIES, st.data())
def test_damage_costs_only_what_it_hit(bodies: list[bytes], data: st.DataObject) -> None:
    whole, ends = file_of(bodies)
    begin = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(begin + 1, len(whole)))
    noise = data.draw(st.binary(min_size=end - begin, max_size=end - begin))
    found = list(records(whole[:begin] + noise + whole[end:]))
    starts = [0, *ends[:-1]]
    untouched = [
        (start, body)
        for body, start, stop in zip(bodies, starts, ends, strict=True)
        if stop <= begin or start >= end
    ]
    came = [(f.offset, f.body) for f in found if isinstance(f, Found)]
    assert set(untouched) <= set(came)
    assert set(came) <= set(zip(starts, bodies, strict=True))
    if len(came) < len(bodies):
        assert any(isinstance(f, int) for f in found)


@given(BODIES, st.binary(min_size=1, max_size=80))
def test_bytes_in_between_do_not_hide_what_follows(bodies: list[bytes], noise: bytes) -> None:
    half = len(bodies) // 2
    first, _ = file_of(bodies[:half])
    second, _ = file_of(bodies[half:])
    came = sound(first + noise + second)
    assert [f.body for f in came] == bodies
    assert next_sound(first + noise + second, len(first)) == len(first) + len(noise)


def test_the_mark_is_all_that_changes(tmp_path: Path) -> None:
    data, ends = file_of([b"a", b"bb"])
    path = tmp_path / "1.spool"
    path.write_bytes(data)
    mark_sent(path, ends[0])
    first, second = sound(path.read_bytes())
    assert (first.sent, second.sent, second.body) == (False, True, b"bb")
    assert len(path.read_bytes()) == len(data)


def test_one_record_is_read_by_its_offset(tmp_path: Path) -> None:
    data, ends = file_of([b"a", b"bb"])
    path = tmp_path / "1.spool"
    path.write_bytes(data)
    found = read_one(path, ends[0])
    assert found is not None
    assert (found.offset, found.body) == (ends[0], b"bb")
    for at in (1, ends[0] + 1, ends[1], ends[1] + 100):
        assert read_one(path, at) is None
    path.write_bytes(data[:-1])
    assert read_one(path, ends[0]) is None


@pytest.mark.parametrize("cut", [0, 1, HEADER.size - 1, HEADER.size])
def test_half_a_record_is_none(cut: int) -> None:
    assert parse(frame(b"body", 1, 2)[:cut], 0) is None


def test_a_survey_counts_what_waits(tmp_path: Path) -> None:
    data, ends = file_of([b"a", b"bb", b"ccc", b"dddd"])
    damaged = bytearray(data)
    damaged[ends[1] + HEADER.size] ^= 1
    path = tmp_path / "7.spool"
    path.write_bytes(bytes(damaged) + b"torn")
    mark_sent(path, 0)
    segment = Segment(7, path)
    assert survey(segment) == (2, len(data))
    assert (segment.bodies, segment.ticks, segment.cursor) == (2, 1 + 3, ends[0])
    assert (segment.oldest_ms, segment.size) == (1001, len(data) + 4)


def test_only_segments_are_looked_at(tmp_path: Path) -> None:
    for name in ("000000000010.spool", "000000000009.spool", "x.spool", "3.spool.bak", "note"):
        (tmp_path / name).write_bytes(b"")
    assert [s.number for s in segments(tmp_path)] == [9, 10]
