"""How numbers read, and that what is not known never reads as a number."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.present import units

Format = Callable[[float | None], str]
FORMATS: tuple[Format, ...] = (
    units.joules,
    units.watt_hours,
    units.watts,
    units.count,
    units.percent,
    units.seconds,
    units.celsius,
    units.grams,
)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_known_reads_unknown(form: Format, value: float | None) -> None:
    assert form(value) == "unknown"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (0.00123, "1.23 mJ"),
        (0.5, "500 mJ"),
        (1, "1.00 J"),
        (12.34, "12.3 J"),
        (999.4, "999 J"),
        (999.6, "1.00 kJ"),
        (12_345, "12.3 kJ"),
        (892_123_456, "892 MJ"),
        (4.2e9, "4.20 GJ"),
        (-5300, "-5.30 kJ"),
        (3e19, "30.0 EJ"),
    ],
)
def test_joules(value: float, text: str) -> None:
    assert units.joules(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 g"), (310, "310 g"), (994_000, "994 kg"), (999_600, "1.00 t"), (-2.5e6, "-2.50 t")],
)
def test_grams_become_tonnes(value: float, text: str) -> None:
    assert units.grams(value) == text


def test_joules_with_kilowatt_hours() -> None:
    assert units.joules(12_312_000, kwh=True) == "12.3 MJ (3.42 kWh)"
    assert units.joules(None, kwh=True) == "unknown"


def test_watts_from_the_edge_to_the_hall() -> None:
    assert [units.watts(value) for value in (0.0021, 4.1, 701, 11_230, 1.5e6)] == [
        "2.10 mW", "4.10 W", "701 W", "11.2 kW", "1.50 MW",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (9876, "9,876"), (14_110, "14.1 k"), (7.4e8, "740 M"), (0.25, "0.25")],
)
def test_count(value: float, text: str) -> None:
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 %"),
        (-0.0, "0 %"),
        (0.0002, "< 0.1 %"),
        (-0.0002, "> -0.1 %"),
        (-0.314, "-31.4 %"),
        (0.1, "10 %"),
        (0.314, "31.4 %"),
        (0.9996, "> 99.9 %"),
        (1, "100 %"),
    ],
)
def test_only_nothing_is_none_and_only_everything_is_all(value: float, text: str) -> None:
    assert units.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (4.5e-13, "< 1 ms"),
        (0.25, "0.25 s"),
        (60, "1 min"),
        (192, "3 min 12 s"),
        (3599.7, "1 h"),
        (11_520, "3 h 12 min"),
        (86_400, "24 h"),
        (604_800, "7 d"),
        (200_000, "2 d 7 h"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert units.seconds(value) == text


@given(st.floats(min_value=1e-9, max_value=1e20))
def test_the_text_is_the_value_to_three_digits(value: float) -> None:
    number, unit = units.joules(value).split(" ")
    scale = 10.0 ** (3 * units.PREFIXES.index(unit.removesuffix("J")) - 9)
    assert float(number) * scale == pytest.approx(value, rel=0.0051)
    assert 1 <= float(number) < 1000
