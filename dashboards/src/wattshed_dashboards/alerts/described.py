"""One alert in full, for people and for programs."""

from __future__ import annotations

from typing import Any

from . import expression, length, wording
from .catalogue import Alert

Json = dict[str, Any]


def described(alert: Alert, url: str) -> Json:
    """Return what is known of the alert; lengths in seconds, ``sql`` None where no view has it."""
    signal = alert.signal
    links = wording.prometheus(alert, url)
    return {
        "name": alert.name,
        "group": alert.group,
        "severity": str(alert.severity),
        "labels": dict(alert.labels),
        "signal": signal.name,
        "means": signal.help,
        "unit": signal.unit,
        "of": list(signal.labels),
        "fire_above": alert.fire_above,
        "clear_below": alert.clear_below,
        "for_seconds": alert.for_s,
        "keep_firing_for_seconds": alert.keep_firing_for_s,
        "view": signal.view or None,
        "metric": signal.metric or None,
        "promql": expression.fires(alert),
        "sql": expression.sql(signal) or None,
        "board": alert.board,
        "runbook_url": links["runbook_url"],
    }


def lines(alert: Alert, url: str) -> list[str]:
    """Return the same as lines to read."""
    signal = alert.signal
    told = described(alert, url)
    held = f" and holds {length.text(alert.keep_firing_for_s)}" if alert.keep_firing_for_s else ""
    return [
        f"{alert.name} ({alert.severity}, for the {alert.labels.get('audience', 'operations')})",
        signal.help,
        "",
        f"fires   above {alert.number(alert.fire_above)} for {length.text(alert.for_s)}",
        f"clears  below {alert.number(alert.clear_below)}{held}",
        f"of      {', '.join(signal.labels) or 'the whole'}",
        f"runbook {told['runbook_url']}",
        f"board   {url.rstrip('/')}/boards/{alert.board}",
        "",
        "Prometheus",
        *_indented(told["promql"]),
        "",
        "Grafana",
        *_indented(told["sql"] or "cannot tell: no view has it"),
    ]


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
