"""Alerts as rules of Prometheus, in a file of its own or as the operator's PrometheusRule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import expression, length, wording
from .catalogue import Alert, Catalogue
from .wording import COLLECTOR_URL

Json = dict[str, Any]


def rules(catalogue: Catalogue, url: str = COLLECTOR_URL, interval_s: int = 60) -> Json:
    """Return a rule file of all groups; Prometheus 2.42 and later know ``keep_firing_for``."""
    groups = catalogue.groups().items()
    return {"groups": [_group(name, alerts, url, interval_s) for name, alerts in groups]}


def by_group(catalogue: Catalogue) -> dict[str, Json]:
    """Return a rule file for each group, by its name."""
    return {
        name: {"groups": [_group(name, alerts, COLLECTOR_URL, 60)]}
        for name, alerts in catalogue.groups().items()
    }


def _group(name: str, alerts: Iterable[Alert], url: str, interval_s: int) -> Json:
    return {
        "name": f"wattshed-{name}",
        "interval": length.text(interval_s),
        "rules": [rule(alert, url) for alert in alerts],
    }


def rule(alert: Alert, url: str = COLLECTOR_URL) -> Json:
    """Return one rule."""
    holds = {"keep_firing_for": length.text(alert.keep_firing_for_s)}
    return {
        "alert": alert.name,
        "expr": expression.fires(alert),
        "for": length.text(alert.for_s),
        **(holds if alert.keep_firing_for_s else {}),
        "labels": {"severity": str(alert.severity), **alert.labels},
        "annotations": wording.prometheus(alert, url),
    }


def manifest(catalogue: Catalogue, url: str = COLLECTOR_URL, interval_s: int = 60) -> Json:
    """Return the PrometheusRule of the Prometheus operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "wattshed", "labels": {"app.kubernetes.io/name": "wattshed"}},
        "spec": rules(catalogue, url, interval_s),
    }
