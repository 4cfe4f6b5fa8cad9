"""Every board keeps every rule, and every rule finds what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wattshed_dashboards import files, lint, render
from wattshed_dashboards.boards import BOARDS
from wattshed_dashboards.model import Board

Json = dict[str, Any]
Change = Callable[[Json], object]
RUNBOOKS = ("Trial",)


def _series(document: Json) -> Json:
    found: Json = document["panels"][1]
    return found


def _table(document: Json) -> Json:
    found: Json = document["panels"][2]
    return found


def _asks(panel: Json, sql: str) -> None:
    panel["targets"][0]["rawSql"] = sql


def _is_replaced(panel: Json, old: str, new: str) -> None:
    sql = panel["targets"][0]["rawSql"]
    assert old in sql
    _asks(panel, sql.replace(old, new))


BROKEN: dict[str, tuple[str, Change]] = {
    "wrapped": ("not the classic schema", lambda d: d.update(dashboard={})),
    "no schema": ("lacks schemaVersion", lambda d: d.pop("schemaVersion")),
    "editable": ("edited in place", lambda d: d.update(editable=True)),
    "uid": ("uid is not", lambda d: d.update(uid="Trial")),
    "tag": ("lacks the tag", lambda d: d.update(tags=[])),
    "question": ("or the question", lambda d: d.update(description="")),
    "no source": ("lacks the variable for", lambda d: d["templating"]["list"].pop(0)),
    "own source": (
        "source of its own",
        lambda d: _series(d)["targets"][0].update(datasource={"uid": "abc"}),
    ),
    "description": ("lacks a title or a desc", lambda d: _table(d).update(description="")),
    "cut title": (
        "longer than 64 characters",
        lambda d: _table(d).update(type="stat", title="x" * 65),
    ),
    "view unnamed": ("names none of v_node_now", lambda d: _table(d).update(description="Is.")),
    "unit": (
        "'wat' is no unit",
        lambda d: _series(d)["fieldConfig"]["defaults"].update(unit="wat"),
    ),
    "format": ("wrong format", lambda d: _table(d)["targets"][0].update(format=0)),
    "empty": ("asks nothing", lambda d: _asks(_table(d), "")),
    "order": ("not ordered by its time", lambda d: _is_replaced(_series(d), "ORDER BY time", "")),
    "descends": (
        "not ordered by its time",
        lambda d: _is_replaced(_series(d), "ORDER BY time", "ORDER BY time DESC"),
    ),
    "named value": (
        "not called Value",
        lambda d: _is_replaced(_series(d), "AS Value", "AS power"),
    ),
    "limit": ("has no LIMIT", lambda d: _is_replaced(_table(d), "LIMIT 100", "")),
    "all time": ("all of time", lambda d: _is_replaced(_series(d), "$__timeFilter(t)", "1=1")),
    "table": ("reads charge_1h", lambda d: _is_replaced(_table(d), "v_node_now", "charge_1h")),
    "star": ("SELECT *", lambda d: _asks(_table(d), "SELECT * FROM v_node_now LIMIT 1")),
    "long": ("be a view", lambda d: _is_replaced(_table(d), "LIMIT", "\n" * 15 + "LIMIT")),
    "raw variable": (
        "uses $site outside",
        lambda d: _is_replaced(_series(d), "WHERE ", "WHERE site = '$site' AND "),
    ),
    "other variable": (
        "compares $team",
        lambda d: _is_replaced(
            _series(d), "{site:singlequote}), $site", "{team:singlequote}), $team"
        ),
    ),
    "unquoted": (
        "uses $site outside",
        lambda d: _is_replaced(_series(d), "{site:singlequote}", "{site}"),
    ),
    "old type": ("graph is not used", lambda d: _series(d).update(type="graph")),
    "runbook": (
        "no page Other",
        lambda d: _table(d)["links"][0].update(url="${collector}/runbooks/Other"),
    ),
    "unknown column": (
        "describes other",
        lambda d: _table(d)["fieldConfig"]["overrides"].append(
            {"matcher": {"id": "byName", "options": "other"}, "properties": []}
        ),
    ),
    "twice": ("id 2 is used twice", lambda d: _table(d).update(id=2)),
    "beside": ("leaves the grid", lambda d: _table(d)["gridPos"].update(x=20)),
    "overlap": ("overlap", lambda d: _table(d)["gridPos"].update(x=3)),
    "too many": (
        "open at once",
        lambda d: d["panels"].extend(
            {**_series(d), "id": 50 + at, "gridPos": {"x": 0, "y": 50 + at, "w": 1, "h": 1}}
            for at in range(20)
        ),
    ),
    "large": ("larger than", lambda d: d.update(description="x" * 200_001)),
    "secret": ("like a secret", lambda d: d.update(secureJsonData={"password": "x"})),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_found(board: Board, case: str) -> None:
    said, change = BROKEN[case]
    document = render.document(board)
    assert lint.lint([document], RUNBOOKS) == []
    change(document)
    assert [line for line in lint.lint([document], RUNBOOKS) if said in line]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/d/wattshed-none?", "leads to wattshed-none"),
        ("/d/wattshed-trial?var-team=${__data.fields.node}", "has no variable team"),
        ("/d/wattshed-trial?var-node=${__data.fields.name}", "wants column name"),
    ],
)
def test_a_link_leads_to_a_board_with_what_it_sets(board: Board, url: str, said: str) -> None:
    document = render.document(board)
    _table(document)["fieldConfig"]["defaults"]["links"] = [{"url": url}]
    assert [line for line in lint.lint([document], RUNBOOKS) if said in line]


def test_a_uid_and_a_title_are_of_one_board(board: Board) -> None:
    twice = [render.document(board), render.document(board)]
    assert len([line for line in lint.lint(twice, RUNBOOKS) if "is used twice" in line]) == 2


def test_every_rule_has_a_case(board: Board) -> None:
    """Each rule, alone, finds at least one of the cases above."""
    rules = {rule.__name__ for rule in lint.RULES}
    found: set[str] = {"links_lead_somewhere"}
    for _, change in BROKEN.values():
        document = render.document(board)
        change(document)
        known = lint.Known.of([document], RUNBOOKS)
        found |= {rule.__name__ for rule in lint.RULES if list(rule(document, known))}
    assert found == rules


def test_the_boards_keep_all_rules() -> None:
    runbooks = [page.stem for page in (files.root() / "runbooks").glob("*.md")]
    assert lint.lint([render.document(board) for board in BOARDS], runbooks) == []
