"""The same number in both engines: a signal as PromQL and as SQL, and when an alert about it fires.

Both take the largest value per set of labels, so that two collectors of one store, or pairs of
windows of one objective, make one alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

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


class Pieces(NamedTuple):
    """A rule's PromQL without its thresholds: what stands before the upper one, between both and
    after the lower one. Where both are one number, only the first piece is used.
    """

    before: str
    between: str
    after: str


def pieces(alert: Alert) -> Pieces:
    """Return what the thresholds stand in, for who puts in others later."""
    value = promql(alert.signal)
    labels = ", ".join(alert.signal.labels)
    firing = selector("ALERTS", {"alertname": alert.name, "alertstate": "firing"})
    return Pieces(f"{value} > ", f"\nor\n{value} >= ", f"\n  and on ({labels}) {firing}")


def fires(alert: Alert) -> str:
    """Return when the alert fires or holds, in PromQL."""
    before, between, after = pieces(alert)
    above = f"{before}{number(alert.fire_above)}"
    if alert.clear_below == alert.fire_above:
        return above
    return f"{above}{between}{number(alert.clear_below)}{after}"


def number(value: float) -> str:
    """Return all digits of a finite number, without an exponent."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def selector(metric: str, labels: Mapping[str, str]) -> str:
    """Return the series of a metric of which labels have values."""
    matched = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{matched}}}" if matched else metric
