"""The alerts as the Helm chart takes them: rules without thresholds, and the defaults as values.

The chart's templates put an installation's values into the rules, and decide nothing about PromQL,
SQL or wording; a test holds what they render against ``prometheus`` and ``grafana``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from . import expression, grafana, length, wording
from .catalogue import Alert, Catalogue

Json = dict[str, Any]
BEGIN = (
    "    # Written by `make docs` from dashboards/alerts/alerts.yaml, up to the next such line:\n"
)
END = "    # The end of what is written by `make docs`.\n"
_SCHEMA = '{"$ref": "#/properties/alerts/properties/rules/definitions/alert"}'
_UNITS = {"watt": "W", "s": "seconds", "percentunit": "a ratio"}
_BLOCK = re.compile(f"(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", re.DOTALL)


def prometheus_rules(catalogue: Catalogue) -> Json:
    """Return the rules by group: expressions in pieces, links as paths at the collector."""
    return {
        "groups": [
            {"name": f"wattshed-{name}", "rules": [_rule(alert) for alert in alerts]}
            for name, alerts in catalogue.groups().items()
        ]
    }


def grafana_rules(catalogue: Catalogue) -> Json:
    """Return Grafana's rules with the defaults; links are paths at the collector."""
    return grafana.rules(catalogue, url="")


def _rule(alert: Alert) -> Json:
    return {
        "alert": alert.name,
        "expr": expression.pieces(alert)._asdict(),
        "annotations": wording.prometheus(alert, url=""),
    }


def with_defaults(values: str, catalogue: Catalogue) -> str:
    """Return the text of values.yaml with the block of alerts written anew.

    Raises:
        ValueError: the lines between which it stands are not there.
    """
    block = "".join(_default(alert) for alert in catalogue.alerts)
    made, count = _BLOCK.subn(lambda _: block, values)
    if count != 1:
        raise ValueError("values.yaml has no place for the alerts, or more than one")
    return made


def _default(alert: Alert) -> str:
    unit = _UNITS.get(alert.signal.unit)
    about = f"{alert.group.capitalize()}, {unit}" if unit else alert.group.capitalize()
    comment = f"    # -- {about}: {alert.signal.help}\n"
    return f"{comment}    # @schema {_SCHEMA}\n    {alert.name}: {_flow(_settings(alert))}\n"


def _settings(alert: Alert) -> Json:
    return {
        "enabled": True,
        "fireAbove": float(expression.number(alert.fire_above)),
        "clearBelow": float(expression.number(alert.clear_below)),
        "for": length.text(alert.for_s),
        "keepFiringFor": length.text(alert.keep_firing_for_s),
        "severity": str(alert.severity),
        "labels": dict(alert.labels),
    }


def _flow(value: Any) -> str:
    """Return a value in YAML's flow style, as people write it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, float):
        return expression.number(value)
    return value if isinstance(value, str) and value.isalnum() else json.dumps(value)
