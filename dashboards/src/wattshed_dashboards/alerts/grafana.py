"""Alerts as a provisioning file of Grafana's alert rules, which ask the store itself.

Of each rule A is the signal's rows, B holds them against the thresholds, and J and C are what only
its text needs. Labels are plain texts, because Grafana reads ``$x`` in them as an environment
variable; annotations and queries are safe. Source: Grafana's ``pkg/services/provisioning/alerting``
and ``pkg/expr``; no Grafana server was asked.
"""

from __future__ import annotations

import hashlib
from typing import Any

from wattshed_dashboards.provisioning import DATASOURCE_UID, FOLDER
from wattshed_dashboards.variables import DATASOURCE_TYPE

from . import expression, length, wording
from .catalogue import Alert, Catalogue, Signal
from .wording import COLLECTOR_URL, COST, JOULES

Json = dict[str, Any]
_EXPRESSION = {"type": "__expr__", "uid": "__expr__"}
_TABLE_FORMAT = 1
_LOOKS_BACK_S = 600
"""Grafana wants a time range with each query; ours read views of now."""


def rules(catalogue: Catalogue, url: str = COLLECTOR_URL, interval_s: int = 60) -> Json:
    """Return the provisioning file of all alerts that the store can tell of."""
    groups = [
        {
            "orgId": 1,
            "name": f"wattshed-{name}",
            "folder": FOLDER,
            "interval": length.text(interval_s),
            "rules": [rule(alert, url) for alert in alerts if expression.sql(alert.signal)],
        }
        for name, alerts in catalogue.groups().items()
    ]
    return {"apiVersion": 1, "groups": [group for group in groups if group["rules"]]}


def rule(alert: Alert, url: str = COLLECTOR_URL) -> Json:
    """Return one rule; its uid follows from its name, so that it stays the same rule."""
    return {
        "uid": uid(alert.name),
        "title": alert.name,
        "condition": "B",
        "data": [_asked("A", alert.signal), _threshold(alert), *_for_texts(alert)],
        "dashboardUid": alert.board,
        "noDataState": "OK",
        "execErrState": "Error",
        "for": length.text(alert.for_s),
        "keepFiringFor": length.text(alert.keep_firing_for_s),
        "annotations": wording.grafana(alert, url),
        "labels": {"severity": str(alert.severity), **alert.labels},
        "isPaused": False,
    }


def uid(name: str) -> str:
    """Return the rule's uid, of at most the 40 characters that Grafana allows."""
    return f"wattshed-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _asked(ref: str, signal: Signal) -> Json:
    source = {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}
    model = {
        "refId": ref,
        "datasource": source,
        "editorType": "sql",
        "queryType": "table",
        "format": _TABLE_FORMAT,
        "rawSql": expression.sql(signal),
    }
    return _query(ref, DATASOURCE_UID, model)


def _threshold(alert: Alert) -> Json:
    condition: Json = {"evaluator": {"type": "gt", "params": [alert.fire_above]}}
    if alert.clear_below < alert.fire_above:
        condition["unloadEvaluator"] = {"type": "lt", "params": [alert.clear_below]}
    return _expression("B", {"type": "threshold", "expression": "A", "conditions": [condition]})


def _for_texts(alert: Alert) -> list[Json]:
    found: list[Json] = []
    if "joules_per_hour" in wording.named(alert):
        found.append(_expression(JOULES, {"type": "math", "expression": "$A * 3600"}))
    if alert.cost:
        found.append(_asked(COST, alert.cost))
    return found


def _expression(ref: str, model: Json) -> Json:
    return _query(ref, "__expr__", {"refId": ref, "datasource": _EXPRESSION, **model})


def _query(ref: str, datasource_uid: str, model: Json) -> Json:
    return {
        "refId": ref,
        "relativeTimeRange": {"from": _LOOKS_BACK_S, "to": 0},
        "datasourceUid": datasource_uid,
        "model": model,
    }
