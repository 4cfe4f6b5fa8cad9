"""Whatever way a body is read, it ends in the same rows and the same rejections."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.fixtures.facts import facts
from tests.fixtures.otlp_bodies import (
    BASE_MS,
    DEVICES,
    METRICS,
    Both,
    Numbers,
    Series,
    as_collectors_write,
    body,
    frames,
    numbers,
    series,
)

from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers.otlp_decoding import Decoded, Way
from wattshed_collector.receivers.otlp_layout import Layout
from wattshed_collector.receivers.shelves import Layouts
from wattshed_collector.store.stacks import spread


def long_way(reader: Both, raw: bytes) -> dict[str, Any] | str:
    try:
        return facts(*reader.parser.decode(raw, ""))
    except InvalidInput as error:
        return error.reason


def short_way(reader: Both, raw: bytes) -> dict[str, Any] | str:
    try:
        return facts(*reader.decode(raw))
    except InvalidInput as error:
        return error.reason


def reordered(raw: bytes) -> bytes:
    return as_collectors_write(ExportMetricsServiceRequest.FromString(raw))


def ticks(said: Decoded) -> int:
    batch, rows = said
    return len(batch.ticks) + sum(len(part) for part in spread(rows) if part.table == "tick")


class TestEqual:
    @settings(max_examples=50, deadline=None)
    @given(st.data())
    def test_bodies_of_one_layout(self, data: st.DataObject) -> None:
        layout = data.draw(st.lists(series, min_size=1, max_size=12))
        forwarded = data.draw(st.booleans())
        fast, slow = Both(), Both()
        for number in range(4):
            said = data.draw(st.lists(numbers, min_size=len(layout), max_size=len(layout)))
            raw = body(layout, said, BASE_MS + 5000 * number)
            raw = reordered(raw) if forwarded else raw
            assert short_way(fast, raw) == long_way(slow, raw)

    @settings(max_examples=50, deadline=None)
    @given(st.data())
    def test_bodies_with_bytes_changed(self, data: st.DataObject) -> None:
        layout = data.draw(st.lists(series, min_size=1, max_size=6))
        said = data.draw(st.lists(numbers, min_size=len(layout), max_size=len(layout)))
        raw = body(layout, said)
        fast, slow = Both(), Both()
        for _ in range(3):
            assert short_way(fast, raw) == long_way(slow, raw)
        for _ in range(5):
            at = data.draw(st.integers(0, len(raw) - 1))
            new = data.draw(st.binary(max_size=2))
            broken = raw[:at] + new + raw[at + len(new) :]
            cut = broken[: data.draw(st.integers(0, len(raw)))] if at % 5 == 0 else broken
            assert short_way(fast, cut) == long_way(slow, cut)

    @pytest.mark.parametrize("forwarded", [False, True])
    def test_every_number_of_a_real_frame_may_change(self, *, forwarded: bool) -> None:
        """A Collector in between writes fields in an order of its own."""
        fast, slow = Both(), Both()
        bodies = [reordered(raw) if forwarded else raw for raw in frames(6)]
        ways = []
        for raw in bodies:
            ways.append(fast.way(raw))
            assert short_way(fast, raw) == long_way(slow, raw)
        assert ways[-3:] == [Way.LAYOUT] * 3


def kept_size(raw: bytes) -> int:
    """Return what the layout of a body takes."""
    layouts: Layouts[Layout] = Layouts()
    reader = Both(layouts)
    for _ in range(2):
        reader.decode(raw)
    return layouts.size


class TestLayouts:
    def test_a_number_that_is_none_goes_the_long_way_and_is_counted(self) -> None:
        reader = Both()
        layout = [Series(METRICS[2], DEVICES[0], read, False, False) for read in range(3)]
        good = [Numbers(412.5, 0, 0, 0.0)] * 3
        ways = [reader.way(body(layout, good)) for _ in range(3)]
        assert ways == [Way.SCANNED, Way.LAYOUT, Way.LAYOUT]
        odd = body(layout, [replace(good[0], value=math.nan), *good[1:]])
        assert reader.way(odd) == Way.PARSED
        said = reader.decode(odd)
        assert (said[0].rejected, ticks(said)) == ({"not_finite": 1}, 2)
        assert reader.way(body(layout, good)) == Way.LAYOUT

    def test_readings_that_meet_are_learned_anew(self) -> None:
        reader = Both()
        layout = [Series(METRICS[n], DEVICES[0], 0, False, False) for n in (2, 5)]
        apart = [Numbers(0.5, 0, 0, 0.0), Numbers(0.5, 1, 0, 0.0)]
        together = [Numbers(0.5, 0, 0, 0.0)] * 2
        assert [reader.way(body(layout, apart)) for _ in range(3)][2] == Way.LAYOUT
        assert ticks(reader.decode(body(layout, apart))) == 2
        assert [reader.way(body(layout, together)) for _ in range(3)][2] == Way.LAYOUT
        assert ticks(reader.decode(body(layout, together))) == 1

    def test_what_is_of_use_is_not_pushed_out(self) -> None:
        clock = [0.0]
        layout = [Series(METRICS[2], DEVICES[0], 0, False, False)]
        bodies = [body(layout, [Numbers(1.0, 0, 0, 0.0)], host=f"n{n:04}") for n in range(50)]
        size = kept_size(bodies[0])
        layouts: Layouts[Layout] = Layouts(10 * size, lambda: clock[0])
        reader = Both(layouts)

        def ways(which: Sequence[bytes]) -> list[Way]:
            return [reader.way(raw) for raw in which]

        told = [ways(bodies) for _ in range(3)]
        assert told[2] == [Way.LAYOUT] * 10 + [Way.SCANNED] * 40
        assert layouts.size == (10 + 2) * size
        clock[0] = 1000.0
        ways(bodies[40:])
        assert ways(bodies[40:]) == [Way.LAYOUT] * 10

    def test_of_ones_that_never_come_back_only_the_last_are_kept(self) -> None:
        bodies = [
            body(
                [Series(METRICS[2], {"hw.id": f"n1/{n:02}"}, 0, False, False)],
                [Numbers(1.0, 0, 0, 0.0)],
            )
            for n in range(20)
        ]
        size = kept_size(bodies[0])
        layouts: Layouts[Layout] = Layouts(4 * 3 * size)
        reader = Both(layouts)
        for raw in bodies:
            reader.decode(raw)
        assert layouts.size == 3 * size
        assert [reader.way(bodies[n]) for n in (19, 0)] == [Way.LAYOUT, Way.SCANNED]

    def test_a_length_beyond_the_body_is_malformed(self) -> None:
        raw = frames(1)[0]
        reader = Both()
        assert short_way(reader, raw[:-1]) == long_way(Both(), raw[:-1]) == "malformed"
        assert short_way(reader, struct.pack("<BI", 0x0A, 2**32 - 1)) == "malformed"
