"""Grafana's JSON of a board: what stands where, and what a click does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from wattshed_dashboards import render
from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step

Json = dict[str, Any]


def _shown(panel: Panel) -> Json:
    board = Board("wattshed-one", "One", "Why?", (Row("Row", (panel,)),))
    found: Json = render.document(board)["panels"][1]
    return found


def _panel(kind: Kind, **more: Any) -> Panel:
    return Panel("Title", "What it is.", kind, "watt", "SELECT 1", **more)


def test_the_file_is_the_document_in_order(board: Board) -> None:
    text = render.text(board)
    assert json.loads(text) == render.document(board)
    assert text.endswith("}\n")
    assert text == render.text(board)


def test_the_head(board: Board) -> None:
    document = render.document(board)
    assert document["schemaVersion"] == 39
    assert document["uid"] == "wattshed-trial"
    assert document["time"] == {"from": "now-6h", "to": "now"}
    assert document["editable"] is False


def test_variables_come_after_source_and_collector_in_their_order(board: Board) -> None:
    turned = replace(board, variables=("node", "site"))
    names = [v["name"] for v in render.document(turned)["templating"]["list"]]
    assert names == ["datasource", "collector", "site", "node"]


def test_a_variable_that_nobody_knows_is_refused(board: Board) -> None:
    with pytest.raises(ValueError, match="no such variable: rack"):
        render.document(replace(board, variables=("rack",)))


def test_panels_flow_and_wrap() -> None:
    panels = tuple(
        replace(_panel(Kind.STAT), width=width, height=height)
        for width, height in ((10, 4), (10, 6), (10, 3), (24, 2))
    )
    board = Board("wattshed-one", "One", "Why?", (Row("A", panels), Row("B", panels[:1])))
    places = [tuple(p["gridPos"][k] for k in "xywh") for p in render.document(board)["panels"]]
    assert places == [
        (0, 0, 24, 1),
        (0, 1, 10, 4),
        (10, 1, 10, 6),
        (0, 7, 10, 3),
        (0, 10, 24, 2),
        (0, 12, 24, 1),
        (0, 13, 10, 4),
    ]


def test_a_collapsed_row_holds_its_panels_and_takes_one_line() -> None:
    rows = (Row("A", (_panel(Kind.STAT),), is_collapsed=True), Row("B", (_panel(Kind.STAT),)))
    first, second, inner = render.document(Board("wattshed-x", "X", "?", rows))["panels"]
    assert (first["collapsed"], len(first["panels"])) == (True, 1)
    assert (second["gridPos"]["y"], inner["gridPos"]["y"]) == (1, 2)
    assert [first["id"], first["panels"][0]["id"], second["id"], inner["id"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.asks])
def test_only_what_goes_over_time_asks_for_series(kind: Kind) -> None:
    target = _shown(_panel(kind))["targets"][0]
    expected = (0, "timeseries") if kind.is_over_time else (1, "table")
    assert (target["format"], target["queryType"]) == expected


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.ALERT_LIST])
def test_what_asks_nothing_has_no_target(kind: Kind) -> None:
    shown = _shown(replace(_panel(kind), text="**Hello**"))
    assert "targets" not in shown
    assert (shown["options"].get("content") == "**Hello**") is (kind is Kind.TEXT)


def test_options_of_a_panel_lie_over_those_of_its_type() -> None:
    more = {"legend": {"placement": "right"}, "zoom": 1}
    options = _shown(_panel(Kind.TIME_SERIES, options=more))["options"]
    assert options["legend"]["placement"] == "right"
    assert options["legend"]["displayMode"] == "list"
    assert (options["zoom"], options["tooltip"]["mode"]) == (1, "multi")


def test_a_link_carries_the_row_and_the_range() -> None:
    link = Link("Node", "wattshed-node", {"node": "node", "site": "place"})
    shown = _shown(_panel(Kind.TABLE, columns={"node": Column(link=link)}))
    (override,) = shown["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byName", "options": "node"}
    (said,) = [p["value"] for p in override["properties"] if p["id"] == "links"]
    assert said == [
        {
            "title": "Node",
            "url": "/d/wattshed-node?var-node=${__data.fields.node:percentencode}"
            "&var-site=${__data.fields.place:percentencode}&${__url_time_range}",
            "targetBlank": False,
        }
    ]


def test_a_column_says_only_what_it_is_told() -> None:
    steps = (Step(1, Color.BAD),)
    columns = {
        "plain": Column(),
        "full": Column("Heading", "watt", Color.BAD, width=90, decimals=1, steps=steps),
        "line": Column(is_dashed=True),
        "area": Column(is_stacked=True),
    }
    overrides = _shown(_panel(Kind.TABLE, columns=columns))["fieldConfig"]["overrides"]
    said = [{p["id"]: p["value"] for p in o["properties"]} for o in overrides]
    assert said[0] == {}
    assert said[1].keys() == {
        "displayName",
        "unit",
        "color",
        "custom.width",
        "decimals",
        "thresholds",
        "custom.cellOptions",
    }
    assert said[1]["displayName"] == "Heading"
    assert said[2]["custom.lineStyle"]["fill"] == "dash"
    assert said[2]["custom.stacking"]["mode"] == "none"
    assert said[3] == {"custom.stacking": {"mode": "normal", "group": "A"}}


def test_a_table_says_by_what_it_is_sorted() -> None:
    plain = _shown(_panel(Kind.TABLE, sorted_by="power"))
    titled = _shown(_panel(Kind.TABLE, sorted_by="power", columns={"power": Column(title="Power")}))
    assert plain["options"]["sortBy"] == [{"displayName": "power", "desc": True}]
    assert titled["options"]["sortBy"] == [{"displayName": "Power", "desc": True}]
    assert _shown(_panel(Kind.TABLE))["options"]["sortBy"] == []


def test_thresholds_colour_what_has_no_colour_of_its_own() -> None:
    steps = (Step(None, Color.GOOD), Step(0.5, Color.BAD))
    config = _shown(_panel(Kind.STAT, steps=steps, least=0, most=1))["fieldConfig"]["defaults"]
    assert config["color"] == {"mode": "thresholds"}
    assert config["thresholds"]["steps"][1] == {"value": 0.5, "color": "red"}
    assert (config["min"], config["max"]) == (0, 1)
    fixed = _shown(_panel(Kind.STAT, steps=steps, color=Color.POWER))["fieldConfig"]["defaults"]
    assert fixed["color"] == {"mode": "fixed", "fixedColor": "blue"}


def test_a_runbook_is_a_page_of_the_collector() -> None:
    (link,) = _shown(_panel(Kind.STAT, runbook="GPUIdleBurn"))["links"]
    assert link["url"] == "${collector}/runbooks/GPUIdleBurn"


def test_a_title_that_is_wider_than_its_column_goes_on_below() -> None:
    table = _shown(_panel(Kind.TABLE))["fieldConfig"]["defaults"]["custom"]
    assert table["wrapHeaderText"] is True


def test_the_column_that_sorts_has_room_for_its_arrow() -> None:
    def widths(panel: Panel) -> dict[str, int]:
        said = _shown(panel)["fieldConfig"]["overrides"]
        return {one["matcher"]["options"]: one["properties"][-1]["value"] for one in said}

    assert widths(_panel(Kind.TABLE, sorted_by="power")) == {"power": render.SORTED_PX}
    own = {"power": Column(width=190)}
    assert widths(_panel(Kind.TABLE, sorted_by="power", columns=own)) == {"power": 190}


def test_series_have_the_colours_of_a_palette_in_turn() -> None:
    # By name, two of three models had the same cream: more names than colours fall together.
    series = _shown(_panel(Kind.TIME_SERIES))["fieldConfig"]["defaults"]
    assert series["color"] == {"mode": "palette-classic"}
