"""The catalogue of alerts as values, read from ``alerts.yaml`` with every problem told at once.

A signal is a number per thing; an alert says from which number on, and for how long, somebody is
told of it. What a site wants otherwise is laid over the file before it is read, so that it is held
to the same. Nothing here knows an engine: ``prometheus`` and ``grafana`` do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Any

import yaml

from wattshed_dashboards import files
from wattshed_exporter.errors import ConfigError

from .entry import Entry, Problems

try:  # the same, by libyaml: every collector that starts reads the file
    from yaml import CSafeLoader as Loader
except ImportError:
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

Overrides = Mapping[str, Mapping[str, object]]
"""By alert what a site wants otherwise, of ``OVERRIDABLE``."""
NOTHING: Overrides = MappingProxyType({})
OVERRIDABLE = (
    "fire_above", "clear_below", "for", "keep_firing_for", "severity", "labels", "enabled",
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_ALERT = re.compile(r"[A-Z][A-Za-z]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Severity(StrEnum):
    """Who is told: critical pages, warning is for the owner, info for a list, none for nobody."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Signal:
    """A number per thing, 0 where nothing is wrong; ``labels`` say which thing.

    Either ``view`` holds it in its column ``value``, of the rows that ``match``, and the gauge
    ``metric`` shows the same rows; or ``expr`` computes it in PromQL and ``sql``, if it can be
    known there, in the store. ``unit`` is Grafana's name of it.
    """

    name: str
    unit: str
    help: str
    labels: tuple[str, ...]
    view: str = ""
    value: str = "value"
    match: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    metric: str = ""
    expr: str = ""
    sql: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """Fires once its signal was above ``fire_above`` for ``for_s``, and until that was below
    ``clear_below`` for ``keep_firing_for_s``; where both are one number, that fires and clears.

    Times are in seconds. ``cost`` has the signal's price per hour.
    """

    name: str
    group: str
    signal: Signal
    summary: str
    description: str
    fire_above: float
    clear_below: float
    for_s: int
    keep_firing_for_s: int
    severity: Severity
    board: str
    cost: Signal | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def number(self, value: float) -> str:
        """Write a threshold with the signal's unit."""
        if self.signal.unit == "percentunit":
            return f"{value * 100:g} %"
        unit = {"watt": " W", "s": " s"}.get(self.signal.unit, "")
        return f"{value:g}{unit}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All signals by name, and the alerts in the order of the file."""

    signals: Mapping[str, Signal]
    alerts: tuple[Alert, ...]

    def alert(self, name: str) -> Alert:
        """Return the alert; raises ConfigError where there is none of that name."""
        for alert in self.alerts:
            if alert.name == name:
                return alert
        raise ConfigError([f"there is no alert {name!r}"])

    def groups(self) -> dict[str, list[Alert]]:
        """Return the alerts by group, both in the order of the file."""
        found: dict[str, list[Alert]] = {}
        for alert in self.alerts:
            found.setdefault(alert.group, []).append(alert)
        return found


def load(path: Path | None = None, overrides: Overrides = NOTHING) -> Catalogue:
    """Read the file, by default the one that is shipped; raises ConfigError with all problems."""
    where = files.root() / "alerts" / "alerts.yaml" if path is None else path
    try:
        return parse(where.read_text("utf-8"), overrides)
    except OSError as error:
        raise ConfigError([f"{where}: {error.strerror}"]) from None


def parse(text: str, overrides: Overrides = NOTHING) -> Catalogue:
    """Return the catalogue that ``text`` declares; raises ConfigError with all problems."""
    problems = Problems()
    try:
        document = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ConfigError([f"it is no YAML: {error}"]) from None
    whole = Entry("the file", _overridden(document, overrides, problems), problems)
    signals = {
        entry.name: _signal(entry)
        for entry in whole.entries("signals", _NAME, "a name like this_one")
    }
    alerts = [_alert(entry, signals) for entry in whole.entries("alerts", _ALERT, "a NameLikeThis")]
    whole.close()
    problems.check()
    return Catalogue(MappingProxyType(signals), tuple(alert for alert in alerts if alert))


def _overridden(document: Any, overrides: Overrides, problems: Problems) -> Any:
    if not isinstance(document, Mapping) or not isinstance(document.get("alerts"), Mapping):
        return document
    alerts = dict(document["alerts"])
    for name, wanted in overrides.items():
        if name not in alerts:
            problems.add(f"there is no alert {name!r} to override")
            continue
        for key in wanted:
            if key not in OVERRIDABLE:
                problems.add(f"{name}.{key} cannot be overridden; {', '.join(OVERRIDABLE)} can")
        alerts[name] = {**alerts[name], **wanted, **_more_labels(alerts[name], wanted)}
    return {**document, "alerts": alerts}


def _more_labels(alert: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the alert's own labels with those that are wanted beside or in place of them."""
    own, more = alert.get("labels", {}), wanted.get("labels")
    return {"labels": {**own, **more}} if isinstance(more, Mapping) else {}


def _signal(entry: Entry) -> Signal:
    expr = entry.text("expr", default="")
    made: dict[str, Any] = {"sql": entry.text("sql", default="")} if expr else {}
    if not expr:
        made = {
            "view": entry.text("view"),
            "metric": entry.text("metric"),
            "value": entry.text("value", default="value"),
            "match": MappingProxyType(entry.mapping("match")),
        }
        if not made["view"].startswith("v_"):
            entry.problem("view", "must be the name of a view, v_...")
    signal = Signal(
        entry.name, entry.text("unit"), entry.text("help"), entry.names("labels"), expr=expr, **made
    )
    if not all(_WORD.fullmatch(each) for each in signal.match.values()):
        entry.problem("match", "may hold letters, digits, - and _ alone")
    entry.close()
    return signal


def _alert(entry: Entry, signals: Mapping[str, Signal]) -> Alert | None:
    signal = entry.one_of("signal", signals)
    cost = entry.one_of("cost", signals) if entry.has("cost") else None
    severity = entry.one_of("severity", {each.value: each for each in Severity})
    fire_above, clear_below = entry.number("fire_above"), entry.number("clear_below")
    if clear_below > fire_above:
        entry.problem("clear_below", "is above fire_above: it would clear where it fires")
    elif clear_below <= 0 and clear_below < fire_above:
        entry.problem(
            "clear_below", "must be above 0, where nothing is wrong: it would never clear"
        )
    told = {
        "group": entry.text("group"),
        "summary": entry.text("summary"),
        "description": entry.text("description"),
        "board": entry.text("board"),
    }
    lengths = entry.seconds("for"), entry.seconds("keep_firing_for")
    labels = entry.mapping("labels")
    if not all(_WORD.fullmatch(each) for each in labels.values()):
        entry.problem("labels", "may hold letters, digits, - and _ alone")
    if not all(_LABEL.fullmatch(each) and each != "severity" for each in labels):
        entry.problem("labels", "are named by letters, digits and _; severity is a key of its own")
    enabled = entry.flag("enabled", default=True)
    entry.close()
    if signal is None or severity is None or not enabled:
        return None
    for name in ("summary", "description"):
        for problem in _unknown(told[name], known_names(signal, cost)):
            entry.problem(name, problem)
    return Alert(
        name=entry.name,
        signal=signal,
        fire_above=fire_above,
        clear_below=clear_below,
        for_s=lengths[0],
        keep_firing_for_s=lengths[1],
        severity=severity,
        cost=cost,
        labels=MappingProxyType(labels),
        **told,
    )


def known_names(signal: Signal, cost: Signal | None) -> tuple[str, ...]:
    """Return what a text about the signal may name in braces."""
    joules = ("joules_per_hour",) if signal.unit == "watt" else ()
    return ("value", *joules, *(("cost_per_hour",) if cost else ()), *signal.labels)


def _unknown(text: str, known: tuple[str, ...]) -> Iterator[str]:
    try:
        names = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        yield f"cannot be read: {error}"
        return
    yield from (
        f"names {{{name}}}, which its signal does not say" for name in names if name not in known
    )
