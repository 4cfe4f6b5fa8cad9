"""Names of workloads are anybody's: they stay within the literals of a statement."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.advice.evidence import stated


def test_numbers_texts_and_lists() -> None:
    template = "a = {name} AND t >= {since} AND w IN {names}"
    made = stated(template, name="it's", since=3, names=["a", "b\\"])
    assert made == "a = 'it\\'s' AND t >= 3 AND w IN ('a', 'b\\\\')"


@given(st.text())
def test_a_text_ends_where_its_literal_does(text: str) -> None:
    inside = stated("{name}", name=text)[1:-1]
    assert re.fullmatch(r"(?:[^'\\]|\\.)*", inside, re.DOTALL)
    assert re.sub(r"\\(.)", r"\1", inside, flags=re.DOTALL) == text


def test_a_name_that_looks_like_a_place_stays_a_text() -> None:
    made = stated("a = {name} AND b = {site}", name="{site}", site="' OR 1 = 1 --")
    assert made == "a = '{site}' AND b = '\\' OR 1 = 1 --'"
