"""Details in columns: what is said is what is read, wherever it is kept."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wattshed_collector.store.rows import labels_text
from wattshed_collector.store.wide import BY_KEY, MEANT, WIDE, said, split
from wattshed_exporter.model import Batch, Detail
from wattshed_exporter.semconv import PUSHED_DETAILS
from wattshed_exporter.semconv.terms import Type

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
SAID = (
    "SELECT metric, labels, value, toUnixTimestamp64Milli(start_ts) FROM v_sample "
    "WHERE toUnixTimestamp64Milli(ts) = {at:Int64}"
)
SM = ("wattshed_sm_activity_ratio", ())


def test_every_column_is_of_a_metric_and_its_own_labels() -> None:
    assert len(BY_KEY) == len(WIDE) == len({wide.column for wide in WIDE})
    for wide in WIDE:
        metric = PUSHED_DETAILS[wide.metric]
        assert len(metric.own) == len(wide.attributes)
        assert bool(wide.start_column) == (metric.type is Type.COUNTER)


def test_each_column_is_read_under_its_name_with_its_labels_and_start(bed: Bed) -> None:
    details = tuple(
        Detail(
            "d",
            wide.metric,
            BASE,
            1.0 + n,
            wide.attributes,
            BASE - n if wide.start_column else None,
        )
        for n, wide in enumerate(WIDE)
    )
    bed.write(Batch(details=details))
    assert bed.client.rows("SELECT count() FROM sample") == [(0,)]
    assert bed.client.rows("SELECT count() FROM detail") == [(1,)]
    expected = {(d.metric, labels_text(d), d.value, d.start_ms) for d in details}
    assert set(bed.client.rows(SAID, {"at": BASE})) == expected


values = st.one_of(
    st.floats(0, 1e3),
    st.integers(0, 10**6).map(lambda n: n / 1e6),
    st.integers(0, 10**9).map(lambda n: n * 1e-3),
    st.integers(0, 2**64).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.sampled_from(WIDE), values, min_size=1), st.booleans())
@example(dict.fromkeys(WIDE, 2.0**64), False)
@example(dict.fromkeys(WIDE, -0.0), True)
def test_nothing_is_lost_or_rounded(bed: Bed, said: dict[object, float], apart: bool) -> None:
    bed.clean()
    details = [
        Detail("d", wide.metric, BASE, value, wide.attributes)  # type: ignore[attr-defined]
        for wide, value in said.items()
    ]
    parts = [[detail] for detail in details] if apart else [details]
    bed.write(*(Batch(details=tuple(part)) for part in parts))
    found = {(m, t): v for m, t, v, _ in bed.client.rows(SAID, {"at": BASE})}
    assert found.keys() == {(d.metric, labels_text(d)) for d in details}
    for detail in details:
        read = found[detail.metric, labels_text(detail)]
        assert math.isclose(read, detail.value, rel_tol=MEANT, abs_tol=0.0)
        assert math.copysign(1, read) == math.copysign(1, detail.value)


@pytest.mark.parametrize(
    ("value", "held"),
    [(0.29, True), (57 * 0.01, True), (1 / 3, False), (0.0, True), (-0.5, False), (5e3, False)],
)
def test_what_a_ratio_may_be(value: float, held: bool) -> None:
    scaled, holds = BY_KEY[SM].scaled(np.array([value]))
    assert holds.tolist() == [held]
    assert scaled.tolist() == [round(value * 1e6) if held else 0]


def test_what_has_no_column_stays_narrow() -> None:
    details = [
        Detail("d", *SM[:1], BASE, 0.5),
        Detail("d", "wattshed_clock_hertz", BASE, 1e9, ("ring",)),
        Detail("d", *SM[:1], BASE + 1, math.nan),
        Detail("d", *SM[:1], BASE + 2, 0.5, (), BASE),
        Detail("e", *SM[:1], BASE, 0.25),
        Detail("e", *SM[:1], BASE, 0.75),
    ]
    rows, narrow = split(details, [1, 1, 1, 1, 2, 2])
    assert rows is not None
    assert sorted(narrow) == [1, 2, 3]
    assert said(rows) == 2
    column = rows.columns["sm_activity_e6"]
    assert column.present is not None
    pairs = zip(rows.columns["device_id"].values.tolist(), column.values.tolist(), strict=True)
    assert [pair for pair, known in zip(pairs, column.present, strict=True) if known] == [
        (1, 500_000),
        (2, 750_000),
    ]


def test_what_is_said_apart_is_one_row_and_the_latest_is_found(bed: Bed) -> None:
    first = Detail("d", "wattshed_clock_hertz", BASE, 1e9, ("sm",))
    second = Detail("d", "wattshed_link_bytes_total", BASE, 7.0, ("pcie", "receive"), BASE - 5)
    bed.write(*(Batch(details=(detail,)) for detail in (first, second, first)))
    rows = bed.client.rows("SELECT sm_clock_hertz, pcie_receive_bytes FROM detail FINAL")
    assert rows == [(10**9, 7)]
    ((labels,),) = bed.client.rows(
        "SELECT labels FROM v_sample WHERE metric = 'wattshed_link_bytes_total'"
    )
    assert json.loads(str(labels)) == {"link": "pcie", "direction": "receive"}
