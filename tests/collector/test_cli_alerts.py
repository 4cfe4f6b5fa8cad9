"""``wattshed alerts``: the rules with a site's own thresholds, and what an alert means."""

from __future__ import annotations

import json

import pytest
import yaml

from wattshed_collector import cli


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["alerts", *arguments])
    assert ended.value.code == status
    said = capsys.readouterr()
    return said.err if status else said.out


def test_rules_come_with_the_sites_own_thresholds_and_address(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = printed(
        capsys,
        *("compile", "--url", "https://watts.example.org", "--interval", "30s"),
        *("--set", "GPUIdleBurn.fire_above=80", "--set", "ParkedModel.enabled=false"),
    )
    waste = yaml.safe_load(said)["groups"][0]
    assert (waste["name"], waste["interval"]) == ("wattshed-waste", "30s")
    rules = {rule["alert"]: rule for rule in waste["rules"]}
    assert " > 80" in rules["GPUIdleBurn"]["expr"]
    assert rules["GPUIdleBurn"]["annotations"]["runbook_url"].startswith("https://watts.")
    assert "ParkedModel" not in rules


@pytest.mark.parametrize(
    ("form", "key"), [("prometheus", "groups"), ("prometheusrule", "spec"), ("grafana", "groups")]
)
def test_every_form_is_yaml_and_json(
    form: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    as_yaml = yaml.safe_load(printed(capsys, "compile", "--format", form))
    assert key in as_yaml
    assert json.loads(printed(capsys, "compile", "--format", form, "--json")) == as_yaml


def test_the_list_has_every_alert(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "list")
    found = json.loads(printed(capsys, "list", "--json"))["alerts"]
    assert {"GPUIdleBurn", "Watchdog"} <= {alert["name"] for alert in found}
    assert all(alert["name"] in said for alert in found)
    assert len(said.splitlines()) == 1 + len(found)


def test_an_alert_is_explained_with_both_queries(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "explain", "GPUIdleBurn", "--set", "GPUIdleBurn.for=1h")
    assert "above 60 W for 1h" in said
    assert "ALERTS{" in said
    assert "FROM v_alert_idle_burn" in said
    told = json.loads(printed(capsys, "explain", "DiskFull", "--json"))
    assert (told["fire_above"], told["sql"], told["view"]) == (0.5, None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "Nothing"], "there is no alert 'Nothing'"),
        (["compile", "--set", "x"], "must be like GPUIdleBurn.fire_above=80"),
        (["compile", "--set", "GPUIdleBurn.fire_above=[1"], "no YAML"),
        (["compile", "--set", "GPUIdleBurn.fire_above=hot"], "fire_above must be a number"),
        (["compile", "--interval", "soon"], "no length"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in printed(capsys, *arguments, status=2)
