"""Rows as FORMAT Native: the engine reads back what was written, to the bit, and only that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.errors import Permanent
from wattshed_collector.store.frames import frame, joined
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.native import encode
from wattshed_collector.store.schema import KINDS, TABLES
from wattshed_collector.store.texts import encoded

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
SAID = (
    "SELECT toUnixTimestamp64Milli(ts), device_id, power_uw, toUnixTimestamp64Milli(start_ts), "
    "interval_ms, temp_e1, method, gap FROM tick ORDER BY ts"
)
COLUMNS = ("ts", "device_id", "power_uw", "start_ts", "interval_ms", "temp_e1", "method", "gap")

whole = st.integers
rows_of_ticks = st.lists(
    st.tuples(
        whole(0, 2**64 - 1),
        st.none() | whole(0, 2**64 - 1),
        st.none() | whole(0, 2**40),
        whole(0, 2**32 - 1),
        st.none() | whole(-(2**15), 2**15 - 1),
        st.text(max_size=200),
        st.none() | st.text(max_size=3),
    ),
    min_size=1,
    max_size=40,
)


def ticks(rows: list[tuple[Any, ...]]) -> Frame:
    columns = zip(*((BASE + n, *row) for n, row in enumerate(rows)), strict=True)
    return frame("tick", dict(zip(COLUMNS, columns, strict=True)))


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=rows_of_ticks, cut=whole(0, 40))
def test_what_is_written_is_read(bed: Bed, rows: list[tuple[Any, ...]], cut: int) -> None:
    bed.client.command("TRUNCATE TABLE tick")
    both = ticks(rows)
    insert = encode(both)
    if 0 < cut < len(rows):  # bodies of several blocks may stand one after the other
        parts = [
            Frame("tick", {name: _cut(column, part) for name, column in both.columns.items()})
            for part in (slice(cut), slice(cut, None))
        ]
        insert = replace(insert, body=b"".join(encode(part).body for part in parts))
    bed.client.insert_native(insert)
    assert bed.client.rows(SAID) == [(BASE + n, *row) for n, row in enumerate(rows)]


def _cut(column: Column, part: slice) -> Column:
    return Column(column.values[part], None if column.present is None else column.present[part])


@pytest.mark.parametrize("words", [200, 300, 70_000])
def test_a_dictionary_of_any_width(bed: Bed, words: int) -> None:
    said = [f"word {n}" for n in range(words)]
    same = [1] * words
    columns = {"start_ms": range(words), "end_ms": same, "device": said, "workload": said}
    columns |= {"share": same, "method": said, "revision": same, "reason": said}
    bed.client.insert_native(encode(frame("quarantine", columns)))
    ((wrong, rows),) = bed.client.rows(
        "SELECT countIf(reason != concat('word ', toString(start_ms)) OR reason != device), "
        "count() FROM quarantine"
    )
    assert (wrong, rows) == (0, words)


def test_texts_by_their_places_are_those_texts(bed: Bed) -> None:
    said = ["a", "é" * 300, "", "a"]
    same = [1] * 4
    columns = {"start_ms": range(4), "end_ms": same, "device": said, "workload": said}
    columns |= {"share": same, "method": said, "revision": same, "reason": said}
    plain = frame("quarantine", columns)
    texts = [encoded(text) for text in ("unused", "", "a", said[1])]
    places = Column(np.array([2, 3, 1, 2], np.int32), None, texts)
    coded = Frame("quarantine", {**plain.columns, "reason": places, "device": places})
    other = Column(np.array([0, 1, 2, 0]), None, [encoded(text) for text in ("a", said[1], "")])
    bed.client.command("TRUNCATE TABLE quarantine")
    parts = coded, plain, Frame("quarantine", {**plain.columns, "reason": other}), coded
    bed.client.insert_native(encode(joined(parts)))
    bed.client.insert_native(encode(coded))
    asked = "SELECT device, reason, count() FROM quarantine GROUP BY ALL ORDER BY device"
    assert bed.client.rows(asked) == [("", "", 5), ("a", "a", 10), (said[1], said[1], 5)]


def test_every_column_is_declared_as_the_store_has_it(bed: Bed) -> None:
    rows = bed.client.rows(
        "SELECT table, name, type FROM system.columns "
        "WHERE database = currentDatabase() AND default_kind != 'MATERIALIZED'"
    )
    has: dict[str, dict[str, str]] = {}
    for table, name, type_name in rows:
        has.setdefault(str(table), {})[str(name)] = str(type_name)
    for table, types in TABLES.items():
        left_out = {"ingested_at"} if "ingested_at" not in types else set()
        assert {n: t for n, t in has[table].items() if n not in left_out} == dict(types), table


def test_integers_joined_with_floats_stay_what_they_are() -> None:
    exact = 2**53 + 1
    whole = Frame("tick", {"energy_uj": Column(np.array([exact], np.uint64))})
    floats = Frame("tick", {"energy_uj": Column(np.array([5.0]))})
    both = joined([floats, whole]).columns["energy_uj"].values
    assert (both.dtype, both.tolist()) == (np.dtype(np.uint64), [5, exact])
    fraction = Frame("tick", {"energy_uj": Column(np.array([0.5]))})
    with pytest.raises(Permanent, match="energy_uj"):
        joined([fraction, whole])


def test_frames_are_joined_and_what_some_lack_is_null_there() -> None:
    with_power = ticks([(1, 5, None, 10, None, "counter", None)])
    bare = Frame("tick", {n: c for n, c in with_power.columns.items() if n != "power_uw"})
    both = joined([bare, with_power, bare])
    power = both.columns["power_uw"]
    assert power.present is not None
    assert (power.values.tolist(), power.present.tolist()) == ([0, 5, 0], [False, True, False])
    assert joined([bare]) is bare


def test_arrays_of_another_type_go_in_where_nothing_is_lost() -> None:
    narrow = Frame("dirty", {"hour": Column(np.array([3600, 7200], np.int64))})
    assert encode(narrow).body == encode(frame("dirty", {"hour": [3600, 7200]})).body


@pytest.mark.parametrize(
    ("table", "columns", "told"),
    [
        ("dirty", {"hour": np.array([-1])}, "dirty.hour: -1"),
        ("dirty", {"hour": np.array([2**32])}, "dirty.hour: 4294967296"),
        ("dirty", {"hour": np.array([0.5])}, "dirty.hour: 0.5"),
        ("dirty", {"hour": np.array([float("nan")])}, "dirty.hour: nan"),
        ("tick", {"energy_uj": np.array([-5])}, "tick.energy_uj: -5"),
        ("tick", {"power": np.array([5])}, "tick has no column power"),
        ("tick", {"method": np.array(["\ud800"], object)}, "tick.method: .*surrogates"),
    ],
)
def test_what_does_not_go_in_is_told(table: str, columns: dict[str, Any], told: str) -> None:
    with pytest.raises(Permanent, match=told):
        encode(Frame(table, {name: Column(values) for name, values in columns.items()}))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"temp_e1": [1, 10_000_000]}, "temp_e1"),
        ({"power_uw": [None, -1]}, "power_uw"),
        ({"device_id": [None]}, "device_id: a value is missing"),
    ],
)
def test_lists_with_impossible_values(columns: dict[str, list[Any]], told: str) -> None:
    with pytest.raises(Permanent, match=told):
        frame("tick", columns)


def test_null_in_a_column_that_is_never_null() -> None:
    column = Column(np.array([1, 2]), np.array([True, False]))
    with pytest.raises(Permanent, match=r"dirty\.hour is never NULL"):
        encode(Frame("dirty", {"hour": column}))
    lacking = frame("tick", {"ts": [1], "device_id": [1]})
    with pytest.raises(Permanent, match=r"tick\.device_id is lacking"):
        joined([lacking, frame("tick", {"ts": [1]})])


def test_every_kind_of_column_is_known() -> None:
    words = KINDS["LowCardinality(Nullable(String))"]
    assert (words.dtype, words.nullable, words.dictionary) == (None, True, True)
    time = KINDS["Nullable(DateTime64(3, 'UTC'))"]
    assert (time.dtype, time.nullable, time.dictionary) == (np.dtype("<i8"), True, False)
