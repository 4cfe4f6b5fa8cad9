"""The catalogue is read with every problem told at once, and what is shipped is complete."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_dashboards.alerts import Severity, length, load, parse
from wattshed_exporter.errors import ConfigError

GOOD = """
signals:
  idle: {view: v_alert_idle, metric: idle_watts, unit: watt, help: Watts., labels: [node, owner]}
alerts:
  Idle: &idle
    group: waste
    signal: idle
    summary: "{node} of {owner}: {value}, {joules_per_hour} an hour"
    description: It is idle.
    fire_above: 60
    clear_below: 40
    for: 30m
    keep_firing_for: 10m
    severity: warning
    board: wattshed-waste
"""
ASKED = [
    "GPUIdleBurn",
    "GPUIdleBurnSevere",
    "GPUUnallocatedPowered",
    "ParkedModel",
    "LowUtilHighPower",
    "TrainingStalled",
    "EnergySLOFastBurn",
    "EnergySLOSlowBurn",
    "PowerBudget",
    "NumericsDrift",
    "UnattributedEnergyHigh",
    "MeterDisagreement",
    "ExporterDown",
    "TelemetryStale",
    "SamplesDropped",
    "Watchdog",
]


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def test_what_is_shipped_has_the_alerts_that_everybody_needs() -> None:
    names = [alert.name for alert in load().alerts]
    assert set(ASKED) <= set(names)
    assert len(set(names)) == len(names)


def test_every_signal_of_a_view_of_its_own_begins_with_where_it_is() -> None:
    own = [s for s in load().signals.values() if s.view.startswith("v_alert_")]
    assert own
    assert {signal.labels[:3] for signal in own} == {("cluster", "site", "tier")}
    assert {signal.view for signal in own} == {f"v_alert_{signal.name}" for signal in own}


def test_every_signal_is_used() -> None:
    catalogue = load()
    used = {alert.signal.name for alert in catalogue.alerts}
    used |= {alert.cost.name for alert in catalogue.alerts if alert.cost}
    assert used == set(catalogue.signals)


def test_a_price_is_of_each_thing_that_the_alert_is_about() -> None:
    priced = [alert for alert in load().alerts if alert.cost]
    assert priced
    for alert in priced:
        assert alert.cost is not None
        assert set(alert.signal.labels) | {"currency"} == set(alert.cost.labels)


def test_an_alert_is_read_as_it_is_written() -> None:
    alert = parse(GOOD).alert("Idle")
    assert (alert.fire_above, alert.clear_below) == (60, 40)
    assert (alert.for_s, alert.keep_firing_for_s) == (1800, 600)
    assert alert.severity is Severity.WARNING
    assert alert.signal.labels == ("node", "owner")


def test_all_problems_are_told_at_once() -> None:
    bad = (
        GOOD.replace("unit: watt", "unit: 3")
        .replace("fire_above: 60", "fire_above: sixty")
        .replace("for: 30m", "for: a while")
        .replace("severity: warning", "severity: loud\n    colour: red")
    )
    assert problems(bad) == (
        "signals.idle: unit must be a text",
        "alerts.Idle: severity must be one of critical, warning, info, none, not 'loud'",
        "alerts.Idle: fire_above must be a number",
        "alerts.Idle: clear_below is above fire_above: it would clear where it fires",
        "alerts.Idle: for 'a while' is no length such as 30s, 10m, 2h or 1d",
        "alerts.Idle: colour is not known",
    )


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("clear_below: 40", "clear_below: 61", "is above fire_above"),
        ("clear_below: 40", "clear_below: 0", "it would never clear"),
        ("fire_above: 60", "fire_above: .inf", "must be a number"),
        ("severity: warning", "severity: warning\n    labels: {to: '$x'}", "letters, digits"),
        ("severity: warning", "severity: warning\n    enabled: 1", "must be true or false"),
        ("unit: watt", 'unit: watt, match: {a: "\'"}', "letters, digits"),
        ("signal: idle", "signal: busy", "must be one of idle, not 'busy'"),
        ("{owner}", "{workload}", "names {workload}, which its signal does not say"),
        ("unit: watt", "unit: s", "names {joules_per_hour}, which its signal does not say"),
        ("{owner}", "{owner", "cannot be read"),
        ("[node, owner]", "[node, node, owner]", "names something twice"),
        ("[node, owner]", "node", "must be a list of texts"),
        ("view: v_alert_idle", "view: alert_idle", "must be the name of a view"),
        ("  Idle: &idle", "  idle:", "which is not a NameLikeThis"),
        ("view: v_alert_idle, metric: idle_watts", "view: v_x, metric: m, expr: up", "not known"),
    ],
)
def test_what_cannot_be_meant_is_refused(good: str, bad: str, said: str) -> None:
    assert good in GOOD
    assert any(said in problem for problem in problems(GOOD.replace(good, bad)))


def test_a_site_wants_it_otherwise_and_is_held_to_the_same() -> None:
    alert = parse(GOOD, {"Idle": {"fire_above": 80, "for": "5m"}}).alert("Idle")
    assert (alert.fire_above, alert.clear_below, alert.for_s) == (80, 40, 300)
    assert not parse(GOOD, {"Idle": {"enabled": False}}).alerts
    with pytest.raises(ConfigError) as caught:
        parse(GOOD, {"Idle": {"fire_above": 30, "signal": "x"}, "Busy": {"for": "1m"}})
    assert caught.value.problems[:2] == (
        "Idle.signal cannot be overridden; fire_above, clear_below, for, keep_firing_for, "
        "severity, labels, enabled can",
        "there is no alert 'Busy' to override",
    )
    assert any("is above fire_above" in problem for problem in caught.value.problems)


def test_labels_of_a_site_come_beside_those_of_the_alert() -> None:
    labelled = GOOD.replace("severity: warning", "severity: warning\n    labels: {audience: owner}")
    wanted = {"Idle": {"labels": {"team": "blue"}}}
    assert parse(labelled, wanted).alert("Idle").labels == {"audience": "owner", "team": "blue"}
    wanted = {"Idle": {"labels": {"audience": "team"}}}
    assert parse(labelled, wanted).alert("Idle").labels == {"audience": "team"}
    for labels in ({"to-whom": "x"}, {"severity": "x"}, {"a": 1}, "owner"):
        with pytest.raises(ConfigError, match="labels"):
            parse(labelled, {"Idle": {"labels": labels}})


@pytest.mark.parametrize("text", ["", "signals: [", "- a", "alerts: {}", "signals: {a: 1}"])
def test_no_catalogue_is_no_accident(text: str) -> None:
    assert problems(text)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "alerts.yaml")


@given(st.integers(0, 10**7))
def test_a_length_is_written_as_it_is_read(length_s: int) -> None:
    assert length.seconds(length.text(length_s)) == length_s
