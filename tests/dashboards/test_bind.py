"""What somebody chose never becomes a part of a statement."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_dashboards.macros import ALL, Window, bind, expand
from wattshed_dashboards.variables import where

WINDOW = Window(1_700_000_000_000, 1_700_021_600_000)
SQL = f"SELECT 1 FROM v_device WHERE {where('site', 'node')}"


CHOSEN = st.lists(st.text("'\\\\\0${}: aé)", max_size=12), min_size=1, max_size=3)


@settings(max_examples=40)
@given(CHOSEN, CHOSEN)
def test_the_text_does_not_depend_on_the_values(sites: list[str], nodes: list[str]) -> None:
    text, bound = bind(SQL, WINDOW, {"site": sites, "node": nodes})
    plain, _ = bind(SQL, WINDOW, {"site": ["x"] * len(sites), "node": ["x"] * len(nodes)})
    assert text == plain
    named = re.findall(r"\{(\w+):String\}", text)
    assert [bound[name] for name in named] == [*sites, *nodes]


def test_what_has_everything_is_not_bound() -> None:
    text, bound = bind(SQL, WINDOW, {"site": ALL, "node": ["a"]})
    assert text == "SELECT 1 FROM v_device WHERE 1=1 AND node IN ({chosen_0:String})"
    assert bound == {"chosen_0": "a"}


@pytest.mark.parametrize("sql", ["SELECT $site", "SELECT ${site}", "SELECT '${site:raw}'"])
def test_a_value_as_it_stands_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="would be part of the statement"):
        bind(sql, WINDOW, {"site": ["a"]})


def test_apart_from_values_it_is_what_the_data_source_sends() -> None:
    sql = "SELECT 1 FROM v_device WHERE $__timeFilter(t) AND " + where("site")
    chosen = {"site": ["a", "b"]}
    text, bound = bind(sql, WINDOW, chosen)
    for name, value in bound.items():
        text = text.replace(f"{{{name}:String}}", f"'{value}'")
    assert text == expand(sql, WINDOW, chosen)
