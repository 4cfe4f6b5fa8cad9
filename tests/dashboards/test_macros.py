"""Macros and variables become what the data source would send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_dashboards.macros import ALL, MACROS, Window, expand
from wattshed_dashboards.variables import VARIABLES, where

HOUR = Window(1_700_000_000_000, 1_700_003_600_000, 30_000)
SITE = "$__conditionalAll(site IN (${site:singlequote}), $site)"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("$__fromTime", "toDateTime(1700000000)"),
        ("$__toTime", "toDateTime(1700003600)"),
        ("$__fromTime_ms", "fromUnixTimestamp64Milli(1700000000000)"),
        ("$__toTime_ms", "fromUnixTimestamp64Milli(1700003600000)"),
        ("$__timeFrom(t)", "t >= toDateTime(1700000000)"),
        ("$__timeTo(t)", "t <= toDateTime(1700003600)"),
        ("$__timeFilter(t)", "t >= toDateTime(1700000000) AND t <= toDateTime(1700003600)"),
        (
            "$__timeFilter_ms(ts)",
            "ts >= fromUnixTimestamp64Milli(1700000000000)"
            " AND ts <= fromUnixTimestamp64Milli(1700003600000)",
        ),
        ("$__timeInterval(t)", "toStartOfInterval(toDateTime(t), INTERVAL 30 second)"),
        ("sum(j) / $__interval_s", "sum(j) / 30"),
    ],
)
def test_time(sql: str, expected: str) -> None:
    assert expand(sql, HOUR, {}) == expected


def test_every_macro_that_is_known_is_tested() -> None:
    sql = " ".join(f"$__{name}(t)" for name in MACROS)
    assert "$" not in expand(sql, HOUR, {})


def test_an_argument_may_hold_parentheses() -> None:
    assert (
        expand("$__timeInterval(toStartOfHour(addHours(t, 1)))", HOUR, {})
        == "toStartOfInterval(toDateTime(toStartOfHour(addHours(t, 1))), INTERVAL 30 second)"
    )


@pytest.mark.parametrize("sql", ["$__lttb(1, 2, 3)", "$__columns", "SELECT $__nothing(t)"])
def test_a_macro_that_not_every_version_knows_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="is no macro of every supported version"):
        expand(sql, HOUR, {})


def test_a_parenthesis_that_stays_open_is_refused() -> None:
    with pytest.raises(ValueError, match="stays open"):
        expand("$__timeFilter(toStartOfHour(t)", HOUR, {})


class TestConditionalAll:
    def test_all_is_true(self) -> None:
        assert expand(f"a AND {SITE} AND b", HOUR, {"site": ALL}) == "a AND 1=1 AND b"

    def test_values_are_listed(self) -> None:
        assert expand(SITE, HOUR, {"site": ["a", "b"]}) == "site IN ('a','b')"

    def test_nested_parentheses_belong_to_the_condition(self) -> None:
        sql = "$__conditionalAll(lower(concat(a, ')')) IN (${site:singlequote}), $site)"
        assert expand(sql, HOUR, {"site": ["x"]}) == "lower(concat(a, ')')) IN ('x')"

    def test_several_stand_side_by_side(self) -> None:
        sql = where("site", model="ai_model")
        chosen = {"site": ["a"], "model": ALL}
        assert expand(sql, HOUR, chosen) == "site IN ('a') AND 1=1"

    def test_the_second_argument_is_a_plain_variable(self) -> None:
        with pytest.raises(ValueError, match="plain"):
            expand("$__conditionalAll(a = 1, ${site})", HOUR, {"site": ALL})

    def test_an_unset_variable_is_refused(self) -> None:
        with pytest.raises(ValueError, match="nobody sets"):
            expand(SITE, HOUR, {})


class TestVariables:
    def test_a_quote_in_a_value_stays_in_it(self) -> None:
        assert expand(SITE, HOUR, {"site": ["it's"]}) == "site IN ('it\\'s')"

    def test_all_outside_a_condition_is_refused(self) -> None:
        with pytest.raises(ValueError, match="is All outside"):
            expand("site = '$site'", HOUR, {"site": ALL})

    def test_another_format_is_refused(self) -> None:
        with pytest.raises(ValueError, match="only singlequote and raw"):
            expand("${site:csv}", HOUR, {"site": ["a"]})

    def test_a_plain_one_is_its_value(self) -> None:
        assert expand("$site ${site:raw}", HOUR, {"site": ["a", "b"]}) == "a,b a,b"

    def test_a_value_is_not_expanded_again(self) -> None:
        assert expand(SITE, HOUR, {"site": ["$site"]}) == "site IN ('$site')"

    @pytest.mark.parametrize("name", VARIABLES)
    def test_its_choices_need_only_those_before_it(self, name: str) -> None:
        before = list(VARIABLES)[: list(VARIABLES).index(name)]
        for values in (ALL, ["a"]):
            sql = expand(VARIABLES[name].sql, HOUR, dict.fromkeys(before, values))
            assert "$" not in sql
            assert "LIMIT" in sql


@given(st.integers(1, 2_000_000_000), st.integers(1, 40_000_000), st.sampled_from([60, 3600]))
def test_a_step_is_of_whole_minutes_or_hours_and_gives_few_points(
    start_s: int, length_s: int, least_s: int
) -> None:
    end_ms = (start_s + length_s) * 1000
    window = Window.of(start_s * 1000, end_ms, least_ms=least_s * 1000)
    step_s = window.interval_ms // 1000
    assert step_s >= least_s
    assert step_s % 3600 == 0 or 3600 % step_s == 0
    assert length_s <= 500 * step_s
