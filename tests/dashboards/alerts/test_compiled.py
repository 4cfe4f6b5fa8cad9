"""What the two engines are given: the same numbers, thresholds and words."""

from __future__ import annotations

import re

import pytest
import yaml

from wattshed_dashboards.alerts import Alert, expression, grafana, load, outputs, parse, prometheus
from wattshed_dashboards.alerts.wording import grafana as said_by_grafana
from wattshed_dashboards.alerts.wording import prometheus as said_by_prometheus

from .test_catalogue import GOOD

CATALOGUE = load()
IDS = [alert.name for alert in CATALOGUE.alerts]
IN_STORE = [alert for alert in CATALOGUE.alerts if expression.sql(alert.signal)]
URL = "https://watts.example.org/"


def test_an_alert_with_two_thresholds_holds_between_them() -> None:
    assert expression.fires(parse(GOOD).alert("Idle")) == (
        "max by (node, owner) (idle_watts) > 60\n"
        "or\n"
        "max by (node, owner) (idle_watts) >= 40\n"
        '  and on (node, owner) ALERTS{alertname="Idle", alertstate="firing"}'
    )


def test_an_alert_with_one_threshold_needs_no_memory() -> None:
    alert = parse(GOOD.replace("clear_below: 40", "clear_below: 60")).alert("Idle")
    assert expression.fires(alert) == "max by (node, owner) (idle_watts) > 60"
    condition = grafana.rule(alert)["data"][1]["model"]["conditions"][0]
    assert condition == {"evaluator": {"type": "gt", "params": [60.0]}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1234567"),
        (0.1, "0.1"),
        (1e16, "10000000000000000"),
        (1e-7, "0.0000001"),
        (0, "0"),
    ],
)
def test_a_threshold_is_written_with_all_its_digits(value: float, text: str) -> None:
    given = GOOD.replace("fire_above: 60", f"fire_above: {text}")
    given = given.replace("clear_below: 40", f"clear_below: {text}")
    assert expression.number(float(value)) == text
    assert expression.fires(parse(given).alert("Idle")).endswith(f" > {text}")


def test_both_engines_have_the_same_thresholds_times_and_labels() -> None:
    alert = parse(GOOD).alert("Idle")
    rule, other = prometheus.rule(alert), grafana.rule(alert)
    condition = other["data"][1]["model"]["conditions"][0]
    assert condition["evaluator"] == {"type": "gt", "params": [60.0]}
    assert condition["unloadEvaluator"] == {"type": "lt", "params": [40.0]}
    assert (rule["for"], rule["keep_firing_for"]) == (other["for"], other["keepFiringFor"])
    assert rule["labels"] == other["labels"] == {"severity": "warning"}


@pytest.mark.parametrize("alert", IN_STORE, ids=lambda alert: alert.name)
def test_grafana_asks_for_labels_and_one_number(alert: Alert) -> None:
    rule = grafana.rule(alert, URL)
    asked = rule["data"][0]
    assert (asked["datasourceUid"], asked["model"]["format"]) == ("wattshed-clickhouse", 1)
    sql = asked["model"]["rawSql"]
    assert "$" not in sql
    for label in alert.signal.labels:
        assert re.search(rf"\b{label}\b", sql)
    assert rule["condition"] == "B"
    assert (rule["noDataState"], rule["execErrState"]) == ("OK", "Error")
    assert not any("$" in value for value in rule["labels"].values())
    assert not any("${" in text for text in rule["annotations"].values())
    refs = [query["refId"] for query in rule["data"]]
    assert set(re.findall(r"\$values\.(\w)", str(rule["annotations"]))) <= set(refs)


def test_grafanas_rules_are_told_apart_by_name_for_good() -> None:
    uids = [grafana.uid(name) for name in IDS]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", uid) for uid in uids)
    assert grafana.uid("GPUIdleBurn") == "wattshed-93b88f9253adbe9f"


def test_what_no_view_knows_is_left_to_prometheus() -> None:
    groups = grafana.rules(CATALOGUE)["groups"]
    titles = [rule["title"] for group in groups for rule in group["rules"]]
    assert titles == [alert.name for alert in IN_STORE]
    assert set(IDS) - set(titles) == {"CollectorDown", "DiskFull", "DiskFilling", "ClockSkew"}


@pytest.mark.parametrize("alert", CATALOGUE.alerts, ids=IDS)
def test_every_alert_leads_to_its_page_and_its_board(alert: Alert) -> None:
    for said in (said_by_prometheus(alert, URL), said_by_grafana(alert, URL)):
        assert said["runbook_url"] == f"https://watts.example.org/runbooks/{alert.name}"
        assert said["dashboard_url"].startswith(f"https://watts.example.org/boards/{alert.board}")
        assert said["summary"]
        assert said["description"]


def test_idle_burn_says_whose_it_is_and_what_it_costs() -> None:
    alert = CATALOGUE.alert("GPUIdleBurn")
    for said in (said_by_prometheus(alert, URL), said_by_grafana(alert, URL)):
        assert "{{ $labels.owner }}" in said["description"]
        assert "J" in said["description"]
        assert "currency" in said["description"]
        assert "var-node=" in said["dashboard_url"]


def test_the_operators_manifest_holds_the_same_groups() -> None:
    manifest = prometheus.manifest(CATALOGUE, URL, 30)
    assert manifest["kind"] == "PrometheusRule"
    assert manifest["spec"] == prometheus.rules(CATALOGUE, URL, 30)
    assert {group["interval"] for group in manifest["spec"]["groups"]} == {"30s"}


def test_what_is_written_is_read_as_it_was() -> None:
    for content in (prometheus.rules(CATALOGUE), grafana.rules(CATALOGUE)):
        text = outputs.document(content)
        assert yaml.safe_load(text) == content
        assert "&id" not in text
