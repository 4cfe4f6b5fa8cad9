"""Alerts as rules of Prometheus, in a file of its own or as the operator's PrometheusRule."""

from __future__ import annotations

from typing import Any

from . import expression, length, wording
from .catalogue import Alert, Catalogue
from .wording import COLLECTOR_URL

Json = dict[str, Any]


def rules(catalogue: Catalogue, url: str = COLLECTOR_URL, interval_s: int = 60) -> Json:
    """Return the rule file; Prometheus 2.42 and later know ``keep_firing_for``."""
    return {
        "groups": [
            {
                "name": f"wattshed-{name}",
                "interval": length.text(interval_s),
                "rules": [rule(alert, url) for alert in alerts],
            }
            for name, alerts in catalogue.groups().items()
        ]
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
