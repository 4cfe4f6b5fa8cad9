"""What a board's panels are asked, and how an answer reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.fixtures.trial_board import TRIAL

from wattshed_collector.boards import (
    MOST_CHOSEN,
    Asked,
    Boards,
    aligned,
    ask,
    chosen_of,
    panels_of,
)
from wattshed_collector.errors import Denied, InvalidInput
from wattshed_dashboards.macros import Window

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR = Window.of(1_700_000_000_000, 1_700_003_600_000)


@pytest.fixture
def boards() -> Boards:
    return Boards([TRIAL])


def test_panels_in_closed_rows_are_panels_too(boards: Boards) -> None:
    numbers = [panel["id"] for panel in panels_of(boards.document("wattshed-trial"))]
    assert len(numbers) == len(set(numbers)) == sum(len(row.panels) for row in TRIAL.rows)
    assert boards.panel("wattshed-trial", numbers[-1])["title"] == "Energy"


def test_what_is_not_there_is_unknown(boards: Boards) -> None:
    for ask_for in (
        lambda: boards.document("x"),
        lambda: boards.panel("wattshed-trial", 99),
        lambda: boards.panel("wattshed-trial", 1),  # a row
        lambda: boards.variable("wattshed-trial", "model"),
        lambda: boards.variable("wattshed-trial", "datasource"),
    ):
        with pytest.raises(InvalidInput) as caught:
            ask_for()
        assert caught.value.reason == "unknown"


def test_what_a_url_chooses() -> None:
    query = [("from", "now-6h"), ("var-team", "a"), ("var-team", "b"), ("var-site", "$__all")]
    assert chosen_of([*query, ("var-node", "")]) == {"team": ("a", "b"), "node": ("",)}
    with pytest.raises(InvalidInput, match="at most 500"):
        chosen_of([("var-node", "n")] * (MOST_CHOSEN + 1))


def test_series_begin_and_end_with_full_steps() -> None:
    window = Window(1_700_000_010_000, 1_700_003_610_000, 60_000)
    cut = aligned(window)
    assert cut.from_ms % 60_000 == 0
    assert cut.from_ms <= window.from_ms
    assert cut.to_ms < window.to_ms
    assert (cut.to_ms + 1000) % 60_000 == 0
    short = Window(window.from_ms, window.from_ms + 300_000, 60_000)
    assert aligned(short) == short


def test_an_answer_by_column(shared_bed: Bed) -> None:
    sql = """SELECT toDateTime(1700000000, 'UTC') AS at, toDateTime64(1.5, 3, 'UTC') AS fine,
        toDate('2023-11-14') AS day, 0 / 0 AS no, NULL AS missing, toUInt64(7) AS n, true AS yes,
        toDecimal64(1.5, 2) AS d, ['a', 'b'] AS l, map('k', 'v') AS m,
        toLowCardinality('t') AS text"""
    found = {c["name"]: (c["kind"], c["values"][0]) for c in ask(shared_bed.client, sql, HOUR, {})}
    assert found == {
        "at": ("time", 1_700_000_000), "fine": ("time", 1.5), "day": ("time", 1_699_920_000),
        "no": ("number", None), "missing": ("text", None), "n": ("number", 7),
        "yes": ("flag", True), "d": ("number", 1.5), "l": ("text", "a, b"),
        "m": ("text", '{"k": "v"}'), "text": ("text", "t"),
    }  # fmt: skip


def test_an_answer_without_rows_has_its_columns(shared_bed: Bed) -> None:
    found = ask(shared_bed.client, "SELECT 1 AS a, now() AS t WHERE 0 -- none", HOUR, {})
    assert [(c["name"], c["kind"], c["values"]) for c in found] == [
        ("a", "number", []), ("t", "time", []),
    ]  # fmt: skip


def test_a_macro_that_nobody_expands_is_said(shared_bed: Bed) -> None:
    with pytest.raises(InvalidInput, match="no macro"):
        ask(shared_bed.client, "SELECT $__lttb(1)", HOUR, {})


ATTACKS = (
    "'", "\\", "x\\", "\\'", "' OR 1=1 --", "') UNION ALL SELECT name FROM system.tables --",
    "\\') OR (1=1) --", "{chosen_0:String}", "${site:singlequote}", "$__timeFilter(t)", "\x00",
    "a\nb", "a\tb", "\\N", "\\x27", "%27", "é€😀", "$$ OR 1 $$", "/*", "NULL",
)  # fmt: skip


@pytest.mark.parametrize("value", ATTACKS)
def test_a_value_is_a_value(shared_bed: Bed, value: str) -> None:
    sql = (
        "SELECT s FROM (SELECT arrayJoin(['x', {chosen_0:String}]) AS s) "
        "WHERE $__conditionalAll(s IN (${site:singlequote}), $site)"
    )
    (column,) = ask(shared_bed.client, sql, HOUR, {"site": [value]})
    assert column["values"] == [value]


def test_the_client_of_readers_changes_nothing(shared_bed: Bed) -> None:
    client = shared_bed.store.client(only_reads=True)
    try:
        for statement in (
            "INSERT INTO factor (kind) VALUES ('x')",
            "DROP TABLE factor",
            "SET readonly = 0",
            "SELECT 1 SETTINGS readonly = 0",
        ):
            with pytest.raises(Denied, match="READONLY"):
                client.command(statement)
    finally:
        client.close()


def test_a_board_without_anything_answers(shared_bed: Bed, boards: Boards) -> None:
    for panel in panels_of(boards.document("wattshed-trial")):
        if "targets" in panel:
            boards.answer(shared_bed.client, "wattshed-trial", panel["id"], Asked(HOUR, {}))
    assert boards.choices(shared_bed.client, "wattshed-trial", "node", Asked(HOUR, {})) == []
