"""What a query leaves behind on its connection: nothing, whatever became of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.clickhouse.asking import Ask

from wattshed_collector.clickhouse.asked import question
from wattshed_collector.clickhouse.engine import Engine
from wattshed_collector.clickhouse.errors import Problem

BREAKS_OFF = (
    "SELECT 'of another' UNION ALL SELECT toString(intDiv(1, count() - 2000000)) FROM "
    "(SELECT arrayJoin(range(2000)) AS a) AS x, (SELECT arrayJoin(range(1000)) AS b) AS y"
)


def test_rows_of_a_query_that_broke_off_are_nobody_elses(ask: Ask) -> None:
    with pytest.raises(Problem, match="Division by zero"):
        ask(BREAKS_OFF)
    assert ask("SELECT 'mine'").body == b'["mine"]\n'


def test_a_connection_that_was_opened_again_has_the_same_limits(
    engine: Engine, shared_bed: Any, ask: Ask
) -> None:
    with pytest.raises(Problem):
        ask("SELECT nope")
    with pytest.raises(Problem, match="max rows"):
        ask("SELECT arrayJoin(range(2001))")
    with pytest.raises(Problem, match="memory limit"):
        ask("SELECT groupArray(leftPad(toString(n), 9999, 'a')) FROM "
            "(SELECT arrayJoin(range(50000)) AS n)")  # fmt: skip
    found = engine.answer(question([("query", "SELECT timezone()")], {}, b""), "test")
    assert found.body == b"UTC\n"
