"""Boards as Grafana's classic dashboard JSON (schema 39), which 10 to 13 load from files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import looks
from .model import WIDTH, Board, Color, Column, Kind, Link, Panel, Row, Step
from .variables import DATASOURCE, DATASOURCE_TYPE, VARIABLES, Variable

SCHEMA_VERSION = 39
TAG = "wattshed"
COLLECTOR = "collector"
"""Hidden variable with the collector's address, which also serves the runbooks."""
COLLECTOR_URL = "http://127.0.0.1:9740"
SORTED_PX = 110
"""A column's title, the arrow that says how it is sorted, and the funnel beside them."""
_SOURCE = {"type": DATASOURCE_TYPE, "uid": "${" + DATASOURCE + "}"}
TIME_SERIES_FORMAT, TABLE_FORMAT = 0, 1

Json = dict[str, Any]


def text(board: Board) -> str:
    """Return the file's content: keys in order, two spaces, a line end."""
    return json.dumps(document(board), indent=2, ensure_ascii=False) + "\n"


def document(board: Board) -> Json:
    """Return the dashboard as Grafana's model of it, without the wrapper that its API wants."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.question,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": board.refresh,
        "time": {"from": f"now-{board.window}", "to": "now"},
        "timepicker": {},
        "annotations": {"list": []},
        "links": [_boards_menu()],
        "templating": {"list": [_datasource(), _collector(), *map(_variable, _chosen(board))]},
        "panels": list(_panels(board)),
    }


def _boards_menu() -> Json:
    return {
        "title": "Boards",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "icon": "external link",
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


def _chosen(board: Board) -> list[Variable]:
    unknown = [name for name in board.variables if name not in VARIABLES]
    if unknown:
        raise ValueError(f"{board.uid}: no such variable: {', '.join(unknown)}")
    return [variable for name, variable in VARIABLES.items() if name in board.variables]


def _datasource() -> Json:
    return {
        "name": DATASOURCE,
        "label": "Data source",
        "type": "datasource",
        "query": DATASOURCE_TYPE,
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def _collector() -> Json:
    return {
        "name": COLLECTOR,
        "type": "constant",
        "query": COLLECTOR_URL,
        "current": {"selected": True, "text": COLLECTOR_URL, "value": COLLECTOR_URL},
        "hide": 2,
        "skipUrlSync": True,
    }


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _SOURCE,
        "query": variable.sql,
        "definition": variable.sql,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "includeAll": True,
        "multi": variable.is_multi,
        "options": [],
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
    }


def _panels(board: Board) -> Iterator[Json]:
    number, top = 1, 0
    for row in board.rows:
        head = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.is_collapsed,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top},
            "panels": [],
        }
        placed, below = _placed(row, top + 1)
        inner = [
            _panel(panel, number + 1 + at, position)
            for at, (panel, position) in enumerate(zip(row.panels, placed, strict=True))
        ]
        number += 1 + len(inner)
        top = top + 1 if row.is_collapsed else below
        if row.is_collapsed:
            head["panels"] = inner
        yield head
        if not row.is_collapsed:
            yield from inner


def _placed(row: Row, top: int) -> tuple[list[Json], int]:
    """Return each panel's place, left to right and wrapped, and the first line below them."""
    places: list[Json] = []
    left = line = 0
    for panel in row.panels:
        if left + panel.width > WIDTH:
            top, left, line = top + line, 0, 0
        places.append({"h": panel.height, "w": panel.width, "x": left, "y": top})
        left, line = left + panel.width, max(line, panel.height)
    return places, top + line


def _panel(panel: Panel, number: int, position: Json) -> Json:
    found: Json = {
        "id": number,
        "type": str(panel.kind),
        "title": panel.title,
        "description": panel.description,
        "gridPos": position,
        "links": _panel_links(panel),
        "transparent": False,
        "options": _merged(looks.options(panel), panel.options),
    }
    if panel.kind.asks:
        found["datasource"] = _SOURCE
        found["targets"] = [_target(panel)]
        found["fieldConfig"] = _field_config(panel)
    if panel.kind.is_over_time:
        found["interval"] = f"{panel.step_s}s"
    return found


def _panel_links(panel: Panel) -> list[Json]:
    if not panel.runbook:
        return []
    url = f"${{{COLLECTOR}}}/runbooks/{panel.runbook}"
    return [{"title": "What to do", "url": url, "targetBlank": True}]


def _target(panel: Panel) -> Json:
    is_series = panel.kind.is_over_time
    return {
        "refId": "A",
        "datasource": _SOURCE,
        "editorType": "sql",
        "rawSql": panel.sql,
        "queryType": "timeseries" if is_series else "table",
        "format": TIME_SERIES_FORMAT if is_series else TABLE_FORMAT,
    }


def _field_config(panel: Panel) -> Json:
    defaults: Json = {
        "unit": panel.unit,
        "mappings": _mappings(panel),
        "thresholds": _thresholds(panel.steps),
        "color": _color(panel),
        "custom": looks.custom(panel),
        "links": [_link(link) for link in panel.links],
    }
    said = {"min": panel.least, "max": panel.most, "decimals": panel.decimals}
    defaults |= {name: value for name, value in said.items() if value is not None}
    if panel.no_value:
        defaults["noValue"] = panel.no_value
    overrides = [_override(name, column) for name, column in _columns(panel).items()]
    return {"defaults": defaults, "overrides": overrides}


def _columns(panel: Panel) -> Mapping[str, Column]:
    """Return what is said of columns; that by which a table is sorted has room for its arrow."""
    if not panel.sorted_by:
        return panel.columns
    sorted_by = panel.columns.get(panel.sorted_by, Column())
    width = sorted_by.width or SORTED_PX
    return {**panel.columns, panel.sorted_by: replace(sorted_by, width=width)}


def _mappings(panel: Panel) -> list[Json]:
    said = {
        str(state.value): {"text": state.text, "color": str(state.color), "index": at}
        for at, state in enumerate(panel.states)
    }
    found: list[Json] = [{"type": "value", "options": said}] if said else []
    if panel.kind is Kind.STAT and panel.no_value:
        # Without this nothing would have the colour of the lowest threshold.
        plain = {"text": panel.no_value, "color": str(Color.PLAIN), "index": len(said)}
        found.append({"type": "special", "options": {"match": "null", "result": plain}})
    return found


def _thresholds(steps: Sequence[Step]) -> Json:
    known = steps or (Step(None, Color.PLAIN),)
    return {
        "mode": "absolute",
        "steps": [{"value": step.value, "color": str(step.color)} for step in known],
    }


def _color(panel: Panel) -> Json:
    if panel.color is not None:
        return {"mode": "fixed", "fixedColor": str(panel.color)}
    if panel.kind is Kind.STAT and not panel.steps:
        return {"mode": "fixed", "fixedColor": str(Color.PLAIN)}
    return {"mode": "thresholds" if panel.steps else "palette-classic"}


def _column_color(column: Column) -> Json | None:
    if column.color is not None:
        return {"mode": "fixed", "fixedColor": str(column.color)}
    return {"mode": "thresholds"} if column.steps else None


def _override(name: str, column: Column) -> Json:
    said = (
        ("displayName", column.title or None),
        ("unit", column.unit or None),
        ("color", _column_color(column)),
        ("links", column.link and [_link(column.link)]),
        ("custom.width", column.width),
        ("decimals", column.decimals),
        ("custom.lineStyle", column.is_dashed and {"fill": "dash", "dash": [10, 10]}),
        ("custom.fillOpacity", 0 if column.is_dashed else None),
        ("custom.stacking", _stacking(column)),
        # Up to 12.1, and since.
        ("custom.hidden", column.is_hidden or None),
        ("custom.hideFrom", column.is_hidden and {"viz": True, "legend": False, "tooltip": False}),
        ("thresholds", column.steps and _thresholds(column.steps)),
        ("custom.cellOptions", column.steps and {"type": "color-text"}),
    )
    properties = [
        {"id": key, "value": value}
        for key, value in said
        if value is not None and value is not False and value != ()
    ]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def _stacking(column: Column) -> Json | None:
    if column.is_stacked is None and not column.is_dashed:
        return None
    return {"mode": "normal" if column.is_stacked else "none", "group": "A"}


def _link(link: Link) -> Json:
    return {"title": link.title, "url": _url(link), "targetBlank": not link.board}


def _url(link: Link) -> str:
    if not link.board:
        return link.url
    sets = [
        f"var-{name}=${{__data.fields.{column}:percentencode}}"
        for name, column in link.sets.items()
    ]
    return f"/d/{link.board}?" + "&".join((*sets, "${__url_time_range}"))


def _merged(ours: Json, more: Mapping[str, Any]) -> Json:
    """Return ``more`` over ``ours``, section by section."""
    found = dict(ours)
    for key, value in more.items():
        inner = found.get(key)
        is_section = isinstance(inner, dict) and isinstance(value, Mapping)
        found[key] = _merged(inner, value) if is_section and inner is not None else value
    return found
