"""How each type of panel looks unless it says otherwise: Grafana's options and custom fields.

Source: the panel configurations of @grafana/schema 13.2 (``raw/composable``); names that Grafana 11
does not know yet are ignored there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .model import Kind, Panel

Json = dict[str, Any]
DAY_S = 86_400
"""Of a series by the day a young store has two or three values: a line of them is hardly seen."""


def options(panel: Panel) -> Json:
    """Return the options of the panel's type."""
    return OPTIONS[panel.kind](panel)


def custom(panel: Panel) -> Json:
    """Return what the panel's type keeps with each field."""
    make = CUSTOM.get(panel.kind)
    return make(panel) if make else {}


def _legend() -> Json:
    return {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


def _stat(_: Panel) -> Json:
    return {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }


def _bar_gauge(_: Panel) -> Json:
    return {
        "reduceOptions": {"calcs": [], "fields": "", "values": True},
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "namePlacement": "auto",
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
        "legend": _legend() | {"showLegend": False},
    }


def _time_series(_: Panel) -> Json:
    return {"legend": _legend(), "tooltip": {"mode": "multi", "sort": "desc"}}


def _table(panel: Panel) -> Json:
    title = panel.columns[panel.sorted_by].title if panel.sorted_by in panel.columns else ""
    by = [{"displayName": title or panel.sorted_by, "desc": True}] if panel.sorted_by else []
    return {"frameIndex": 0, "showHeader": True, "cellHeight": "sm", "sortBy": by}


def _state_timeline(_: Panel) -> Json:
    return {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "legend": _legend(),
        "tooltip": {"mode": "single", "sort": "none"},
    }


def _heatmap(panel: Panel) -> Json:
    """Each series is a row of cells; the first stands at the top."""
    return {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": panel.unit},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "steps": 64,
            "exponent": 0.5,
            "fill": "dark-orange",
            "scale": "exponential",
            "reverse": False,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "yAxis": {"axisPlacement": "left", "reverse": True},
    }


def _xy_chart(_: Panel) -> Json:
    """Number columns in the order of the answer: the first is x, the second y."""
    return {
        "mapping": "auto",
        "series": [{}],
        "legend": _legend(),
        "tooltip": {"mode": "single", "sort": "none"},
    }


def _text(panel: Panel) -> Json:
    return {"mode": "markdown", "content": panel.text}


def _alert_list(_: Panel) -> Json:
    return {
        "viewMode": "list",
        "groupMode": "default",
        "groupBy": [],
        "maxItems": 20,
        "sortOrder": 3,
        "dashboardAlerts": False,
        "alertName": "",
        "alertInstanceLabelFilter": "",
        "stateFilter": {
            "firing": True,
            "pending": True,
            "error": True,
            "noData": False,
            "normal": False,
        },
    }


def _series_custom(panel: Panel) -> Json:
    return {
        "drawStyle": "bars" if panel.is_in_bars else "line",
        "lineWidth": 0 if panel.is_in_bars else 1,
        "fillOpacity": 80 if panel.is_in_bars else 40 if panel.is_stacked else 0,
        "showPoints": "always" if panel.step_s >= DAY_S else "auto",
        "pointSize": 5,
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
    }


def _table_custom(_: Panel) -> Json:
    return {
        "align": "auto",
        "cellOptions": {"type": "auto"},
        "filterable": True,
        "inspect": False,
        "minWidth": 70,
        "wrapHeaderText": True,  # since 12.0; an older one cuts what does not fit
    }


def _timeline_custom(_: Panel) -> Json:
    return {"fillOpacity": 70, "lineWidth": 0}


def _xy_custom(_: Panel) -> Json:
    return {"show": "points", "pointSize": {"fixed": 8}, "pointShape": "circle", "fillOpacity": 50}


OPTIONS: Mapping[Kind, Callable[[Panel], Json]] = {
    Kind.STAT: _stat,
    Kind.TIME_SERIES: _time_series,
    Kind.BAR_GAUGE: _bar_gauge,
    Kind.TABLE: _table,
    Kind.STATE_TIMELINE: _state_timeline,
    Kind.HEATMAP: _heatmap,
    Kind.XY_CHART: _xy_chart,
    Kind.TEXT: _text,
    Kind.ALERT_LIST: _alert_list,
}
CUSTOM: Mapping[Kind, Callable[[Panel], Json]] = {
    Kind.TIME_SERIES: _series_custom,
    Kind.TABLE: _table_custom,
    Kind.STATE_TIMELINE: _timeline_custom,
    Kind.XY_CHART: _xy_custom,
}
