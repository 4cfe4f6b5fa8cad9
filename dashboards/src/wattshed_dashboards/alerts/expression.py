"""The same number in both engines: a signal as PromQL and as SQL, and when an alert about it fires.

Both take the largest value per set of labels, so that two collectors of one store, or pairs of
windows of one objective, make one alert.
"""

from __future__ import annotations

from collections.abc import Mapping

from .catalogue import Alert, Signal

MOST_ROWS = 500
"""Results of one rule that Amazon Managed Grafana takes; and nobody reads five hundred alerts."""


def promql(signal: Signal) -> str:
    """Return the signal's value in PromQL, one series per set of its labels."""
    if signal.expr:
        return signal.expr
    return f"max by ({', '.join(signal.labels)}) ({selector(signal.metric, signal.match)})"


def sql(signal: Signal) -> str:
    """Return the same in SQL: the labels as strings and ``value``, "" where no view knows it.

    Of more than ``MOST_ROWS`` things it gives the worst; which of those that are well it leaves out
    is the same each time.
    """
    if signal.expr:
        return signal.sql
    labels = ", ".join(signal.labels)
    matched = " AND ".join(f"{column} = '{value}'" for column, value in signal.match.items())
    lines = [
        f"SELECT {labels}, toFloat64(max({signal.value})) AS value",
        f"FROM {signal.view}",
        *([f"WHERE {matched}"] if matched else []),
        f"GROUP BY {labels}",
        "HAVING isNotNull(value)",
        f"ORDER BY value DESC, {labels} LIMIT {MOST_ROWS}",
    ]
    return "\n".join(lines)


def fires(alert: Alert) -> str:
    """Return when the alert fires or holds, in PromQL."""
    value = promql(alert.signal)
    above = f"{value} > {alert.fire_above:g}"
    if alert.clear_below == alert.fire_above:
        return above
    labels = ", ".join(alert.signal.labels)
    firing = selector("ALERTS", {"alertname": alert.name, "alertstate": "firing"})
    return f"{above}\nor\n{value} >= {alert.clear_below:g}\n  and on ({labels}) {firing}"


def selector(metric: str, labels: Mapping[str, str]) -> str:
    """Return the series of a metric of which labels have values."""
    matched = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{matched}}}" if matched else metric
