"""Unit tests of the Prometheus rules for promtool, made from the same declarations.

A thing lives through four phases: between the thresholds (nothing fires), above the upper one
(pending, then firing), between them again for longer than the alert keeps firing (it holds), and at
nothing (it clears). What is expected is worked out here, by arithmetic of our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import expression
from .catalogue import Alert, Signal
from .wording import COLLECTOR_URL, filled

Json = dict[str, Any]
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_COST = 0.25


@dataclass(frozen=True, slots=True)
class Phases:
    """How long each phase lasts and what the signal is in it, minutes of one reading each."""

    before: int
    above: int
    between: int
    nothing: int
    high: float
    middle: float

    @classmethod
    def of(cls, alert: Alert) -> Phases:
        pends, keeps = -(-alert.for_s // 60), -(-alert.keep_firing_for_s // 60)
        holds = alert.clear_below < alert.fire_above
        middle = (alert.fire_above + alert.clear_below) / 2 if holds else 0.0
        high = alert.fire_above * 1.5
        return cls(pends + 2, pends + 2, keeps + 2 if holds else 0, keeps + 2, high, middle)

    def values(self) -> str:
        """Return them as promtool writes a series."""
        phases = (
            (self.middle, self.before),
            (self.high, self.above),
            (self.middle, self.between),
            (0.0, self.nothing),
        )
        return " ".join(f"{value:g}+0x{count - 1}" for value, count in phases if count)


def tests(alerts: Iterable[Alert], rules_file: str) -> Json:
    """Return the file of tests of those alerts whose signal is a gauge of a view."""
    return {
        "rule_files": [rules_file],
        "evaluation_interval": "1m",
        "tests": [_test(alert) for alert in alerts if alert.signal.metric],
    }


def _test(alert: Alert) -> Json:
    phases = Phases.of(alert)
    return {
        "name": alert.name,
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in _series(alert, phases)],
        "alert_rule_test": list(_expected(alert, phases)),
        "promql_expr_test": [_pending(alert, phases)],
    }


def _series(alert: Alert, phases: Phases) -> Iterator[tuple[str, str]]:
    # Two collectors of one store say the same; one alert is to come of it.
    for instance in ("collector1", "collector2"):
        yield _labelled(alert.signal, instance), phases.values()
        if alert.cost:
            yield _labelled(alert.cost, instance), f"{_COST:g}+0x{phases.before + phases.above}"


def _labelled(signal: Signal, instance: str) -> str:
    return expression.selector(
        signal.metric, {**_thing(signal), **signal.match, "instance": instance}
    )


def _thing(signal: Signal) -> dict[str, str]:
    """Return the labels of the thing that lives through the phases."""
    return {label: "EUR" if label == "currency" else f"{label}1" for label in signal.labels}


def _expected(alert: Alert, phases: Phases) -> Iterator[Json]:
    above = phases.before
    fires_at = above + -(-alert.for_s // 60)
    between = above + phases.above
    nothing = between + phases.between
    clears_at = nothing + -(-alert.keep_firing_for_s // 60)
    yield _at(alert, above - 1, None)
    if alert.for_s:
        yield _at(alert, fires_at - 1, None)
    yield _at(alert, fires_at, phases.high)
    if phases.between:
        yield _at(alert, nothing - 1, phases.middle)
    if alert.keep_firing_for_s:
        yield _at(alert, clears_at - 1, phases.middle if phases.between else phases.high)
    yield _at(alert, clears_at, None)


def _at(alert: Alert, minute: int, value: float | None) -> Json:
    """Expect the alert to fire with a value, or (None) not to."""
    fires = [] if value is None else [_fired(alert, value, minute)]
    return {"eval_time": f"{minute}m", "alertname": alert.name, "exp_alerts": fires}


def _fired(alert: Alert, value: float, minute: int) -> Json:
    return {
        "exp_labels": {"severity": str(alert.severity), **alert.labels, **_thing(alert.signal)},
        "exp_annotations": filled(alert, COLLECTOR_URL, _said(alert, value, minute)),
    }


def _said(alert: Alert, value: float, minute: int) -> dict[str, str]:
    """Return what stands for each name in the alert's texts."""
    known = minute <= Phases.of(alert).before + Phases.of(alert).above
    return {
        **_thing(alert.signal),
        "value": _written(value, alert.signal.unit),
        "joules_per_hour": _written(value * 3600, "joule"),
        "cost_per_hour": f", {_COST:.2f} EUR" if known else "",
    }


def _written(value: float, unit: str) -> str:
    if unit == "s":
        return _lasting(int(value))
    if unit == "percentunit":
        return f"{value * 100:.4g}%"
    if unit == "short":
        return f"{value:.3g}"
    size, prefix = next((p for p in _PREFIXES if value >= p[0]), (1.0, ""))
    return f"{value / size:.4g}{prefix}{'J' if unit == 'joule' else 'W'}"


def _lasting(value_s: int) -> str:
    minutes, rest = divmod(value_s, 60)
    return f"{minutes}m {rest}s"


def _pending(alert: Alert, phases: Phases) -> Json:
    """Expect the alert to be pending when it has just gone above, or firing if it need not wait."""
    state = "pending" if alert.for_s else "firing"
    labels = {
        "alertname": alert.name,
        "alertstate": state,
        "severity": str(alert.severity),
        **alert.labels,
        **_thing(alert.signal),
    }
    name = {"alertname": alert.name}
    return {
        "expr": expression.selector("ALERTS", name),
        "eval_time": f"{phases.before + (1 if alert.for_s >= 120 else 0)}m",
        "exp_samples": [{"labels": expression.selector("ALERTS", labels), "value": 1}],
    }
