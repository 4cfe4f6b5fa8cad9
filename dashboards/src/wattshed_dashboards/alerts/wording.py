"""What an alert says, in the templates of both engines.

``{value}`` and the labels are written alike in both; joules per hour and money are asked for in
Prometheus' templates, and are expressions of their own in Grafana's, which cannot ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import Formatter
from types import MappingProxyType

from wattshed_dashboards.variables import VARIABLES

from .catalogue import Alert, Signal

COLLECTOR_URL = "http://127.0.0.1:9740"
JOULES, COST = "J", "C"
"""Grafana's expressions that a text may need beside the value."""
_UNITS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "watt": ("humanize", "W"),
        "percentunit": ("humanizePercentage", ""),
        "s": ("humanizeDuration", ""),
        "short": ('printf "%.3g"', ""),
    }
)
"""By Grafana's unit the function of both that writes a number of it, and what follows."""
_VARIABLES = MappingProxyType({"ai_model": "model"})
"""Variables of boards that are not called as the label."""

Words = Callable[[str], str]
"""What stands for a name in braces."""


def prometheus(alert: Alert, url: str) -> dict[str, str]:
    """Return the annotations of a Prometheus rule; ``url`` is the collector's address."""
    return _annotations(alert, url, lambda name: _prometheus(alert, name))


def grafana(alert: Alert, url: str) -> dict[str, str]:
    """Return the annotations of a Grafana rule."""
    return _annotations(alert, url, lambda name: _grafana(alert, name))


def filled(alert: Alert, url: str, said: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations as they read for one thing: ``said`` is what each name stands for."""
    pairs = [(label, _VARIABLES.get(label, label)) for label in alert.signal.labels]
    chosen = "".join(f"var-{name}={said[label]}&" for label, name in pairs if name in VARIABLES)
    return {
        "summary": alert.summary.format(**said),
        "description": alert.description.format(**said),
        **_links(alert, url, f"?{chosen}" if chosen else ""),
    }


def named(alert: Alert) -> set[str]:
    """Return the names in braces that the alert's texts hold."""
    texts = f"{alert.summary}{alert.description}"
    return {name for _, name, _, _ in Formatter().parse(texts) if name}


def _annotations(alert: Alert, url: str, words: Words) -> dict[str, str]:
    return {
        "summary": _filled(alert.summary, words),
        "description": _filled(alert.description, words),
        **_links(alert, url, _chosen(alert.signal)),
    }


def _links(alert: Alert, url: str, chosen: str) -> dict[str, str]:
    base = url.rstrip("/")
    return {
        "runbook_url": f"{base}/runbooks/{alert.name}",
        "dashboard_url": f"{base}/boards/{alert.board}{chosen}",
    }


def _filled(text: str, words: Words) -> str:
    return "".join(
        before + (words(name) if name else "") for before, name, _, _ in Formatter().parse(text)
    )


def _chosen(signal: Signal) -> str:
    """Return a template of what the board is to show: the things that the alert is about."""
    pairs = [(label, _VARIABLES.get(label, label)) for label in signal.labels]
    parts = [
        f"{{{{ with $labels.{label} }}}}var-{name}={{{{ urlquery . }}}}&{{{{ end }}}}"
        for label, name in pairs
        if name in VARIABLES
    ]
    return "?" + "".join(parts) if parts else ""


def _prometheus(alert: Alert, name: str) -> str:
    if name == "value":
        function, unit = _UNITS[alert.signal.unit]
        return f"{{{{ $value | {function} }}}}{unit}"
    if name == "joules_per_hour":
        asked = 'printf "%f * 3600" $value | query'
        return f"{{{{ with {asked} }}}}{{{{ . | first | value | humanize }}}}J{{{{ end }}}}"
    if name == "cost_per_hour" and alert.cost:
        return _asked_cost(alert.signal, alert.cost)
    return f"{{{{ $labels.{name} }}}}"


def _asked_cost(signal: Signal, cost: Signal) -> str:
    matched = ",".join(f"{label}=%q" for label in signal.labels)
    values = " ".join(f"$labels.{label}" for label in signal.labels)
    asked = f'printf "max by (currency) ({cost.metric}{{{matched}}})" {values} | query'
    told = ', {{ . | value | printf "%.2f" }} {{ . | label "currency" }}'
    return f"{{{{ with {asked} }}}}{{{{ with . | first }}}}{told}{{{{ end }}}}{{{{ end }}}}"


def _grafana(alert: Alert, name: str) -> str:
    if name == "value":
        function, unit = _UNITS[alert.signal.unit]
        return f"{{{{ {function} $values.A.Value }}}}{unit}"
    if name == "joules_per_hour":
        return f"{{{{ humanize $values.{JOULES}.Value }}}}J"
    if name == "cost_per_hour":
        value = f'{{{{ printf "%.2f" $values.{COST}.Value }}}}'
        return f"{{{{ with $values.{COST}.Labels }}}}, {value} {{{{ .currency }}}}{{{{ end }}}}"
    return f"{{{{ $labels.{name} }}}}"
